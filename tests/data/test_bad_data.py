"""What is wrong with data is named by ``seglab data check``, all of it, and by training, where it stops or misleads."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from data_check import check, config
from layouts import FOLDER, save, write_camvid, write_cityscapes, write_folder, write_gta5
from PIL import Image
from probes import fit_command

from seglab.cli import main
from seglab.labels import CAMVID, CITYSCAPES

NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


class Case(NamedTuple):
    """A data set, what spoils it, and what both commands say."""

    spoil: Callable[[Path], Any]
    says: str  # pattern of a line of the check; it starts with ``problem`` or ``note``
    training: str = ""  # pattern of the error of training; "": it runs
    kind: str = "camvid"
    flags: tuple[str, ...] = ()


def image(root: Path, index: int = 1, split: str = "train") -> Path:
    return root / split / f"{split}_{index:05d}.png"


def mask(root: Path, index: int = 1, split: str = "train") -> Path:
    return root / f"{split}annot" / f"{split}_{index:05d}.png"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def ids(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def city_masks(root: Path) -> list[Path]:
    return sorted((root / "gtFine/train").glob("*/*.png")) + sorted((root / "gtFine/val").glob("*/*.png"))


def as_train_ids(root: Path) -> None:
    for path in city_masks(root):
        save(path, CITYSCAPES.decode[ids(path)])


def as_label_ids(root: Path) -> None:
    for path in city_masks(root):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))


def turned(root: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    target = image(root).with_suffix(".jpg")
    Image.open(image(root)).save(target, exif=exif)
    image(root).unlink()


def deep(root: Path, values: np.ndarray) -> None:
    cv2.imwrite(str(image(root)), values.astype(np.uint16))


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def painted(root: Path) -> None:
    save(mask(root), CAMVID.colours[CAMVID.decode[ids(mask(root))]])


def listed(root: Path, text: str, name: str = "labeled") -> None:
    (root / f"{name}.txt").write_text(text)


def void(root: Path, *indices: int, split: str = "train") -> None:
    for index in indices:
        save(mask(root, index, split), np.full((64, 96), 11, np.uint8))


LISTED = ("--data.labeled", "{root}/labeled.txt")
CASES = {
    "truncated image": Case(lambda r: cut(image(r)), "problem: train: .*train_00001.png is damaged", "is damaged"),
    "truncated mask": Case(lambda r: cut(mask(r)), "problem: train: .*annot/train_00001.png is damaged", "is damaged"),
    "empty image": Case(lambda r: image(r).write_bytes(b""), r"problem: .*_00001.png is not .*\(0 bytes\)", "0 bytes"),
    "empty mask": Case(lambda r: mask(r).write_bytes(b""), r"problem: .*_00001.png is not .*\(0 bytes\)", "0 bytes"),
    "16-bit mask above 255": Case(
        lambda r: Image.fromarray(np.full((64, 96), 700, np.uint16)).save(mask(r)),
        r"problem: .*annot/train_00001.png has ids \[700\]",
        r"train_00001.png has ids \[700\]",
    ),
    "16-bit mask below 256": Case(
        lambda r: Image.fromarray(ids(mask(r)).astype(np.uint16)).save(mask(r)), "no problems found"
    ),
    "16-bit image": Case(
        lambda r: deep(r, NOISE.astype(int) * 257), "note: train: 1 images have 16 bits .* upper 8 are read: .*_00001"
    ),
    "12-bit image": Case(
        lambda r: deep(r, NOISE.astype(int) * 15),
        "problem: .*train_00001.png has 16 bits per channel and leaves the upper four empty.*Scale it to 8 bits",
        "train_00001.png has 16 bits per channel",
    ),
    "colours of the classes": Case(
        painted,
        "problem: .*train_00001.png is a RGB PNG file.*shows the classes in their colours: read the masks of ids",
        "shows the classes in their colours",
    ),
    "other colours": Case(
        lambda r: save(mask(r), NOISE), "problem: .*is a RGB PNG file.*convert it to a PNG with one", "is a RGB PNG"
    ),
    "mask larger": Case(
        lambda r: save(mask(r), np.zeros((65, 97), np.uint8)),
        "problem: .*annot/train_00001.png is 97x65 but its image .*train_00001.png is 96x64: they must be",
        "is 97x65 but its image",
    ),
    "mask smaller": Case(
        lambda r: save(mask(r), np.zeros((32, 48), np.uint8)), "problem: .*is 48x32 but its image", "is 48x32 but its"
    ),
    "turned by EXIF": Case(
        lambda r: turned(r, 6),
        "problem: .*is 96x64 but its image .* is 64x96 as its EXIF orientation turns it",
        "as its EXIF orientation turns it",
    ),
    "mirrored by EXIF": Case(lambda r: turned(r, 2), "note: train: 1 images have an EXIF orientation, .*_00001.jpg"),
    "hidden files": Case(
        lambda r: [(p.parent / f"._{p.name}").write_bytes(b"x") for p in (image(r), mask(r), image(r, 0, "val"))],
        "no problems found",
    ),
    "link to itself in place of an image": Case(
        lambda r: loop(image(r)), "problem: .*train_00001.png cannot be read .*levels", "00001.png cannot be read"
    ),
    "link to itself in place of a mask": Case(
        lambda r: loop(mask(r)),
        "problem: .*annot/train_00001.png is a broken link",
        "1 labeled images have no mask: .*train_00001.png",
    ),
    "folder in place of an image": Case(
        lambda r: (image(r).unlink(), image(r).mkdir()),
        r"problem: .*train_00001.png cannot be read \(Is a directory\)",
        r"train_00001.png cannot be read \(Is a directory\)",
    ),
    "one void mask": Case(lambda r: void(r, 1), "note: train: 1 masks are void everywhere: .*annot/train_00001.png"),
    "void masks": Case(
        lambda r: void(r, 0, 1),
        "problem: train: all masks are void everywhere",
        "labeled masks are void everywhere: .*train_00000.png",
    ),
    "void validation": Case(
        lambda r: void(r, 0, split="val"), "problem: val: all masks are void", "no labeled pixel in val"
    ),
    "class that never occurs": Case(
        lambda r: [save(mask(r, i), np.where(ids(mask(r, i)) == 2, 11, ids(mask(r, i)))) for i in (0, 1)],
        "note: the labeled images show no pole",
    ),
    "class without truth in val": Case(
        lambda r: save(mask(r, 0, "val"), np.where(ids(mask(r, 0, "val")) == 2, 11, ids(mask(r, 0, "val")))),
        "note: val shows no pole",
    ),
    "empty list": Case(
        lambda r: listed(r, "\n"), "problem: training: .*labeled.txt lists no image", "lists no image", flags=LISTED
    ),
    "validation image in the list": Case(
        lambda r: listed(r, "train_00000\nval/val_00000.png"),
        "problem: training: .*labeled.txt:2: val/val_00000.png belongs to another split",
        "labeled.txt:2: val/val_00000.png belongs to another split",
        flags=LISTED,
    ),
    "validation image in the list by content": Case(
        lambda r: [shutil.copy(f(r, 0, "val"), f(r, 1)) for f in (image, mask)],
        "problem: val has 1 images of train: .*val_00000.png = .*train_00001.png",
        " ",
    ),
    "labeled and unlabeled": Case(
        lambda r: (listed(r, "train_00000"), listed(r, "train_00000\ntrain_00001", "unlabeled")),
        "problem: training: 1 images are in the labeled and in the unlabeled list: train_00000",
        "1 images are in the labeled and in the unlabeled list: train_00000",
        flags=(*LISTED, "--data.unlabeled", "{root}/unlabeled.txt"),
    ),
    "labeled and unlabeled by content": Case(
        lambda r: (listed(r, "train_00000"), shutil.copy(image(r, 0), image(r, 1))),
        "note: 1 unlabeled images are copies of labeled ones: .*train_00001.png = .*train_00000.png",
        flags=LISTED,
    ),
    "truncated mask of an unlabeled image": Case(
        lambda r: (listed(r, "train_00000"), cut(mask(r))),
        "problem: train: .*annot/train_00001.png is damaged",
        flags=LISTED,
    ),
    "train ids": Case(
        as_train_ids,
        "problem: train: .*these are train ids, but they are read as Cityscapes' label ids. Set --data.ids label",
        "these are train ids, .* Set --data.ids labelTrainIds",
        "cityscapes",
    ),
    "label ids": Case(
        as_label_ids,
        r"problem: train: .*has ids \[19, .*they are Cityscapes' label ids, .*: set --data.ids labelIds",
        "they are Cityscapes' label ids, but are read as train ids: set --data.ids labelIds",
        "cityscapes",
        ("--data.ids", "labelTrainIds"),
    ),
    "city without masks": Case(
        lambda r: shutil.rmtree(r / "gtFine/train/zurich"),
        r"note: train: 3 of 9 images have no mask \(every one in zurich\): .*zurich_000006",
        "3 labeled images have no mask: .*zurich_000006",
        "cityscapes",
    ),
    "city without images": Case(
        lambda r: shutil.rmtree(r / "leftImg8bit/train/zurich"),
        "note: 3 masks have no image: .*gtFine/train/zurich/zurich_000006",
        kind="cityscapes",
    ),
    "capitals": Case(
        lambda r: [path.rename(path.with_suffix(".PNG")) for path in r.rglob("*.png")],
        "training uses 9 labeled",
        kind="cityscapes",
    ),
    "capitals of a pattern": Case(
        lambda r: [path.rename(path.with_suffix(path.suffix.upper())) for path in r.rglob("*.*")],
        "training uses 9 labeled",
        kind="folder",
    ),
    "class indices": Case(
        lambda r: [save(path, ids(path) // 10 - (ids(path) > 0)) for path in (r / "masks").iterdir()],
        r"problem: train: .*has ids \[1, 2\] .*: they are the indices of the classes: leave out the id map",
        "they are the indices of the classes",
        kind="folder",
    ),
}


def write(root: Path, kind: str) -> list[str]:
    if kind == "camvid":
        write_camvid(root, train=2, val=1, test=0)
        return ["--data", "CamVid", "--data.root", str(root), "--data.labeled", "all"]
    if kind == "cityscapes":
        write_cityscapes(root)
        return ["--data", "Cityscapes", "--data.root", str(root), "--data.labeled", "all"]
    write_folder(root)
    flags = [f"--data.{name}={value}" for name, value in FOLDER.items()]
    return ["--data", "Folder", "--data.root", str(root), "--data.labeled", "all", *flags]


@pytest.mark.parametrize("name", CASES)
def test_named_by_check_and_by_training(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, root = CASES[name], tmp_path / "data"
    flags = write(root, case.kind)
    case.spoil(root)
    flags += [flag.format(root=root) for flag in case.flags]
    code, out, error = check(capsys, *flags)
    assert re.search(case.says, out), out
    assert code == (1 if "problem: " in out else 0)
    assert "Traceback" not in error

    if case.training == " ":
        return  # training cannot know without reading everything
    command = fit_command("fixmatch", root, tmp_path / "runs", 1, *flags)
    assert main([*command, "--data.labeled_batch", "8", "--data.unlabeled_batch", "2"]) == bool(case.training)
    error = capsys.readouterr().err
    assert re.search(case.training, error.replace("\n", " ")), error
    assert "Traceback" not in error
    warned = [line for line in error.splitlines() if "no hidden truth" in line]
    assert len(warned) == ("unlabeled image" in name)
    assert all("train_00001.png is damaged" in line for line in warned)


def test_everything_is_in_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path, train=12, val=2)
    cut(image(root, 0))
    mask(root, 1).write_bytes(b"")
    save(mask(root, 2), NOISE)
    save(mask(root, 3), np.zeros((10, 10), np.uint8))
    deep(root, NOISE.astype(int) * 15)
    mask(root, 1, "val").unlink()
    loop(mask(root, 4))
    shutil.copy(image(root, 0, "val"), image(root, 5))
    void(root, 6)
    shutil.copy(image(root, 7), image(root, 8))
    code, out, error = check(capsys, "--data", "CamVid", "--data.root", root)
    assert code == 1
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 9, out  # with: labeled images have no mask
    assert f"problems: {len(problems)}" in error
    notes = [line for line in out.splitlines() if line.startswith("note: ")]
    assert [line for line in notes if "void everywhere" in line]
    assert [line for line in notes if "train: 1 images occur more than once" in line]


# Images to leave out


def test_the_list_of_bad_images_mends_the_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path / "data", train=12, val=3)
    cut(image(root, 0))
    save(mask(root, 3), np.zeros((10, 10), np.uint8))
    mask(root, 1, "val").unlink()
    mask(root, 4).unlink()
    shutil.copy(image(root, 0, "val"), image(root, 5))
    bad = tmp_path / "new" / "bad.txt"
    flags = ["--data", "CamVid", "--data.root", str(root)]
    code, out, _ = check(capsys, *flags, "--bad", bad)
    assert code == 1
    train = [f"train/train_{index:05d}.png" for index in (0, 3, 4, 5)]
    assert bad.read_text().splitlines() == [*train, "val/val_00001.png"]
    assert f"5 of 18 images to leave out: --data.skip {bad}" in out
    code, out, error = check(capsys, *flags, "--data.skip", bad, "--bad", bad.with_name("again.txt"))
    assert (code, error) == (0, "")
    assert "training uses 8 labeled" in out
    assert "no image to leave out" in out
    assert not bad.with_name("again.txt").exists()
    command = fit_command("supervised", root, tmp_path / "runs", 1, *flags, "--data.labeled", "all")
    assert main([*command, "--data.labeled_batch", "8", "--data.skip", str(bad)]) == 0


def test_an_image_without_a_mask_stays_unlabeled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "data")
    cut(root / "images/013.jpg")
    bad = tmp_path / "bad.txt"
    flags = ["--data", "Folder", "--data.root", str(root), *[f"--data.{k}={v}" for k, v in FOLDER.items()]]
    assert check(capsys, *flags, "--bad", bad)[0] == 1
    assert bad.read_text() == "images/013.jpg\n"
    assert "9 labeled and 3 unlabeled" in check(capsys, *flags, "--data.skip", bad)[1]


def test_both_sides_of_an_adaptation_have_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_gta5(tmp_path / "gta5"), write_cityscapes(tmp_path / "city")
    cut(source / "labels/00002.png")
    cut(target / "leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png")
    sides = {
        "source": {"class_path": "GTA5", "init_args": {"root": str(source)}},
        "target": {"class_path": "Cityscapes", "init_args": {"root": str(target)}},
    }
    file = config(tmp_path / "da.yaml", data={"class_path": "DomainAdaptation", "init_args": sides})
    code, out, _ = check(capsys, "-c", file, "--bad", tmp_path / "bad.txt")
    assert code == 1
    assert f"--data.source.skip {tmp_path}/bad_source.txt" in out
    assert (tmp_path / "bad_source.txt").read_text() == "images/00002.png\n"
    assert (tmp_path / "bad_target.txt").read_text().startswith("leftImg8bit/val/aachen/aachen_000000")
    skips = [f"--data.{side}.skip={tmp_path}/bad_{side}.txt" for side in ("source", "target")]
    assert check(capsys, "-c", file, *skips)[0] == 0


def test_a_list_of_nearly_everything_doubts_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "data", unlabeled=0)
    flags = ["--data", "Folder", "--data.root", str(root), *[f"--data.{k}={v}" for k, v in FOLDER.items()]]
    _, out, _ = check(capsys, *flags, "--data.void=[255]", "--bad", tmp_path / "bad.txt")
    assert "12 of 12 images to leave out: more than half, so rather a setting is wrong" in out


# What the ids mean


def test_the_label_space_is_listed(cityscapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = check(capsys, "--data", "Cityscapes", "--data.root", cityscapes)
    assert re.search(r"road\W+7\W", out)
    assert re.search(r"bicycle\W+33\W", out)
    assert re.search(r"ignored\W+0-6, 9, 10, 14-16, 18, 29, 30, 34, 255\W", out)
    assert "classes of the data set" not in out


def test_a_taxonomy_shows_what_becomes_of_the_classes(
    cityscapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taxonomy = {"classes": ["flat", "car"], "mapping": {"road": "flat", "sidewalk": "flat", "car": "car"}}
    sections = {"class_path": "Cityscapes", "init_args": {"root": str(cityscapes), "taxonomy": taxonomy}}
    _, out, _ = check(capsys, "-c", config(tmp_path / "c.yaml", data=sections))
    assert re.search(r"flat\W+7, 8\W+road, sidewalk", out)
    assert re.search(r"car\W+26\W+car", out)
    assert re.search(r"ignored\W+0-6, 9-25, 27-34, 255\W+building, wall", " ".join(out.split()).replace("│ ", ""))


@pytest.mark.parametrize("workers", ["1", "3"])
def test_workers_change_nothing_but_the_time(camvid: Path, workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", "CamVid", "--data.root", str(camvid)]
    assert check(capsys, *flags, "--workers", workers) == check(capsys, *flags)


def test_negative_workers_are_refused(camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = check(capsys, "--data", "CamVid", "--data.root", camvid, "--workers", "-1")
    assert code == 1
    assert "--workers -1" in error
