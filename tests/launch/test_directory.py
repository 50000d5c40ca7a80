"""What a run's folder tells about it."""

import json
import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from seglab.files import LOCK, hold, release
from seglab.launch.slurm_runs import states_of
from seglab.runs.directory import MANIFEST
from seglab.runs.reading import read_run
from seglab.runs.status import STARTED, STARTING
from seglab.types import SeglabError


def summary(run: Path, status: str, **more: object) -> None:
    run.mkdir(exist_ok=True)
    known = {"benchmark": "b", "method": "m", "step": 3, "steps": 8, "last": {"val/mIoU": 0.5}}
    content = {"status": status, **known, **more}
    (run / "summary.json").write_text(json.dumps(content))


def log(run: Path, text: str, seconds_ago: float = 0.0) -> None:
    run.mkdir(exist_ok=True)
    (run / "log.txt").write_text(text)
    os.utime(run / "log.txt", (time.time() - seconds_ago,) * 2)


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    summary(tmp_path, "running")
    hold(tmp_path)
    assert read_run(tmp_path).status == "running"
    release()
    state = read_run(tmp_path)
    assert (state.status, state.step, state.steps, state.score("val/mIoU")) == ("killed", 3, 8, 0.5)
    assert f"last sign of life {datetime.now():%Y-%m-%d %H:}" in state.reason


def test_a_run_of_another_machine_is_dead_or_alive(tmp_path: Path) -> None:
    summary(tmp_path, "running")
    (tmp_path / LOCK).write_text("17 far away\n")
    assert read_run(tmp_path).status == "running or killed"
    assert "process 17 on far away" in read_run(tmp_path).reason


def test_a_run_that_failed_before_its_first_step_tells_why(tmp_path: Path) -> None:
    log(tmp_path, "note\nseglab: error: no such data\n")
    assert (read_run(tmp_path).status, read_run(tmp_path).reason) == ("failed", "no such data")
    log(tmp_path, "Traceback (most recent call last):\n  File\ntorch.OutOfMemoryError: CUDA\n")
    assert read_run(tmp_path).reason == "torch.OutOfMemoryError: CUDA"
    summary(tmp_path, "interrupted")
    os.utime(tmp_path / "summary.json", (time.time() - 9,) * 2)
    assert read_run(tmp_path).status == "failed", "its latest start failed"
    log(tmp_path, "seglab: error: from an earlier start\n", seconds_ago=60)
    assert read_run(tmp_path).status == "interrupted"


def test_a_run_that_has_just_been_started_is_running(tmp_path: Path) -> None:
    assert read_run(tmp_path).status == "waiting"
    log(tmp_path, f"{STARTED}now\n")
    assert read_run(tmp_path).status == "running"
    log(tmp_path, f"{STARTED}long ago\n", seconds_ago=STARTING + 9)
    assert read_run(tmp_path).status == "killed"


def test_states_are_sorted_and_what_needs_a_look_comes_last(tmp_path: Path) -> None:
    for name, status in {"a": "failed", "b": "finished", "c": "stopped", "e": "finished"}.items():
        summary(tmp_path / name, status, error="boom")
    (tmp_path / MANIFEST).write_text(json.dumps({name: {} for name in "abcde"}))
    states = states_of(tmp_path)
    assert list(states) == ["b", "e", "d", "c", "a"]
    assert states["a"].reason == "boom"
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(SeglabError, match=r"not valid JSON.*remove it"):
        states_of(tmp_path)
