"""Files of checkpoints that are damaged, or that a process could not finish."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import STEPS, command, goes_on_alike
from probes import fit_command, only_run

from seglab.cli import main
from seglab.files import remove_partial
from seglab.networks.tensor_files import read_tensors
from seglab.runs.directory import BEST, LAST, PREVIOUS
from seglab.training.checkpoints import AtomicCheckpointIO, last_whole
from seglab.types import SeglabError


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # within a tensor: torch would load it
    path.write_bytes(content)


DAMAGES = {"truncated": truncate, "flipped": flip, "empty": lambda path: path.write_bytes(b""), "gone": Path.unlink}


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_of_a_file_is_seen(name: str, run: Path) -> None:
    assert last_whole(run) == (run / LAST, "")
    DAMAGES[name](run / LAST)
    assert last_whole(run)[0] == run / PREVIOUS


@pytest.mark.parametrize("name", ["flipped", "gone"])
def test_a_run_falls_back_to_the_checkpoint_before(
    name: str, run: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torch.load(run / PREVIOUS, weights_only=True)["global_step"] == STEPS - 1
    DAMAGES[name](run / LAST)
    assert main(["validate", str(run)]) == 0
    assert json.loads((run / "validate_previous.json").read_text())["checkpoint"] == str(run / PREVIOUS)
    said = capsys.readouterr().err
    assert f"warning: checkpoint {run / LAST} " in said
    assert f"; {run / PREVIOUS} takes its place" in said
    goes_on_alike(run, whole)
    assert f"{run / PREVIOUS} takes its place" in capsys.readouterr().err
    assert last_whole(run) == (run / LAST, "")


def test_no_row_is_lost_between_a_checkpoint_and_what_its_step_logs(camvid: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(command(camvid, run, "--trainer.callbacks+=probes.RaiseAt", "--trainer.callbacks.step=5")) == 1
    metrics = run / "metrics.csv"
    step = torch.load(run / LAST, weights_only=True)["global_step"] - 1
    *kept, last = metrics.read_text().splitlines(keepends=True)
    assert last.startswith(f"0,{step},")
    metrics.write_text("".join(kept), newline="")
    goes_on_alike(run, whole)


def test_what_a_run_falls_back_to_outlives_the_next_death(run: Path, whole: Path) -> None:
    truncate(run / LAST)
    assert main(["fit", str(run), "--trainer.callbacks+=probes.RaiseAt", f"--trainer.callbacks.step={STEPS - 1}"]) == 1
    assert last_whole(run)[0] == run / PREVIOUS, "the damaged file did not take its place"
    goes_on_alike(run, whole)


def test_a_run_without_a_whole_checkpoint_says_what_is_left(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncate(run / LAST)
    flip(run / PREVIOUS)
    for words in (["fit", str(run)], ["validate", str(run)]):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert f"{run / LAST} is damaged or no file of tensors" in error
        assert f"{run / PREVIOUS} is damaged or no file of tensors (the checksum of " in error
        assert f"train anew with `seglab fit -c {run / 'config.yaml'}`" in error
        assert "--ckpt_path best" in error
    assert main(["validate", str(run), "--ckpt_path", "best"]) == 0


def test_a_whole_file_is_refused_for_what_it_holds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong with the disk, so nobody goes on from an earlier file unasked."""
    torch.save({"state_dict": {}, "payload": Path("x")}, run / LAST)
    assert main(["fit", str(run)]) == 1
    said = capsys.readouterr().err
    assert "takes its place" not in said
    assert str(run / LAST) in said


def test_changed_bits_in_the_best_weights_are_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(run / BEST)
    assert main(["validate", str(run), "--ckpt_path", "best"]) == 1
    assert f"checkpoint {run / BEST} is damaged or no file of tensors (the checksum of " in capsys.readouterr().err


def test_a_run_is_found_again_whose_last_checkpoint_is_gone(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = fit_command("supervised", camvid, tmp_path, 2, "--ckpt_path", "last")
    assert main(words) == 0
    (only_run(tmp_path) / LAST).unlink()
    assert main(words) == 0
    assert f"resuming {only_run(tmp_path)}" in capsys.readouterr().err


def died_at(instant: int, save: Callable[[], None]) -> bool:
    """Save in a copy of this process that is killed at the n-th instant between two changes of the disk."""
    child = os.fork()
    if not child:
        left = instant

        def maybe(change: Callable) -> Callable:
            def changed(*args: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*args)

            return changed

        os.fsync, os.unlink = maybe(os.fsync), maybe(os.unlink)
        for name in ("open", "replace", "unlink"):
            setattr(Path, name, maybe(getattr(Path, name)))
        write = torch.serialization._save
        torch.serialization._save = lambda obj, *rest: (maybe(lambda: None)(), write(obj, *rest))  # a file was begun
        save()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_process_may_be_killed_at_any_instant_of_a_save(before: int, tmp_path: Path) -> None:
    def save(value: int) -> None:
        AtomicCheckpointIO().save_checkpoint({"value": value, "x": torch.full((1000,), value)}, tmp_path / LAST)

    for value in range(before):
        save(value)
    instant = 0
    while died_at(instant, lambda: save(before)):
        if before:
            found, _ = last_whole(tmp_path)
            assert read_tensors(found, "checkpoint")["value"] == before - 1
        else:
            with pytest.raises(SeglabError, match="does not exist"):
                last_whole(tmp_path)
        instant += 1
    assert instant == (5 if before else 4), "opened, begun, synchronised, renamed, and the one before, too"
    assert read_tensors(tmp_path / LAST, "checkpoint")["value"] == before
    remove_partial(tmp_path / "checkpoints")
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt"} | (
        {"previous.ckpt"} if before else set()
    )
