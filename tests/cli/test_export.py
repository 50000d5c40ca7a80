"""Predictions for benchmark servers, and what Cityscapes' own evaluation says about them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import ids_of, save, scene, write_camvid
from PIL import Image
from probes import fit_command, only_run, run_seglab

from seglab.cli import main
from seglab.labels import CITYSCAPES
from seglab.pictures import write_image

evaluation = pytest.importorskip(
    "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
    reason="pip install --no-deps cityscapesscripts pyquaternion, as make test does",
)
SIZES = ((96, 64), (70, 90), (129, 33), (64, 64))  # width, height
PLATE = 34  # GTA5's id of licence plates; Cityscapes' is -1, stored as 255


def write_sizes(root: Path, split: str, void: bool = False) -> None:
    """Frames of different sizes; every void id of Cityscapes occurs, and licence plates."""
    rng = np.random.default_rng(3)
    ids, colours = ids_of(CITYSCAPES)
    for index, size in enumerate(SIZES):
        image, mask = scene(ids, colours, size, rng)
        mask[:8] = rng.choice(CITYSCAPES.void[:-2], mask[:8].shape)
        mask[8:10] = PLATE if index else 255
        city = ("aachen", "zurich")[index % 2]
        key = f"{city}_{index:06d}_000019"
        save(root / "leftImg8bit" / split / city / f"{key}_leftImg8bit.png", image)
        save(root / "gtFine" / split / city / f"{key}_gtFine_labelIds.png", mask * (not void))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cityscapes")
    for split in ("train", "val", "test"):
        write_sizes(root, split, void=split == "test")
    return root


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    data = ["--data", "Cityscapes", "--data.root", str(root), "--data.labeled", "all"]
    assert main(fit_command("supervised", root, runs, 6, *data, "--optimizer.lr", "0.01")) == 0
    return only_run(runs)


def masks(root: Path, split: str = "val") -> list[Path]:
    return sorted((root / "gtFine" / split).glob("*/*_labelIds.png"))


def evaluate(root: Path, predictions: Path) -> dict[str, Any]:
    """Scores of Cityscapes' own evaluation, with its own search for the files."""
    args = evaluation.CArgs()
    vars(args).update(vars(evaluation.args), predictionPath=str(predictions), predictionWalk=None)
    vars(args).update(evalInstLevelScore=False, JSONOutput=False, quiet=True)
    truth = [str(path) for path in masks(root)]
    return evaluation.evaluateImgLists([evaluation.getPrediction(args, path) for path in truth], truth, args)


def without_plates(root: Path, copy: Path) -> Path:
    """Cityscapes' evaluation knows no licence plates: its files hold none."""
    for path in masks(root):
        ids = np.asarray(Image.open(path))
        save(copy / path.relative_to(root), np.where((ids == PLATE) | (ids == 255), 1, ids))
    return copy


def test_scores_equal_those_of_cityscapes(root: Path, run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(root, tmp_path / "data")
    command = ["validate", str(run), "--data.root", str(root), "--format", "cityscapes", "--export"]
    assert main([*command, str(tmp_path / "first")]) == 0
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == [path.name.replace("_gtFine_labelIds", "") for path in sorted(masks(root), key=lambda p: p.name)]

    predicted = np.unique([i for f in files for i in np.unique(np.asarray(Image.open(tmp_path / "first" / f)))])
    assert len(predicted) > 2
    never = next(i for i in CITYSCAPES.ids if i not in predicted)
    for path in masks(root):  # one class is predicted and never true, one is neither
        ids = np.array(Image.open(path))
        ids[np.isin(ids, [predicted[-1], never])] = predicted[0]
        save(path, ids)
    assert main([*command, str(tmp_path / "second")]) == 0
    ours = json.loads((run / "validate_last.json").read_text())
    theirs = evaluate(without_plates(root, tmp_path / "copy"), tmp_path / "second")

    assert ours["val/mIoU"] == pytest.approx(theirs["averageScoreClasses"], abs=5e-5)
    assert 0 < ours["val/mIoU"] < 1
    for name in CITYSCAPES.names:
        score = ours[f"val/IoU/{name}"]
        assert (
            math.isnan(theirs["classScores"][name])
            if score is None
            else score == pytest.approx(theirs["classScores"][name], abs=5e-5)
        )
    assert ours[f"val/IoU/{CITYSCAPES.names[CITYSCAPES.ids[never]]}"] is None
    assert ours[f"val/IoU/{CITYSCAPES.names[CITYSCAPES.ids[int(predicted[-1])]]}"] == 0


def test_cityscapes_refuses_licence_plates_in_the_truth(root: Path, run: Path, tmp_path: Path) -> None:
    assert main(["validate", str(run), "--export", str(tmp_path / "out"), "--format", "cityscapes"]) == 0
    with pytest.raises(SystemExit):
        evaluate(root, tmp_path / "out")


def test_a_test_part_without_labels_is_exported(
    root: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(run), "--export", str(tmp_path / "out"), "--format", "cityscapes"]) == 0
    out, error = capsys.readouterr()
    assert f"4 predictions written to {tmp_path / 'out'} (cityscapes)" in out
    assert "nothing could be scored: test has no labeled pixel" in out
    assert error == ""
    assert not (run / "test_last.json").exists()
    for path in masks(root, "test"):
        with (
            Image.open(tmp_path / "out" / path.name.replace("_gtFine_labelIds", "")) as image,
            Image.open(path) as mask,
        ):
            assert (image.mode, image.size) == ("L", mask.size)
            assert set(np.unique(np.asarray(image))) <= set(CITYSCAPES.ids)
    assert main(["test", str(run)]) == 1
    assert "no labeled pixel in test" in capsys.readouterr().err


