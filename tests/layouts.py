"""Tiny data sets in the on-disk layouts of the real ones.

Every image shows every class in blocks whose colour tells the class, so that a network can learn them and an image can
be checked against its mask.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from seglab.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    IGNORE,
    SYNTHIA,
    VOC,
    LabelSpace,
    distinct_palette,
)

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
    """One stored id per class that has one and the first void id, with one colour each."""
    colours = {int(i): colour for i, colour in zip(space.encode, distinct_palette(space.num_classes), strict=False)}
    colours.pop(IGNORE, None)
    ids = [*colours, space.void[0]]
    return ids, np.array([*colours.values(), (255, 255, 255)], np.float32)


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
    sequences: Sequence[str] = (),
) -> Path:
    """``{train,val,test}/`` and ``{train,val,test}annot/``; ``size`` is width, height.

    With ``sequences`` frames are named as the real ones are: train shows them all in turn, val and test the last.
    """
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(CAMVID)
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index in range(count):
            image, mask = scene(ids, colours, size, rng)
            shown = sequences if split == "train" else sequences[-1:]
            prefix = shown[index * len(shown) // count] if shown else split
            name = f"{prefix}_{index + 1000 * (prefix != split and split != 'train'):05d}"
            save(root / split / f"{name}{suffix}", image)
            save(root / f"{split}annot" / f"{name}.png", mask)
    return root


def write_cityscapes(
    root: Path,
    train: int = 9,
    val: int = 3,
    test: int = 2,
    size: tuple[int, int] = (96, 64),
    seed: int = 0,
    kind: str = "labelIds",
    extra: int = 0,
) -> Path:
    """``leftImg8bit/`` and ``gtFine/`` with raw label ids; the masks of test are void, as the distributed ones are.

    ``kind`` labelTrainIds writes the masks of cityscapesScripts instead; ``extra`` images without mask go to
    ``train_extra``.
    """
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(CITYSCAPES if kind == "labelIds" else CITYSCAPES_TRAIN_IDS)
    for index in range(extra):
        name = f"augsburg_000000_{index:06d}_leftImg8bit.png"
        save(root / "leftImg8bit/train_extra/augsburg" / name, scene(ids, colours, size, rng)[0])
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index in range(count):
            city = CITIES[index * len(CITIES) // count]
            image, mask = scene(ids, colours, size, rng)
            key = f"{city}_{index:06d}_000019"
            save(root / "leftImg8bit" / split / city / f"{key}_leftImg8bit.png", image)
            mask = np.zeros_like(mask) if split == "test" else mask
            save(root / "gtFine" / split / city / f"{key}_gtFine_{kind}.png", mask)
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


def write_synscapes(root: Path, images: int = 8, size: tuple[int, int] = (96, 64), seed: int = 5) -> Path:
    """``img/rgb/1.png`` and ``img/class/1.png`` with Cityscapes' raw ids."""
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(CITYSCAPES)
    for index in range(1, images + 1):
        image, mask = scene(ids, 0.8 * colours, size, rng)
        save(root / "img" / "rgb" / f"{index}.png", image)
        save(root / "img" / "class" / f"{index}.png", mask)
    return root


def write_synthia(root: Path, images: int = 8, size: tuple[int, int] = (96, 64), seed: int = 3) -> Path:
    """``RGB/`` and ``GT/LABELS/``: 16-bit colour PNGs, class in the red channel, instance in the green one."""
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(SYNTHIA)
    for index in range(images):
        image, mask = scene(ids, 0.8 * colours, size, rng)
        save(root / "RGB" / f"{index:07d}.png", image)
        instance = rng.integers(0, 3000, mask.shape)
        path = root / "GT" / "LABELS" / f"{index:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.stack([np.zeros_like(mask), instance, mask], -1).astype(np.uint16))  # B G R
    return root


def write_voc(
    root: Path,
    train: int = 6,
    sbd: int = 6,
    val: int = 3,
    test: int = 2,
    size: tuple[int, int] = (96, 64),
    seed: int = 4,
    merged: bool = False,
) -> Path:
    """``VOCdevkit/VOC2012`` as the devkit unpacks, with palette PNGs that have 255 on borders, and SBD's masks.

    ``merged`` is the folder of UniMatch: grey masks of everything in ``SegmentationClass``. No list names SBD's images.
    """
    rng = np.random.default_rng(seed)
    ids, colours = ids_of(VOC)
    palette = np.array([*VOC.palette, *[(0, 0, 0)] * 234, (224, 224, 192)], np.uint8)
    home = root / "VOCdevkit" / "VOC2012"
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for index, part in enumerate(rng.permutation(["train"] * train + ["sbd"] * sbd + ["val"] * val + ["test"] * test)):
        key = f"2007_{index:06d}"
        image, mask = scene(ids, colours, size, rng)
        save(home / "JPEGImages" / f"{key}.jpg", image)
        if part in lists:
            lists[part].append(key)
        if part != "test":
            folder = "SegmentationClassAug" if part == "sbd" and not merged else "SegmentationClass"
            save(home / folder / f"{key}.png", mask, None if merged or part == "sbd" else palette)
    (home / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, keys in lists.items():
        (home / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(keys) + "\n")
    return root


def write_acdc(root: Path, train: int = 2, val: int = 1, size: tuple[int, int] = (96, 64), seed: int = 5) -> Path:
    """``rgb_anon/`` and ``gt/`` with both kinds of masks, ``train`` and ``val`` images of each condition."""
    rng = np.random.default_rng(seed)
    for folder, condition in (("GP010476", "fog"), ("GOPR0351", "night"), ("GOPR0400", "rain"), ("GP010122", "snow")):
        for split, count in (("train", train), ("val", val), ("test", 1), ("train_ref", 1)):
            for index in range(count):
                key = f"{folder}_frame_{index + 100 * (split != 'train'):06d}"
                _save_anonymised(root, f"{condition}/{split}", key, split in ("train", "val"), size, rng)
    return root


def write_dark_zurich(root: Path, night: int = 4, size: tuple[int, int] = (96, 64), seed: int = 6) -> Path:
    """``rgb_anon/`` with masks of ``val`` alone in ``gt/``."""
    rng = np.random.default_rng(seed)
    for time, count in (("night", night), ("twilight", 2), ("day", 1)):
        for index in range(count):
            _save_anonymised(root, f"train/{time}", f"GOPR0345_frame_{time}{index:06d}", False, size, rng)
    for split, time in (("val", "night"), ("val_ref", "day"), ("test", "night")):
        for index in range(2):
            key = f"GOPR0356_frame_{split}{index:06d}"
            _save_anonymised(root, f"{split}/{time}", key, split == "val", size, rng)
    return root


def _save_anonymised(
    root: Path, folder: str, key: str, labeled: bool, size: tuple[int, int], rng: np.random.Generator
) -> None:
    ids, colours = ids_of(CITYSCAPES)
    image, mask = scene(ids, 0.4 * colours, size, rng)
    sequence = f"{folder}/{key.partition('_')[0]}"
    save(root / "rgb_anon" / sequence / f"{key}_rgb_anon.png", image)
    if labeled:
        save(root / "gt" / sequence / f"{key}_gt_labelIds.png", mask)
        save(root / "gt" / sequence / f"{key}_gt_labelTrainIds.png", CITYSCAPES.decode[mask])


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
