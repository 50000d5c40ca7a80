"""Losses, gradients and weights that are not finite: training ends, names the cause, and saves none of it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import STEPS, command, goes_on_alike, last_words, started
from host_sync import NoHostSync
from probes import weights

from seglab.cli import main
from seglab.runs.directory import LAST
from seglab.training.finite_check import FiniteCheck, _finite

BAD = 6  # the step that is poisoned


def poison(**arguments: object) -> list[str]:
    arguments = {"step": BAD} | arguments
    return ["--trainer.callbacks+=" + json.dumps({"class_path": "harness.Poison", "init_args": arguments})]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_value_among_many_is_found_in_every_type(dtype: torch.dtype, bad: float) -> None:
    most = 6e4 if dtype is torch.float16 else 1e18
    tensors = [torch.full((3, 5), most, dtype=dtype), torch.zeros(7)]
    assert _finite(tensors)
    tensors[0][1, 2] = bad
    assert not _finite(tensors)


@pytest.mark.parametrize(("period", "log"), [(1, 1), (3, 100), (100, 2)])
def test_gradients_that_are_not_finite_are_never_saved(
    period: int, log: int, camvid: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    often = ["--checkpoint_every", str(period), "--trainer.log_every_n_steps", str(log)]
    assert main(command(camvid, run, *often, *poison())) == 1
    error = capsys.readouterr().err
    assert f"seglab: error: step {BAD} of {STEPS}: gradients not finite. loss terms: supervised " in error
    keys = re.search(r"images: labeled (.*?)\.", error)
    assert keys
    assert len(keys[1].split()) == 4
    assert f"{run / LAST} is of before" in error
    saved = torch.load(run / LAST, weights_only=True)
    assert saved["global_step"] < BAD
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    assert json.loads((run / "summary.json").read_text())["error"] in error.replace("seglab: error: ", "SeglabError: ")
    if log == 1:
        goes_on_alike(run, whole, "--checkpoint_every", "1")


def test_the_rank_whose_loss_broke_is_named_and_nobody_waits(camvid: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with started(*command(camvid, run, *poison(rank=1, loss=True), ranks=2, method="fixmatch")) as process:
        code, said = last_words(process)
    assert code == 1
    assert said.count("seglab: error: ") == 1
    error = said.partition("seglab: error: ")[2]
    assert error.startswith(f"step {BAD} of {STEPS}: loss not finite. rank 1: loss terms: supervised nan, ")
    assert "rank 0" not in error
    keys = re.search(r"images: labeled (.*?), unlabeled (.*?)\.", error)
    assert keys
    assert [len(names.split()) for names in keys.groups()] == [2, 2]
    assert "Traceback" not in said
    assert all(value.isfinite().all() for value in weights(run).values())
    assert json.loads((run / "summary.json").read_text())["error"] in f"SeglabError: {error}"


def test_no_step_waits_for_the_device(camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("on_train_batch_start", "on_after_backward", "on_before_optimizer_step"):
        hook = getattr(FiniteCheck, name)

        def guarded(*args: object, hook: Callable = hook) -> None:
            with NoHostSync():
                hook(*args)

        monkeypatch.setattr(FiniteCheck, name, guarded)
    looked: list[int] = []
    check = FiniteCheck.check
    monkeypatch.setattr(FiniteCheck, "check", lambda self, t, m: (looked.append(t.global_step), check(self, t, m))[1])
    flags = ["--trainer.log_every_n_steps", "5", "--checkpoint_every", "7"]
    assert main(command(camvid, tmp_path / "run", *flags)) == 0
    assert looked == [4, 5, 7, 8], "where it is logged, saved and validated"
