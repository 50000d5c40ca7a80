"""Processes of a run that are killed, all or one of them, and a second run in their folder."""

import json
import os
import signal
from pathlib import Path

import pytest
from harness import assert_alike, children, command, goes_on_alike, hurry, last_words, session, slowly, started, wait
from probes import TWO_RANKS, run_seglab

from seglab.cli import main


def test_a_killed_run_goes_on_alike(camvid: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with slowly(camvid, run) as process:
        process.kill()
        assert last_words(process)[0] == -signal.SIGKILL
        wait(lambda: not session(process.pid))  # its loaders
    goes_on_alike(run, whole)


def test_ranks_end_with_the_first_and_go_on_alike(camvid: Path, tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    with slowly(camvid, run, *TWO_RANKS) as process:
        assert len(children(process.pid, rank=1)) == 1
        process.kill()
        wait(lambda: not session(process.pid))
    assert run_seglab("fit", str(run), "--trainer.callbacks", "null").returncode == 0
    assert run_seglab(*command(camvid, whole, ranks=2)).returncode == 0
    assert_alike(run, whole)


def test_a_rank_that_dies_before_it_has_begun_is_named(camvid: Path, tmp_path: Path) -> None:
    with started(*command(camvid, tmp_path / "run", ranks=2)) as process:
        wait(lambda: children(process.pid, rank=1), process)
        os.kill(children(process.pid, rank=1)[0], signal.SIGKILL)
        code, said = last_words(process)
    assert code == 1
    assert "seglab: error: rank 1 was killed by SIGKILL" in said
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["status"], summary["error"]) == ("failed", "rank 1 was killed by SIGKILL")


def test_no_rank_waits_for_a_first_one_that_died_at_its_start(camvid: Path, tmp_path: Path) -> None:
    with started(*command(camvid, tmp_path / "run", ranks=2)) as process:
        wait(lambda: children(process.pid, rank=1), process)
        process.kill()
        wait(lambda: not session(process.pid))


def test_a_killed_loader_is_named(camvid: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with slowly(camvid, run) as process:
        (loader, *_) = children(process.pid)
        os.kill(loader, signal.SIGKILL)
        code, said = last_words(process)
    assert code == 1
    # "killed by signal: Killed" or, by the moment, "exited unexpectedly"
    assert f"seglab: error: loader process {loader} was lost (" in said
    assert "fewer --data.workers" in said
    assert "Traceback" not in said
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert f"loader process {loader}" in summary["error"]
    goes_on_alike(run, whole)


def test_two_runs_do_not_share_a_folder(
    camvid: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with slowly(camvid, run) as process:
        for words in (["fit", str(run)], command(camvid, run), command(camvid, run, "--ckpt_path", "last")):
            assert main(words) == 1
            said = capsys.readouterr().err
            assert f"in use by process {process.pid} on " in said or "already holds a run" in said
        hurry(run)
        assert last_words(process)[0] == 0
    assert_alike(run, whole)


def test_of_two_that_start_in_one_folder_one_runs(camvid: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with started(*command(camvid, run)) as one, started(*command(camvid, run)) as two:
        ends = sorted([last_words(one), last_words(two)])
    assert [code for code, _ in ends] == [0, 1]
    assert "in use by process" in ends[1][1] or "already holds a run" in ends[1][1]
    assert_alike(run, whole)
