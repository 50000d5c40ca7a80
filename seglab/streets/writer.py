"""Writes the data set: the synthetic domain in GTA5's layout, the photographed one in Cityscapes'."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from rich.progress import track

from seglab.files import remove_partial, write_whole
from seglab.labels import CITYSCAPES
from seglab.streets.scene import render
from seglab.streets.style import GAME, PHOTO
from seglab.types import SeglabError

VERSION = 1  # of the generator: the same parameters and version give the same bytes
SPLITS = ("source", "train", "val", "test")  # the position is part of every frame's seed
CITIES = {
    "train": ("aldenbruck", "fernhagen", "grauwald", "lindhafen", "marienfels", "ostermark", "rothenau", "steinfurt"),
    "val": ("birkental", "neuwarden"),
    "test": ("kaltenbach", "seedorf", "wiesenburg"),
}


class Frame(NamedTuple):
    """One frame to be written; paths are relative to the root."""

    split: str
    number: int
    image: str
    labels: str


def write_streets(
    root: Path | str, images: int = 256, seed: int = 0, size: tuple[int, int] = (256, 128), workers: int | None = None
) -> dict[str, int]:
    """Write the two-domain data set ``streets``.

    ``root/gta5`` holds the labeled source domain, ``root/cityscapes`` the photographed target domain with its train,
    val and test parts in different cities. Frame i of a split is a pure function of (seed, split, i), whatever the
    number of workers. ``root/streets.json`` is written last: a complete data set with the same parameters is left
    as it is, an interrupted one is finished.

    Args:
        root: folder to write to.
        images: source images, and as many target training images; a quarter of it (at least 8) in val and in test.
        seed: another seed gives other scenes.
        size: (width, height) in pixels.
        workers: processes; default: one per CPU core.

    Returns:
        Number of images of ``source``, ``train``, ``val`` and ``test``.

    Raises:
        SeglabError: a parameter is out of range, or ``root`` holds a data set of other parameters.
    """
    root = Path(root)
    if images < 1:
        raise SeglabError(f"--images {images}: give at least 1")
    if seed < 0:
        raise SeglabError(f"--seed {seed}: give 0 or more")
    if min(size) < 32:
        raise SeglabError(f"--size {size[0]}x{size[1]}: both sides need at least 32 pixels")
    parameters = {"seed": seed, "images": images, "size": list(size), "version": VERSION}
    held_out = max(8, images // 4)
    counts = dict(zip(SPLITS, (images, images, held_out, held_out), strict=True))

    done = root / "streets.json"
    if done.is_file():
        if differing := describe_difference(done, parameters):
            raise SeglabError(f"{root} already holds a streets data set with {differing}: choose another --root")
        return counts

    frames = [frame for split in SPLITS for frame in plan(split, counts[split])]
    remove_partial(root, deep=True)
    workers = min(os.cpu_count() or 1 if workers is None else max(1, workers), len(frames))
    write = partial(write_frame, root, seed, size)
    if workers == 1:
        finish(map(write, frames), len(frames))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            finish(pool.map(write, frames, chunksize=8), len(frames))
    write_whole(done, json.dumps(parameters))
    return counts


def describe_difference(done: Path, parameters: dict[str, object]) -> str:
    """What an existing data set has different from the wanted parameters; empty if nothing."""
    try:
        found = json.loads(done.read_text())
    except ValueError as error:
        raise SeglabError(f"{done} is not valid JSON ({error}): remove it to write the data set again") from error
    wanted = {key: (found.get(key), value) for key, value in parameters.items() if found.get(key) != value}
    return ", ".join(f"{key} {old} instead of {new}" for key, (old, new) in wanted.items())


def plan(split: str, count: int) -> Iterator[Frame]:
    """File names of a split; target frames are spread over the split's cities in file order."""
    for index in range(count):
        if split == "source":
            name = f"{index + 1:05d}.png"
            yield Frame(split, index, f"gta5/images/{name}", f"gta5/labels/{name}")
        else:
            cities = CITIES[split]
            place = index * len(cities) // count
            city, sequence = cities[place], index - -(-place * count // len(cities))
            stem = f"{split}/{city}/{city}_{sequence:06d}_000019"
            image = f"cityscapes/leftImg8bit/{stem}_leftImg8bit.png"
            yield Frame(split, index, image, f"cityscapes/gtFine/{stem}_gtFine_labelIds.png")


def write_frame(root: Path, seed: int, size: tuple[int, int], frame: Frame) -> None:
    """Render one frame and write its two files."""
    cv2.setNumThreads(1)
    source = frame.split == "source"
    rng = np.random.default_rng([seed, SPLITS.index(frame.split), frame.number])
    image, labels = render(rng, GAME if source else PHOTO, size)
    pixels = np.ascontiguousarray(image[..., ::-1])
    write_whole(root / frame.image, cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    stored = Image.fromarray(labels)
    if source:
        stored.putpalette(id_palette())  # which makes it a palette image
    buffer = BytesIO()
    stored.save(buffer, "PNG", compress_level=1)
    write_whole(root / frame.labels, buffer.getvalue())


def id_palette() -> bytes:
    """Cityscapes' colours by labelId, as GTA5's label files carry them."""
    return CITYSCAPES.colours[CITYSCAPES.decode].tobytes()


def finish(done: Iterator[None], total: int) -> None:
    for _ in track(done, "streets", total=total, transient=True):
        pass
