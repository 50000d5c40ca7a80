"""Tiny data sets in the on-disk layouts of the real ones.

Every image shows every class in blocks whose colour tells the class, so that a network can learn them and an image can
be checked against its mask.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seglab.labels import CAMVID, CITYSCAPES, LabelSpace, distinct_palette

CITIES = ("aachen", "bochum", "zurich")
FOLDER = {  # arguments of ``Folder`` for what ``write_folder`` writes
    "images": "images/*.jpg",
    "masks": "masks/*_label.png",
    "classes": ["ground", "plant", "thing"],
    "ids": {10: "ground", 20: "plant", 30: "thing", 31: "thing"},
    "void": [0, 255],
}


def scene(
    ids: Sequence[int], colours: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An image H W 3 and the ids H W it shows: at least one block of each id; ``colours[i]`` belongs to ``ids[i]``."""
    width, height = size
    columns = int(np.ceil(np.sqrt(len(ids) * 1.5)))
    rows = -(-len(ids) // columns)
    blocks = rng.permutation(np.arange(rows * columns) % len(ids)).reshape(rows, columns)
    grid = blocks[np.arange(height)[:, None] * rows // height, np.arange(width) * columns // width]  # H W
    image = np.clip(colours[grid] + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    return image, np.asarray(ids)[grid].astype(np.uint8)


def ids_of(space: LabelSpace) -> tuple[list[int], np.ndarray]:
    """One stored id per class and the first void id, with one colour each."""
    ids = [int(i) for i in space.encode[: space.num_classes]] + [space.void[0]]
    return ids, np.array([*distinct_palette(space.num_classes), (255, 255, 255)], np.float32)


def save(path: Path, array: np.ndarray, palette: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette(palette.astype(np.uint8).tobytes())
    image.save(path, quality=95)


def write_camvid(
    root: Path,
    train: int = 16,
    val: int = 3,
    test: int = 3,
    size: tuple[int, int] = (96, 64),
    suffix: str = ".png",
    seed: int = 0,
) -> Path:
    """``{train,val,test}/`` and ``{train,val,test}annot/``; ``size`` is width, height."""
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(CAMVID)
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index in range(count):
            image, mask = scene(ids, colours, size, rng)
            save(root / split / f"{split}_{index:05d}{suffix}", image)
            save(root / f"{split}annot" / f"{split}_{index:05d}.png", mask)
    return root


def write_cityscapes(
    root: Path, train: int = 9, val: int = 3, test: int = 2, size: tuple[int, int] = (96, 64), seed: int = 0
) -> Path:
    """``leftImg8bit/`` and ``gtFine/`` with raw label ids; the masks of test are void, as the distributed ones are."""
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(CITYSCAPES)
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index in range(count):
            city = CITIES[index * len(CITIES) // count]
            image, mask = scene(ids, colours, size, rng)
            key = f"{city}_{index:06d}_000019"
            save(root / "leftImg8bit" / split / city / f"{key}_leftImg8bit.png", image)
            mask = np.zeros_like(mask) if split == "test" else mask
            save(root / "gtFine" / split / city / f"{key}_gtFine_labelIds.png", mask)
    return root


def write_gta5(root: Path, images: int = 8, size: tuple[int, int] = (96, 64), seed: int = 1) -> Path:
    """``images/00001.png`` and ``labels/00001.png``, palette PNGs of raw ids; darker than ``write_cityscapes``."""
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(CITYSCAPES)
    palette = CITYSCAPES.colours[np.minimum(CITYSCAPES.decode, CITYSCAPES.num_classes)]
    for index in range(1, images + 1):
        image, mask = scene(ids, 0.8 * colours, size, rng)
        save(root / "images" / f"{index:05d}.png", image)
        save(root / "labels" / f"{index:05d}.png", mask, palette)
    return root


def write_folder(
    root: Path, images: int = 12, unlabeled: int = 4, size: tuple[int, int] = (96, 64), seed: int = 2
) -> Path:
    """``images/`` and ``masks/`` for ``Folder(root, **FOLDER)``; the last ``unlabeled`` images have no mask."""
    rng = np.random.default_rng(seed)
    ids = [10, 20, 30, 31, 0]
    colours = np.array([(120, 60, 40), (40, 160, 60), (60, 80, 200), (60, 80, 200), (255, 255, 255)], np.float32)
    for index in range(images + unlabeled):
        image, mask = scene(ids, colours, size, rng)
        save(root / "images" / f"{index:03d}.jpg", image)
        if index < images:
            save(root / "masks" / f"{index:03d}_label.png", mask)
    return root