def test_a_test_part_without_masks_is_exported(
    root: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(root, tmp_path / "data")
    shutil.rmtree(root / "gtFine/test")
    command = ["test", str(run), "--data.root", str(root)]
    assert main([*command, "--export", str(tmp_path / "out"), "--format", "acdc"]) == 0
    out, error = capsys.readouterr()
    assert "nothing could be scored" in out
    assert error == ""
    assert (tmp_path / "out/aachen_000000_000019_leftImg8bit.png").is_file()
    assert main(command) == 1
    assert "4 test images have no mask" in capsys.readouterr().err


def test_predict_writes_the_same_files(root: Path, run: Path, tmp_path: Path) -> None:
    assert main(["validate", str(run), "--export", str(tmp_path / "a"), "--format", "cityscapes"]) == 0
    for city in ("aachen", "zurich"):
        images = str(root / "leftImg8bit/val" / city)
        output = str(tmp_path / city)
        assert main(["predict", str(run), "--images", images, "--output", output, "--format", "cityscapes"]) == 0
        for path in (tmp_path / city).iterdir():
            assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


def test_a_repeated_export_replaces_its_files_and_no_others(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["validate", str(run), "--export", str(tmp_path / "out"), "--format", "cityscapes"]
    assert main(command) == 0
    victim = tmp_path / "out/aachen_000000_000019.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:20])
    assert main(command) == 0
    assert victim.read_bytes() == whole
    (tmp_path / "out/old.png").touch()
    capsys.readouterr()
    assert main(command) == 1
    assert "holds 1 files of something else (old.png)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "voc"], "--export FOLDER"),
        (["--export", "out", "--format", "png"], "ids, cityscapes, acdc, voc"),
        (["--export", "out", "--formt", "voc"], "formt"),
    ],
)
def test_wrong_flags(flags: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(run), *flags]) == 1
    assert message in capsys.readouterr().err


def test_classes_that_a_server_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path / "camvid", train=4)
    assert main(fit_command("supervised", root, tmp_path / "runs", 1)) == 0
    command = ["test", str(only_run(tmp_path / "runs")), "--export", str(tmp_path / "out"), "--format"]
    assert main([*command, "cityscapes"]) == 1
    assert "pavement, tree, sign, pedestrian, bicyclist are no classes of Cityscapes" in capsys.readouterr().err
    assert main([*command, "voc"]) == 0
    out, error = capsys.readouterr()
    assert "seglab: note: --format voc: these are not the classes of Pascal VOC" in error
    assert "scores written to" in out
    assert Image.open(tmp_path / "out/test_00000.png").mode == "P"


def test_two_ranks_write_every_image_once(root: Path, run: Path, tmp_path: Path) -> None:
    flags = ["--format", "cityscapes", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = run_seglab("test", str(run), "--export", str(tmp_path / "two"), *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("4 predictions written") == 1
    assert done.stdout.count("nothing could be scored") == 1
    assert main(["test", str(run), "--export", str(tmp_path / "one"), "--format", "cityscapes"]) == 0
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)


def test_a_full_disk_ends_with_the_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *rest: Any) -> None:
        if "zurich" in path.name:
            raise OSError(28, "No space left on device")
        write_image(path, *rest)

    monkeypatch.setattr("seglab.evaluation.writer.write_image", full)
    assert main(["validate", str(run), "--export", str(tmp_path / "out"), "--format", "cityscapes"]) == 1
    error = capsys.readouterr().err
    assert f"cannot write {tmp_path}/out/zurich_000001_000019.png (No space left on device)" in error
    assert "Traceback" not in error
