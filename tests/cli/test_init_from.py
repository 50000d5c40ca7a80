"""``--init_from``: a later stage begins with the student of an earlier run."""

from pathlib import Path

import pytest
import torch
from probes import fit_command, only_run, weights

from seglab.cli import main


@pytest.fixture(scope="module")
def first(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("first")
    assert main(fit_command("supervised", camvid, runs, 2)) == 0
    return only_run(runs)


@pytest.mark.parametrize("named", ["run", "checkpoint"])
def test_student_and_teacher_begin_as_the_earlier_student(
    named: str, first: Path, camvid: Path, tmp_path: Path
) -> None:
    start = first if named == "run" else first / "checkpoints/best.ckpt"
    flags = ["--init_from", str(start), "--optimizer.lr", "0"]
    assert main(fit_command("fixmatch", camvid, tmp_path, 1, *flags)) == 0
    state = weights(only_run(tmp_path))
    source = weights(first) if named == "run" else weights(first, "best")
    parameters = [key for key in source if key.startswith("student.") and "running" not in key and "num_" not in key]
    assert parameters
    for key in parameters:
        assert torch.equal(state[key], source[key])
        assert torch.equal(state[key.replace("student.", "teacher.network.", 1)], source[key])


def test_a_resumed_run_does_not_need_the_earlier_one(first: Path, camvid: Path, tmp_path: Path) -> None:
    moved = tmp_path / "copy.ckpt"
    moved.write_bytes((first / "checkpoints/last.ckpt").read_bytes())
    assert main(fit_command("supervised", camvid, tmp_path / "runs", 2, "--init_from", str(moved))) == 0
    moved.unlink()
    assert main(["fit", str(only_run(tmp_path / "runs")), "--trainer.max_steps", "4"]) == 0


@pytest.mark.parametrize("bad", ["absent", "other network", "no run"])
def test_a_wrong_start_is_named(
    bad: str, first: Path, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--init_from", str(tmp_path / "absent" if bad == "absent" else first)]
    if bad == "other network":
        flags += ["--network.encoder", "tu-test_resnet"]
    if bad == "no run":
        (tmp_path / "empty").mkdir()
        flags = ["--init_from", str(tmp_path / "empty")]
    assert main(fit_command("supervised", camvid, tmp_path / "runs", 2, *flags)) == 1
    message = capsys.readouterr().err
    assert {"absent": "--init_from", "other network": "another network", "no run": "--init_from"}[bad] in message
    assert not list((tmp_path / "runs").rglob("last.ckpt"))
