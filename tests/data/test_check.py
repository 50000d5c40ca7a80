import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from data_check import camvid_flags, check, config
from layouts import FOLDER, save, write_camvid, write_cityscapes, write_folder
from PIL import Image

from seglab.cli import main
from seglab.data import CamVid, Folder
from seglab.data.checks.check import check_data
from seglab.pictures import GAP, LINE
from seglab.types import SeglabError


def test_good_data_pass_with_their_counts(camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = check(capsys, *camvid_flags(camvid))
    assert (code, error) == (0, "")
    assert re.search(r"train\W+16\W+16\W+96x64 \(16\)", out)
    assert re.search(r"val\W+3\W+3\W+96x64 \(3\)", out)
    assert "training uses 4 labeled and 12 unlabeled images" in out
    assert "no problems found" in out


def test_class_shares_are_those_of_the_masks(camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = check(capsys, *camvid_flags(camvid))
    masks = np.stack([np.asarray(Image.open(path)) for path in sorted((camvid / "trainannot").iterdir())])
    assert re.search(rf"bicyclist\W+{100 * (masks == 10).mean():.2f} \(16\)", out)
    assert re.search(rf"ignored\W+{100 * (masks == 11).mean():.2f} \(16\)", out)


def test_every_bad_file_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path / "camvid", train=12, suffix=".jpg")

    def mask(split: str, index: int) -> Path:
        return root / f"{split}annot" / f"{split}_{index:05d}.png"

    def image(split: str, index: int) -> Path:
        return root / split / f"{split}_{index:05d}.jpg"

    image("train", 0).write_bytes(image("train", 0).read_bytes()[:900])
    mask("train", 1).write_bytes(mask("train", 1).read_bytes()[:-30])
    mask("train", 2).write_bytes(b"")
    image("train", 3).write_text("not an image")
    save(mask("train", 4), np.zeros((10, 10), np.uint8))
    save(mask("train", 5), np.full((64, 96), 200, np.uint8))
    save(mask("train", 6), np.zeros((64, 96, 3), np.uint8))
    Image.fromarray(np.full((64, 96), 700, np.uint16)).save(mask("val", 0))
    mask("val", 1).unlink()
    expected = {
        image("train", 0): "damaged",
        mask("train", 1): "damaged",
        mask("train", 2): "not an image",
        image("train", 3): "not an image",
        mask("train", 4): "is 10x10 but its image",
        mask("train", 5): r"ids \[200\]",
        mask("train", 6): "a RGB PNG",
        mask("val", 0): r"ids \[700\]",
        image("val", 1): "1 of 3 images have no mask",
    }
    code, out, error = check(capsys, *camvid_flags(root))
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert code == 1
    assert "problems: 9" in error
    assert len(problems) == len(expected)
    for path, reason in expected.items():
        assert sum(str(path) in line and bool(re.search(reason, line)) for line in problems) == 1, path


@pytest.mark.parametrize("spoiled", ["image", "mask", "missing"])
def test_one_bad_file_is_enough_to_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str], spoiled: str) -> None:
    root = write_camvid(tmp_path, train=5, test=2)
    path = {"image": root / "test/test_00001.png", "mask": root / "testannot/test_00001.png"}.get(spoiled)
    if path:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path = root / "train/train_00004.png"
        (root / "trainannot/train_00004.png").unlink()
    code, out, _ = check(capsys, *camvid_flags(root))  # labeled: the first and the fifth
    assert code == 1
    assert any(line.startswith("problem: ") and str(path) in line for line in out.splitlines())


def test_all_labeled_masks_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path, train=2)
    for path in (root / "trainannot").iterdir():
        path.write_bytes(b"")
    code, out, _ = check(capsys, *camvid_flags(root))
    assert code == 1
    assert out.count("not an image") == 2


def test_images_of_training_in_validation_are_named_by_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_camvid(tmp_path)
    for index, copy in ((3, "copy"), (4, "other")):
        shutil.copy(root / "train" / f"train_{index:05d}.png", root / "val" / f"{copy}.png")
        shutil.copy(root / "trainannot" / f"train_{index:05d}.png", root / "valannot" / f"{copy}.png")
    code, out, _ = check(capsys, *camvid_flags(root))
    assert code == 1
    assert f"val has 2 images of train: {root / 'val/copy.png'} = {root / 'train/train_00003.png'}" in out


