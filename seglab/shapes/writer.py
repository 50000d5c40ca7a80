"""Draws scenes of one to three objects of six classes on a textured ground, and writes them with masks and tags."""

import json
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from seglab.files import remove_partial, write_whole
from seglab.types import SeglabError

VERSION = 1  # of the generator: the same parameters and version give the same bytes
CLASSES = ("background", "disc", "ring", "square", "triangle", "star", "cross")
SPLITS = ("train", "val", "outside")  # the position is part of every scene's seed
HUES = (0, 30, 60, 90, 120, 150)  # of the classes after the background, OpenCV's half degrees


def write_shapes(root: Path | str, images: int = 512, seed: int = 0, size: int = 96) -> dict[str, int]:
    """Write ``{train,val}/{images,masks}/*.png``, ``tags.txt`` of train, and ``outside/*.png``, which show no object.

    Scene i of a part is a pure function of (seed, part, i). ``shapes.json`` is written last: a complete data set with
    the same parameters is left as it is, an interrupted one is finished.

    Args:
        root: folder to write to.
        images: training images; a quarter of it (at least 8) in val and outside.
        seed: another seed gives other scenes.
        size: height and width in pixels.

    Returns:
        Number of images of each part.

    Raises:
        SeglabError: a parameter is out of range, or ``root`` holds a data set of other parameters.
    """
    root = Path(root)
    if images < 1 or seed < 0 or size < 32:
        raise SeglabError(f"--images {images} --seed {seed}, {size} pixels: give at least 1, 0 and 32")
    parameters = {"images": images, "seed": seed, "size": size, "version": VERSION}
    counts = dict(zip(SPLITS, (images, max(8, images // 4), max(8, images // 4)), strict=True))
    done = root / "shapes.json"
    if done.is_file():
        if json.loads(done.read_text()) != parameters:
            raise SeglabError(f"{root} already holds a shapes data set of other parameters: choose another --root")
        return counts
    remove_partial(root, deep=True)
    frames = [(part, index) for part in SPLITS for index in range(counts[part])]
    tags = []
    for part, index in track(frames, "shapes", transient=True):
        rng = np.random.default_rng([seed, SPLITS.index(part), index])
        image, mask = draw_scene(rng, size, 0 if part == "outside" else int(rng.integers(1, 4)))
        name = f"{index:05d}.png"
        if part == "outside":
            write_whole(root / part / name, _png(image[..., ::-1]))
            continue
        write_whole(root / part / "images" / name, _png(image[..., ::-1]))
        write_whole(root / part / "masks" / name, _png(mask))
        if part == "train":
            shown = ", ".join(CLASSES[label] for label in np.unique(mask) if label)
            tags.append(f"{index:05d}: {shown}")
    write_whole(root / "tags.txt", "\n".join(tags) + "\n")
    write_whole(done, json.dumps(parameters))
    return counts


def draw_scene(rng: np.random.Generator, size: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """A scene of ``size`` and its classes: H W 3 RGB and H W, uint8."""
    ground = cv2.resize(rng.normal(0, 18, (6, 6, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    image = rng.uniform(70, 170) + rng.uniform(-20, 20, 3) + ground
    mask = np.zeros((size, size), np.uint8)
    for label in rng.choice(np.arange(1, len(CLASSES)), objects, replace=False):
        area = np.zeros((size, size), np.uint8)
        radius = rng.uniform(0.13, 0.24) * size
        centre = rng.uniform(radius, size - radius, 2)
        _paint(area, CLASSES[label], centre, radius, rng.uniform(0, 2 * np.pi))
        hue = (HUES[label - 1] + rng.normal(0, 5)) % 180
        pixel = np.array([[[hue, rng.uniform(110, 220), rng.uniform(120, 230)]]], np.uint8)
        image[area > 0] = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]
        mask[area > 0] = label
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8), mask


def _paint(area: np.ndarray, name: str, centre: np.ndarray, radius: float, turn: float) -> None:
    """Set the pixels of one object to 1."""
    middle = (round(centre[0]), round(centre[1]))
    if name in ("disc", "ring"):
        cv2.circle(area, middle, round(radius), 1, -1)
        if name == "ring":
            cv2.circle(area, middle, round(0.5 * radius), 0, -1)
        return
    corners = {"square": 4, "triangle": 3, "star": 10, "cross": 12}[name]
    angle = turn + 2 * np.pi * np.arange(corners) / corners
    length = np.full(corners, radius)
    if name == "star":
        length[1::2] *= 0.45
    if name == "cross":  # arms of which each has two outer corners, between them inner ones
        angle = turn + np.concatenate([np.array([-0.32, 0.32, np.pi / 4]) + arm * np.pi / 2 for arm in range(4)])
        length[2::3] *= 0.45
    points = centre + length[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    cv2.fillPoly(area, [points.round().astype(np.int32)], 1)


def _png(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
