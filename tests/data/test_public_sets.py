"""Public data sets in the layouts of their archives: parts, classes, and what a wrong folder is told."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from data_check import check, config
from PIL import Image

import seglab.data
from seglab.data import DataSet, Folder
from seglab.data.sets.coco import STUFF_IDS, THING_IDS
from seglab.data.sets.mapillary import mapillary_space
from seglab.labels import IGNORE
from seglab.types import SeglabError

RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """Files ``{folder}/{name}`` of images and masks by part, the ids that masks hold and the classes they mean."""

    arguments: dict[str, Any]
    pairs: dict[str, tuple[str, str]]  # part -> image and mask of the number {i}
    ids: list[int]
    classes: list[str]  # "": ignored
    count: int  # of all classes
    write: Callable[[Path], object] = lambda root: None


def lists(root: Path) -> None:
    folder = root / "VOCdevkit/VOC2010/ImageSets/SegmentationContext"
    folder.mkdir(parents=True)
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
    "ISPRS": Case({}, POTSDAM, [0, 1, 4, 6], ["impervious surface", "building", "car", ""], 6),
}  # fmt: skip


def kind(name: str) -> type[DataSet]:
    return getattr(seglab.data, name.partition(" ")[0])  # type: ignore[no-any-return]


def build(name: str, root: Path, **more: Any) -> DataSet:
    return kind(name)(str(root), **CASES[name].arguments, **more)  # type: ignore[arg-type]


def written(name: str, root: Path) -> DataSet:
    case = CASES[name]
    data = build(name, root)
    for part, (image, mask) in case.pairs.items():
        numbers = {"ISPRS": (0, 1, 2) if part == "train" else (3, 4)}.get(name, (0, 1, 2))
        for i in numbers:
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


@pytest.mark.parametrize("name", CASES)
def test_parts_and_classes(name: str, tmp_path: Path) -> None:
    data, case = written(name, tmp_path), CASES[name]
    assert data.space.num_classes == case.count
    train, val = data.items("train"), data.items("val")
    assert [len(train), len(val)] == [3, 2 if name == "ISPRS" else 3]
    assert all(item.mask for item in [*train, *val])
    assert not {item.key for item in train} & {item.key for item in val}
    assert [item.key for item in train] == [item.key for item in sorted(train, key=lambda item: str(item.image))]
    classes = ["" if i == IGNORE else data.space.names[i] for i in data.space.decode[case.ids]]
    assert classes == case.classes
    mask = data.reader(train).labels(train[0])
    assert set(np.unique(mask)) == {data.space.decode[i] for i in case.ids}


@pytest.mark.parametrize("name", CASES)
def test_the_check_reads_it_and_training_streams(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(name, tmp_path / "d")
    path = config(
        tmp_path / "c.yaml",
        data={"class_path": kind(name).__name__, "init_args": {"root": str(tmp_path / "d"), **CASES[name].arguments}},
    )
    code, out, _ = check(capsys, "-c", path)
    assert code == 0, out
    data = build(name, tmp_path / "d", crop=(16, 16), labeled="1/2")
    assert data.stream("labeled", 0)[0]["mask"].shape == (16, 16)
    assert len(data.unlabeled_items()) == 1


@pytest.mark.parametrize("name", [name for name in CASES if " " not in name])
def test_a_wrong_folder_is_told_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match=r"set --data\.root to a folder with"):
        build(name, tmp_path).items("train")


def test_every_exported_data_set_is_tested() -> None:
    exported = {getattr(seglab.data, name) for name in seglab.data.__all__}
    sets = {part.__name__ for part in exported if issubclass(part, DataSet) and not inspect.isabstract(part)}
    elsewhere = {"ACDC", "CamVid", "Cityscapes", "DarkZurich", "Folder", "GTA5", "SYNTHIA", "VOC"}
    assert sets - elsewhere == {name.partition(" ")[0] for name in CASES}


def test_ids_of_coco_stuff_have_the_gaps_of_cocos_categories() -> None:
    assert (len(THING_IDS), len(STUFF_IDS), max(THING_IDS), max(STUFF_IDS)) == (80, 91, 90, 182)
    space = kind("COCOStuff")("nowhere").space  # type: ignore[call-arg, arg-type]
    assert [space.names[space.decode[id]] for id in (10, 12, 23, 24, 26, 91)] == [
        "fire hydrant", "stop sign", "zebra", "giraffe", "backpack", "banner",
    ]  # fmt: skip
    assert space.decode[11] == 254, "an id that was never annotated is refused"


def test_palettes_of_mapillary_tell_classes_apart() -> None:
    assert len(set(mapillary_space("2.0").palette)) == 123


def test_isprs_without_boundaries_and_vaihingen(tmp_path: Path) -> None:
    from seglab.data import ISPRS

    for number in (1, 2, 3):
        for folder, ending in (("top", ""), ("gts_for_participants", ""), ("eroded", "_noBoundary")):
            path = tmp_path / folder / f"top_mosaic_09cm_area{number}{ending}.tif"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(path)
    whole = ISPRS(str(tmp_path), "vaihingen")
    assert [item.key for item in whole.items("train")] == ["vaihingen_1", "vaihingen_3"]
    assert [item.key for item in whole.items("val")] == ["vaihingen_2"]
    eroded = ISPRS(str(tmp_path), "vaihingen", masks="eroded", boundaries=False)
    assert eroded.items("val")[0].mask == tmp_path / "eroded/top_mosaic_09cm_area2_noBoundary.tif"


def test_acdc_says_which_of_two_it_is() -> None:
    assert "driving" in (inspect.getdoc(inspect.getmodule(kind("ACDC"))) or "")
    assert "cardiac" in (inspect.getdoc(kind("ACDC")) or "")
    assert not issubclass(kind("ACDC"), Folder)