def test_one_name_for_different_images_of_two_splits_is_no_overlap(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        write_folder(tmp_path / split, images=3, unlabeled=0, seed=seed)
    patterns = {"images": "{split}/images/*.jpg", "masks": "{split}/masks/*_label.png"}
    assert main(["data", "check", "-c", str(folder_config(tmp_path, **patterns))]) == 0


def folder_config(root: Path, **changes: object) -> Path:
    return config(
        root / "folder.yaml", data={"class_path": "Folder", "init_args": {"root": str(root), **FOLDER, **changes}}
    )


def test_held_out_images_are_no_overlap_and_their_masks_no_orphans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, error = check(capsys, "-c", folder_config(write_folder(tmp_path)))
    assert (code, error) == (0, "")
    assert "train: 4 of 13 images have no mask" in out
    assert "test is val" in out
    assert "no image" not in out


def test_masks_without_images_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path)
    for index in (2, 7):
        (root / "train" / f"train_{index:05d}.png").unlink()
    code, out, _ = check(capsys, *camvid_flags(root))
    assert code == 0
    annotations = root / "trainannot"
    assert f"2 masks have no image: {annotations}/train_00002.png, {annotations}/train_00007.png" in out


def test_a_missing_test_part_is_a_note_and_a_missing_validation_part_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_camvid(tmp_path, test=0)
    code, out, _ = check(capsys, *camvid_flags(root))
    assert code == 0
    assert re.search(r"note: test: .*/test does not exist", out)
    shutil.rmtree(root / "val")
    code, out, _ = check(capsys, *camvid_flags(root))
    assert code == 1
    assert re.search(r"problem: val: .*/val does not exist", out)


def test_classes_without_a_label_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path, train=4)
    first = root / "trainannot" / "train_00000.png"
    ids = np.array(Image.open(first))
    ids[(ids == 2) | (ids == 9)] = 11
    save(first, ids)
    _, out, _ = check(capsys, *camvid_flags(root))
    assert "the labeled images show no pole, pedestrian" in out
    _, out, _ = check(capsys, *camvid_flags(root, "all"))
    assert "show no" not in out


def test_brackets_in_names_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path)
    (root / "train" / "[red]a[b].png").write_bytes(b"")
    code, out, _ = check(capsys, *camvid_flags(root))
    assert code == 1
    assert f"{root}/train/[red]a[b].png is not an image" in out


