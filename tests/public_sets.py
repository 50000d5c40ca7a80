"""Public data sets in small, in the layouts of their archives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import seglab.data
from seglab.data import DataSet

IN_BENCHMARKS = [  # whose layouts share a root
    "ADE20K", "BDD100K", "COCO", "COCOStuff", "CrossCity", "IDD", "ISPRS", "ISPRS of Vaihingen", "LoveDA",
    "LoveDA of towns", "MapillaryVistas", "MapillaryVistas 2.0", "PascalContext",
]  # fmt: skip
RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """Files ``{folder}/{name}`` of images and masks by part, the ids that masks hold and the classes they mean."""

    arguments: dict[str, Any]
    pairs: dict[str, tuple[str, str]]  # part -> image and mask of the number {i}
    ids: list[int]
    classes: list[str]  # "": ignored
    count: int  # of all classes
    write: Callable[[Path], object] = lambda root: None
    numbers: dict[str, tuple[int, ...]] = {"train": (0, 1, 2), "val": (0, 1, 2)}


def lists(root: Path) -> None:
    folder = root / "VOCdevkit/VOC2010/ImageSets/SegmentationContext"
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        (folder / f"{part}.txt").write_text("".join(f"2008_{part}{i}\n" for i in range(3)))


def parts(image: str, mask: str, *names: str) -> dict[str, tuple[str, str]]:
    return {
        part: (image.format(p=name, i="{i}", s=part), mask.format(p=name, i="{i}", s=part))
        for part, name in zip(("train", "val"), names or ("train", "val"), strict=True)
    }


POTSDAM = {
    "train": ("2_Ortho_RGB/top_potsdam_2_1{i}_RGB.tif", "5_Labels_all/top_potsdam_2_1{i}_label.tif"),
    "val": ("2_Ortho_RGB/top_potsdam_3_1{i}_RGB.tif", "5_Labels_all/top_potsdam_3_1{i}_label.tif"),
}
CASES: dict[str, Case] = {
    "ADE20K": Case(
        {}, parts("ADEChallengeData2016/images/{p}/ADE_{s}_{i}.jpg",
                  "ADEChallengeData2016/annotations/{p}/ADE_{s}_{i}.png", "training", "validation"),
        [0, 1, 8, 150], ["", "wall", "bed", "flag"], 150,
    ),
    "BDD100K": Case(
        {}, parts("bdd100k/images/10k/{p}/{s}{i}.jpg", "bdd100k/labels/sem_seg/masks/{p}/{s}{i}.png"),
        [0, 13, 18, 255], ["road", "car", "bicycle", ""], 19,
    ),
    "BDD100K of 2018": Case(
        {}, parts("seg/images/{p}/{s}{i}.jpg", "seg/labels/{p}/{s}{i}_train_id.png"),
        [0, 13, 18, 255], ["road", "car", "bicycle", ""], 19,
    ),
    "COCO": Case(
        {}, parts("{p}/{s}{i}.jpg", "masks/{s}{i}.png", "train2017", "val2017"),
        [0, 1, 12, 80, 255], ["background", "person", "stop sign", "toothbrush", ""], 81,
    ),
    "COCOStuff": Case(
        {}, parts("images/{p}/{s}{i}.jpg", "annotations/{p}/{s}{i}.png", "train2017", "val2017"),
        [0, 12, 89, 91, 181, 255], ["person", "stop sign", "toothbrush", "banner", "wood", ""], 171,
    ),
    "COCOStuff converted": Case(
        {"ids": "labelTrainIds"},
        parts("images/{p}/{s}{i}.jpg", "annotations/{p}/{s}{i}_labelTrainIds.png", "train2017", "val2017"),
        [0, 79, 80, 170, 255], ["person", "toothbrush", "banner", "wood", ""], 171,
    ),
    "CrossCity": Case(
        {"city": "Rome"}, parts("Rome/Images/{p}/{s}{i}.png", "Rome/Labels/{p}/{s}{i}_eval.png", "Train", "Test"),
        [7, 26, 0], ["road", "car", ""], 19,
    ),
    "IDD": Case(
        {},
        parts("leftImg8bit/{s}/7{s}/frame{i}_leftImg8bit.jpg", "gtFine/{s}/7{s}/frame{i}_gtFine_labelcsTrainIds.png"),
        [0, 9, 255], ["road", "terrain", ""], 19,
    ),
    "IDD of level 3": Case(
        {"ids": "level3Ids"},
        parts("leftImg8bit/{s}/7{s}/frame{i}_leftImg8bit.png", "gtFine/{s}/7{s}/frame{i}_gtFine_labellevel3Ids.png"),
        [0, 8, 25, 255], ["road", "autorickshaw", "sky", ""], 26,
    ),
    "LoveDA": Case(
        {"areas": ["Rural"]},
        parts("{p}/Rural/images_png/{s}{i}.png", "{p}/Rural/masks_png/{s}{i}.png", "Train", "Val"),
        [0, 1, 2, 7], ["", "background", "building", "agriculture"], 7,
    ),
    "LoveDA of towns": Case(
        {"areas": ["Urban"]},
        parts("{p}/Urban/images_png/{s}{i}.png", "{p}/Urban/masks_png/{s}{i}.png", "Train", "Val"),
        [0, 1, 2, 7], ["", "background", "building", "agriculture"], 7,
    ),
    "MapillaryVistas": Case(
        {}, parts("{p}/images/{s}{i}.jpg", "{p}/labels/{s}{i}.png", "training", "validation"),
        [0, 13, 55, 64, 65], ["Bird", "Road", "Car", "Ego Vehicle", ""], 65,
    ),
    "MapillaryVistas 2.0": Case(
        {"version": "2.0"}, parts("{p}/images/{s}{i}.jpg", "{p}/v2.0/labels/{s}{i}.png", "training", "validation"),
        [0, 21, 108, 122, 123], ["Bird", "Road", "Car", "Static", ""], 123,
    ),
    "PascalContext": Case(
        {}, parts("VOCdevkit/VOC2010/JPEGImages/2008_{s}{i}.jpg",
                  "VOCdevkit/VOC2010/SegmentationClassContext/2008_{s}{i}.png"),
        [0, 1, 59], ["", "aeroplane", "wood"], 59, lists,
    ),
    "PascalContext with the rest": Case(
        {"background": True}, parts("VOCdevkit/VOC2010/JPEGImages/2008_{s}{i}.jpg",
                                    "VOCdevkit/VOC2010/SegmentationClassContext/2008_{s}{i}.png"),
        [0, 1, 59], ["background", "aeroplane", "wood"], 60, lists,
    ),
    "ISPRS": Case(
        {}, POTSDAM, [0, 1, 4, 6], ["impervious surface", "building", "car", ""], 6,
        numbers={"train": (0, 1, 2), "val": (3, 4)},
    ),
    "ISPRS of Vaihingen": Case(
        {"area": "vaihingen"},
        parts("top/top_mosaic_09cm_area{i}.tif", "gts_for_participants/top_mosaic_09cm_area{i}.tif"),
        [0, 1, 4, 6], ["impervious surface", "building", "car", ""], 6, numbers={"train": (1, 3, 5), "val": (2, 4)},
    ),
}  # fmt: skip


def kind(name: str) -> type[DataSet]:
    return getattr(seglab.data, name.partition(" ")[0])  # type: ignore[no-any-return]


def build(name: str, root: Path, **more: Any) -> DataSet:
    return kind(name)(str(root), **CASES[name].arguments, **more)  # type: ignore[arg-type]


def written(name: str, root: Path) -> DataSet:
    case = CASES[name]
    data = build(name, root)
    for part, (image, mask) in case.pairs.items():
        for i in case.numbers[part]:
            for pattern, pixels in (
                (image, RNG.integers(0, 255, (32, 48, 3)).astype(np.uint8)),
                (mask, np.resize(np.array(case.ids, np.uint8), (32, 48))),
            ):
                if pattern is mask and data.space.stored_colours:
                    pixels = np.array(data.space.stored_colours, np.uint8)[pixels]
                path = root / pattern.replace("{i}", str(i))
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    case.write(root)
    return data


def public_roots(folder: Path) -> dict[str, Path]:
    """A root for each class, with all that benchmark files read."""
    roots = {name: folder / name.partition(" ")[0] for name in IN_BENCHMARKS}
    for name, root in roots.items():
        written(name, root)
    return {name: root for name, root in roots.items() if " " not in name}
