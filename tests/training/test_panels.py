"""``panels/`` and ``confusion.json`` as a run leaves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from probes import break_off, fit_command, only_run, run_seglab

from seglab.cli import main
from seglab.labels import CAMVID
from seglab.training.panels import SIDE, _small


def panels(run: Path) -> dict[str, Any]:
    return json.loads((run / "panels/panels.json").read_text())


def indices(path: Path) -> np.ndarray:
    picture = Image.open(path)
    assert picture.mode == "P"
    return np.asarray(picture)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mean teacher, 6 steps, a validation every 2."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(fit_command("mean_teacher", camvid, runs, 6)) == 0
    return only_run(runs)


def test_confusion_is_that_of_the_last_validation(run: Path) -> None:
    confusion = json.loads((run / "confusion.json").read_text())
    last = json.loads((run / "summary.json").read_text())["last"]
    assert confusion["step"] == last["step"] == 6
    assert confusion["classes"] == list(CAMVID.names)
    for prefix in ("val", "val_teacher"):
        matrix = np.array(confusion[prefix])
        hit, truth, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        for i, name in enumerate(CAMVID.names):
            assert hit[i] / (truth[i] + predicted[i] - hit[i]) == pytest.approx(last[f"{prefix}/IoU/{name}"])


def test_panels_are_what_the_weights_predict(run: Path, camvid: Path, tmp_path: Path) -> None:
    record = panels(run)
    assert record["classes"] == list(CAMVID.names)
    assert record["palette"] == [list(colour) for colour in CAMVID.palette]
    assert main(["validate", str(run), "--export", str(tmp_path)]) == 0
    for entry in record["images"]:
        assert [part["step"] for part in entry["predictions"]] == [2, 4, 6]
        last, folder = entry["predictions"][-1], run / "panels"
        exported = CAMVID.decode[np.asarray(Image.open(tmp_path / f"{entry['key']}.png"))]
        assert np.array_equal(indices(folder / last["student"]), exported)
        assert indices(folder / last["teacher"]).shape == exported.shape
        truth = indices(folder / entry["truth"])
        assert 255 in truth
        assert set(np.unique(truth)) <= {*range(11), 255}
        assert Image.open(folder / entry["image"]).size == exported.shape[::-1]
    listed = {"panels.json", "progress.png", *(e[k] for e in record["images"] for k in ("image", "truth"))}
    listed |= {part[k] for e in record["images"] for part in e["predictions"] for k in ("student", "teacher")}
    assert {path.name for path in (run / "panels").iterdir()} == listed


def test_a_resumed_run_leaves_the_same_panels(run: Path, camvid: Path, tmp_path: Path) -> None:
    command = fit_command("mean_teacher", camvid, tmp_path, 6, "--checkpoint_every", "3", "--ckpt_path", "last")
    break_off(command, 5)  # after the validation of step 4, saved at 4
    again = only_run(tmp_path)
    record = panels(again)
    for entry in record["images"]:  # as if it had died later, before its next checkpoint
        entry["predictions"].append({"step": 5, "student": "000_000005_student.png"})
    (again / "panels/panels.json").write_text(json.dumps(record))
    (again / "panels/000_000005_student.png").write_bytes(b"")
    assert main(command) == 0
    assert contents(again / "panels") == contents(run / "panels")


def test_two_ranks_leave_the_same_files(camvid: Path, tmp_path: Path) -> None:
    for devices in ("1", "2"):
        place = ["--run_dir", str(tmp_path / devices), "--trainer.devices", devices, "--trainer.strategy", "ddp"]
        done = run_seglab(*fit_command("supervised", camvid, tmp_path, 2, *place, "--data.labeled_batch", "4"))
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (tmp_path / devices / "panels" for devices in ("1", "2"))
    assert len(panels(tmp_path / "2")["images"]) == 3
    assert contents(one).keys() == contents(two).keys()
    assert (one / "panels.json").read_bytes() == (two / "panels.json").read_bytes()
    # normalisation statistics differ between one and two ranks, so predictions do; pictures of the data do not
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in ("000.jpg", "001_truth.png"))
    assert main(["validate", str(tmp_path / "2"), "--trainer.devices", "1", "--export", str(tmp_path / "out")]) == 0
    for entry in panels(tmp_path / "2")["images"]:
        exported = CAMVID.decode[np.asarray(Image.open(tmp_path / f"out/{entry['key']}.png"))]
        assert np.array_equal(indices(two / entry["predictions"][-1]["student"]), exported)


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (["--panels.every", "4"], [4, 7]),  # on or after each fourth step, and the last
        (["--panels.every", "3", "--trainer.limit_val_batches", "1"], [4, 6, 7]),
        (["--panels.images", "0"], []),
    ],
)
def test_when_and_how_many(flags: list[str], steps: list[int], camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 7, *flags)) == 0
    run = only_run(tmp_path)
    if not steps:
        assert not (run / "panels").exists()
        return
    record = panels(run)
    assert len(record["images"]) == (1 if "--trainer.limit_val_batches" in flags else 3)
    assert all([part["step"] for part in entry["predictions"]] == steps for entry in record["images"])


def test_other_images_begin_a_new_folder(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 2)) == 0
    run = only_run(tmp_path)
    before = contents(run / "panels")
    assert main(["fit", str(run), "--trainer.max_steps", "4", "--panels.images", "1"]) == 0
    assert "panels show other images" in capsys.readouterr().err
    (kept,) = run.glob("panels-until-*")
    assert contents(kept) == before
    (entry,) = panels(run)["images"]
    assert [part["step"] for part in entry["predictions"]] == [4]


def test_negative_settings_are_refused(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 2, "--panels.images", "-1")) == 1
    assert "images 0 turns the panels off" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_large_pictures_shrink_and_masks_keep_their_values() -> None:
    mask = np.zeros((600, 1200), np.uint8)
    mask[:, 600:] = 255
    small = _small(mask)
    assert small.shape == (256, SIDE)
    assert set(np.unique(small)) == {0, 255}
    assert _small(np.zeros((600, 1200, 3), np.uint8)).shape == (256, SIDE, 3)