def test_both_sides_of_an_adaptation_are_checked(
    tmp_path: Path, gta5: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_cityscapes(tmp_path / "city")
    shutil.rmtree(root / "gtFine/train")
    sides = {
        "source": {"class_path": "GTA5", "init_args": {"root": str(gta5)}},
        "target": {"class_path": "Cityscapes", "init_args": {"root": str(root)}},
    }
    file = config(tmp_path / "da.yaml", data={"class_path": "DomainAdaptation", "init_args": sides})
    code, out, error = check(capsys, "-c", file)
    assert (code, error) == (0, "")
    assert re.search(r"source train\W+8\W+8\W+96x64", out)
    assert re.search(r"target train\W+9\W+0\W+96x64", out)
    assert "training uses 8 labeled and 9 unlabeled images" in out
    bad = root / "leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png"
    bad.write_bytes(b"")
    code, out, _ = check(capsys, "-c", file)
    assert code == 1
    assert f"target val: {bad} is not an image" in out


def test_the_contact_sheet_decodes_each_side_with_its_own_ids(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", images=5, unlabeled=0)
    write_folder(tmp_path, images=4, unlabeled=0)
    for path in (tmp_path / "masks").iterdir():
        save(path, np.asarray(Image.open(path)) // 10)
    target = FOLDER | {"ids": {1: "ground", 2: "plant", 3: "thing"}}
    sides = {
        "source": {"class_path": "Folder", "init_args": {"root": str(folder), **FOLDER}},
        "target": {"class_path": "Folder", "init_args": {"root": str(tmp_path), **target}},
    }
    file = config(tmp_path / "da.yaml", data={"class_path": "DomainAdaptation", "init_args": sides})
    heights = []
    for flags in (["-c", str(file)], ["-c", str(folder_config(tmp_path, ids=target["ids"]))]):
        assert main(["data", "check", *flags, "--sheet", str(tmp_path / "sheet.png")]) == 0
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
    row = round(320 * 64 / 96) + LINE + GAP
    assert heights[0] - heights[1] == 4 * row  # four images of the source above those of the target


def test_report_for_programs(camvid: Path) -> None:
    report = check_data(CamVid(str(camvid), labeled="1/8"))
    assert [part.name for part in report.parts] == ["train", "val", "test"]
    assert report.problems == []
    assert report.parts[0].pixels.sum() == 16 * 96 * 64


def binary(root: Path, ids: tuple[int, int] = (0, 255)) -> list[str]:
    """Flags of a Folder whose masks show the two ids in halves."""
    for index in range(6):
        save(root / f"images/{index}.png", np.full((16, 16, 3), 20 * index, np.uint8))
        save(root / f"masks/{index}.png", np.repeat(np.array(ids, np.uint8), 128).reshape(16, 16))
    patterns = ["--data.images", "images/*.png", "--data.masks", "masks/*.png"]
    return ["--data", "Folder", "--data.root", str(root), *patterns, "--data.classes", "[background, object]"]


def test_masks_of_0_and_255_are_two_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = binary(tmp_path)
    code, out, _ = check(capsys, *flags)
    assert code == 1
    assert "none shows object: set --data.ids '{0: background, 255: object}'" in out
    code, out, _ = check(capsys, *flags, "--data.ids", "{0: background, 255: object}")
    assert code == 0, out
    plain = Folder(str(tmp_path), "images/*.png", "masks/*.png", ["background", "object"], crop=(16, 16))
    with pytest.raises(SeglabError, match=r"set --data.ids '\{0: background, 255: object\}'"):
        plain.stream("labeled", 0)
    right = Folder(
        str(tmp_path), "images/*.png", "masks/*.png", ["background", "object"], {0: "background", 255: "object"},
        crop=(16, 16), scale=(1.0, 1.0),
    )  # fmt: skip
    assert right.stream("labeled", 0)[0]["mask"].flatten().bincount().tolist() == [128, 128]


def test_a_rare_class_that_a_first_look_misses_is_no_wrong_id(tmp_path: Path) -> None:
    binary(tmp_path)
    for index in range(6, 20):
        save(tmp_path / f"images/{index:02d}.png", np.zeros((16, 16, 3), np.uint8))
        save(tmp_path / f"masks/{index:02d}.png", np.full((16, 16), 1 if index == 13 else 0, np.uint8))
    assert Folder(str(tmp_path), "images/*.png", "masks/*.png", ["a", "b"], crop=(16, 16)).stream("labeled", 0)


def test_a_class_without_a_pixel_beside_ignored_ones_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = binary(tmp_path, (0, 7))
    code, out, _ = check(capsys, *flags, "--data.void", "[7, 255]")
    assert code == 1
    assert "no mask shows object, and 50 % of the pixels are ignored (ids 7)" in out


@pytest.mark.parametrize(
    ("masks", "settings", "lines"),
    [
        ([0, 255], {}, ["ids: {0: background, 255: object}"]),
        ([0, 128], {}, ["ids: {0: background, 128: object}"]),
        ([3, 7], {}, ["ids: {3: background, 7: object}"]),
        ([0, 9], {"void": [9, 255]}, ["ids: {0: background, 9: object}", "void: [255]"]),
        ([0, 1, 5], {}, ["ids: {0: background, 1: object, 5: class_5}", "void: [5, 255]"]),
        ([[9, 8, 7], [0, 0, 0]], {}, ["colors: {background: [0, 0, 0], class_1: [9, 8, 7]}"]),
        (
            [[9, 8, 7], [0, 0, 0], [1, 2, 3]],
            {"colors": {"background": [0, 0, 0], "object": [9, 8, 7]}},
            ["void_colors: [[1, 2, 3]]"],
        ),
    ],
)
def test_the_check_ends_with_the_lines_that_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], masks: list[int], settings: dict[str, object], lines: list[str]
) -> None:
    for index in range(6):
        save(tmp_path / f"images/{index}.png", np.full((18, 16, 3), 20 * index, np.uint8))
        rows = np.resize(np.array(masks, np.uint8), (18, *np.shape(masks)[1:]))
        save(tmp_path / f"masks/{index}.png", np.repeat(rows[:, None], 16, 1))
    classes = ["background", "object"]
    arguments = {"root": str(tmp_path), "images": "images/*.png", "masks": "masks/*.png", "classes": classes} | settings
    path = config(tmp_path / "c.yaml", data={"class_path": "Folder", "init_args": arguments})
    code, out, _ = check(capsys, "-c", path)
    assert code == 1
    told = out.partition("This may mend it, under data.init_args:\n")[2].splitlines()
    for line in lines:
        assert any(found.strip().startswith(line) for found in told), out
    first = yaml.safe_load("\n".join(found for found in told[:2] if not found.startswith(("problems", "  void: [5"))))
    path = config(tmp_path / "c.yaml", data={"class_path": "Folder", "init_args": arguments | first})
    assert check(capsys, "-c", path)[0] == 0, "the lines mend it"


def test_rare_classes_are_noted_with_what_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = binary(tmp_path, (0,) * 2)
    for index in range(6):
        mask = np.zeros((16, 16), np.uint8)
        mask[0, 0] = 1
        save(tmp_path / f"masks/{index}.png", mask)
    code, out, _ = check(capsys, *flags)
    assert code == 0, out
    assert "less than 0.5 % of the labeled pixels show object (0.39 %): `--criterion.weights balanced`" in out
