"""Public data sets in the layouts of their archives: parts, classes, and what a wrong folder is told."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from data_check import check, config
from PIL import Image
from public_sets import CASES, build, kind, written

import seglab.data
from seglab.data import DataSet, Folder
from seglab.data.sets.coco import STUFF_IDS, THING_IDS
from seglab.data.sets.mapillary import mapillary_space
from seglab.labels import IGNORE
from seglab.types import SeglabError


@pytest.mark.parametrize("name", CASES)
def test_parts_and_classes(name: str, tmp_path: Path) -> None:
    data, case = written(name, tmp_path), CASES[name]
    assert data.space.num_classes == case.count
    train, val = data.items("train"), data.items("val")
    assert [len(train), len(val)] == [len(case.numbers["train"]), len(case.numbers["val"])]
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
    elsewhere = {"ACDC", "CamVid", "Cityscapes", "DarkZurich", "Folder", "GTA5", "SYNTHIA", "Synscapes", "VOC"}
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
