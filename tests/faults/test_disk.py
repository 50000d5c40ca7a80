"""A disk that is full, or a folder that cannot be written any more, while a run goes on."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import goes_on_alike, hurry, last_words, slowly, small_disk
from probes import rows

from seglab.runs.directory import LAST
from seglab.training.record import MetricsLogger


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "16m") as folder:
        yield folder


@pytest.mark.parametrize("left", [200_000, 0])
def test_a_full_disk_ends_a_run_and_costs_nothing(left: int, camvid: Path, whole: Path, disk: Path) -> None:
    run = disk / "run"
    with slowly(camvid, run) as process:
        fill(disk / "other", left)
        hurry(run)
        code, said = last_words(process)
    assert code == 1
    assert "No space left on device" in said
    assert "Traceback" not in said
    if left:  # enough for everything but the checkpoint
        assert f"cannot write checkpoint {run / LAST} (No space left on device); the one before is kept" in said
        assert json.loads((run / "summary.json").read_text())["status"] == "failed"
    (disk / "other").unlink()
    goes_on_alike(run, whole)


def test_a_folder_that_cannot_be_written_is_named(camvid: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    folders = [run / "checkpoints", run]
    with slowly(camvid, run, powerless=True) as process:
        for folder in folders:
            folder.chmod(0o555)
        hurry(run)
        code, said = last_words(process)
    for folder in folders:
        folder.chmod(0o755)
    assert code == 1
    assert f"cannot write checkpoint {run / LAST} (Permission denied); the one before is kept" in said
    assert "Traceback" not in said
    goes_on_alike(run, whole)


@pytest.mark.parametrize("torn", ["", "1", "1,0.5,", "1,0.5,2"])
def test_a_row_that_was_not_finished_is_no_row(torn: str, tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    for step in range(12):
        logger.log_metrics({"a": 0.5, "z": 2.0}, step)
        logger.save()
    logger.finalize("success")
    before = rows(tmp_path)
    path = tmp_path / "metrics.csv"
    assert path.read_text().splitlines()[0] == "a,step,z"
    with path.open("a", newline="") as file:
        file.write(torn)
    MetricsLogger(tmp_path).keep_before(20, {})
    assert rows(tmp_path) == before
    MetricsLogger(tmp_path).keep_before(3, {})
    assert rows(tmp_path) == before[:3]


def fill(path: Path, left: int) -> None:
    """Write until a file system has that many bytes left."""
    space = os.statvfs(path.parent)
    with suppress(OSError):  # the run, too, takes some meanwhile
        path.write_bytes(bytes(space.f_bavail * space.f_frsize - left))
