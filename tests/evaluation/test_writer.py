from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.evaluation.writer import Export, file_name
from seglab.labels import CAMVID, CITYSCAPES, IGNORE, label_space
from seglab.types import SeglabError

PREDICTION = np.array([[0, 18], [13, IGNORE]], np.uint8)
TRAIN_IDS = label_space(list(CITYSCAPES.names))  # Cityscapes' classes, stored as their indices
PART = label_space(["sky", "road", "car"], {1: "sky", 2: "road", 3: "road", 4: "car"})


def stored(path: Path) -> list[list[int]]:
    return np.asarray(Image.open(path)).tolist()


def test_ids_are_those_the_data_set_stores(tmp_path: Path) -> None:
    Export(tmp_path / "out", CITYSCAPES).write("a.b", PREDICTION, np.zeros((2, 2, 3), np.uint8))
    assert stored(tmp_path / "out" / "a.b.png") == [[7, 33], [26, 255]]
    assert Image.open(tmp_path / "out" / "a.b_overlay.jpg").size == (2, 2)


@pytest.mark.parametrize("space", [CITYSCAPES, TRAIN_IDS])
def test_cityscapes_gets_label_ids_whatever_the_data_set_stores(tmp_path: Path, space) -> None:
    Export(tmp_path, space, "cityscapes").write("a", PREDICTION)
    assert stored(tmp_path / "a.png") == [[7, 33], [26, 255]]
    assert Image.open(tmp_path / "a.png").mode == "L"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_acdc_gets_class_indices(tmp_path: Path) -> None:
    Export(tmp_path, CITYSCAPES, "acdc", {"key": "image"}).write("key", PREDICTION)
    assert stored(tmp_path / "image.png") == PREDICTION.tolist()


def test_voc_gets_class_indices_in_its_colours(tmp_path: Path) -> None:
    space = label_space([f"class {i}" for i in range(21)])
    Export(tmp_path, space, "voc").write("2007_000032", np.array([[0, 1, 15, 20]], np.uint8))
    image = Image.open(tmp_path / "2007_000032.png")
    assert image.mode == "P"
    assert np.asarray(image).tolist() == [[0, 1, 15, 20]]
    assert np.asarray(image.convert("RGB")).tolist() == [[[0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128]]]


def test_a_space_without_all_classes_is_no_fair_entry(tmp_path: Path) -> None:
    export = Export(tmp_path, PART, "cityscapes")
    assert export.table[:3].tolist() == [23, 7, 26]
    assert "lacks sidewalk, building" in export.warnings()[0]
    assert Export(tmp_path, CITYSCAPES, "cityscapes").warnings() == []
    assert Export(tmp_path, CITYSCAPES).warnings() == []
    assert "several ids stand for road: the lowest is written" in Export(tmp_path, PART).warnings()[0]
    assert Export(tmp_path, PART).table[:3].tolist() == [1, 2, 4]
    assert "not the classes of Pascal VOC" in Export(tmp_path, PART, "voc").warnings()[0]


@pytest.mark.parametrize(
    ("space", "form", "message"),
    [
        (CAMVID, "cityscapes", "pavement, tree, sign, pedestrian, bicyclist are no classes of Cityscapes"),
        (PART, "acdc", "the label space is sky, road, car"),
        (CAMVID, "pascal", "--format 'pascal': give one of ids, cityscapes, acdc, voc"),
    ],
)
def test_a_format_that_cannot_say_the_classes_is_refused(tmp_path: Path, space, form: str, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        Export(tmp_path, space, form)


@pytest.mark.parametrize(
    ("key", "form", "name"),
    [
        ("aachen_000000_000019", "cityscapes", "aachen_000000_000019"),
        ("aachen_000000_000019_leftImg8bit", "cityscapes", "aachen_000000_000019"),
        ("GOPR0122_frame_000234_rgb_anon", "cityscapes", "GOPR0122_frame_000234_rgb_anon"),
        ("aachen_000000_000019_leftImg8bit", "ids", "aachen_000000_000019_leftImg8bit"),
        ("2008_000001", "voc", "2008_000001"),
    ],
)
def test_names(key: str, form: str, name: str) -> None:
    assert file_name(key, Path("x.jpg"), form) == name
    assert file_name(key, Path("folder/GOPR0122_frame_000234_rgb_anon.png"), "acdc") == "GOPR0122_frame_000234_rgb_anon"


def test_a_servers_folder_holds_nothing_else(tmp_path: Path) -> None:
    export = Export(tmp_path, CITYSCAPES, "cityscapes")
    (tmp_path / "a.png").touch()
    (tmp_path / ".b.png.0123abcd.partial").touch()  # left by a killed process
    (tmp_path / ".DS_Store").touch()
    export.open(["a", "b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".DS_Store", "a.png"]
    with pytest.raises(SeglabError, match=r"holds 1 files of something else \(a.png\).*choose an empty folder"):
        export.open(["b"])
    Export(tmp_path, CITYSCAPES).open(["b"])  # ids: other files are left alone
    (tmp_path / "sub").mkdir()
    with pytest.raises(SeglabError, match=r"\(sub\)"):
        export.open(["a"])


def test_two_images_of_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match=r"several images would be written to a.png"):
        Export(tmp_path, CITYSCAPES, "cityscapes").open(["b", "a", "a"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(SeglabError, match=f"cannot write to {folder}"):
            Export(folder, CITYSCAPES).open(["a"])
        with pytest.raises(SeglabError, match=f"cannot write {folder}/a.png"):
            Export(folder, CITYSCAPES).write("a", PREDICTION)
