"""Who holds a folder, asked by another process, as a launcher or a second run would."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import small_disk

from seglab.runs.directory import create
from seglab.runs.lock import LOCK, hold, holder, release
from seglab.types import SeglabError

HOLD = """
import os, sys, time
from pathlib import Path
from seglab.runs.lock import hold
hold(Path(sys.argv[1]))
if not os.fork():
    time.sleep(60)  # a loader worker
    os._exit(0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that holds ``tmp_path`` and has a child."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_process_is_known_to_be_dead_though_its_children_live(other: subprocess.Popen, tmp_path: Path) -> None:
    found = holder(tmp_path)
    assert found
    assert (found.alive, found.process, found.here) == (True, other.pid, True)
    with pytest.raises(SeglabError, match=f"in use by process {other.pid} on "):
        hold(tmp_path)
    other.kill()
    other.wait()
    found = holder(tmp_path)
    assert found
    assert (found.alive, found.process) == (False, other.pid)
    hold(tmp_path)
    assert holder(tmp_path) == (True, os.getpid(), found.host)
    release()
    assert holder(tmp_path) == (False, os.getpid(), found.host)


def test_a_folder_that_nobody_held(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    (tmp_path / LOCK).write_text("")
    assert holder(tmp_path) == (False, 0, "unknown host")


def test_a_full_disk_is_named_before_a_run_begins(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(SeglabError, match="No space left on device"):
            create(disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(SeglabError, match="Read-only file system"):
            create(disk / "other")
