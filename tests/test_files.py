"""Files written whole, folders held by one process, many files read by threads."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from harness import small_disk

from seglab.files import (
    LOCK,
    held,
    hold,
    holder,
    parallel_map,
    progress,
    release,
    remove_partial,
    write_output,
    write_whole,
)
from seglab.types import SeglabError

HOLD = """
import os, sys, time
from pathlib import Path
from seglab.files import hold
hold(Path(sys.argv[1]))
if not os.fork():
    time.sleep(60)  # a loader worker
    os._exit(0)
print("held", flush=True)
time.sleep(60)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from seglab.files import write_whole
def half(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), half)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Writing


@pytest.mark.parametrize("durable", [False, True])
def test_text_bytes_and_functions_replace_a_file_and_leave_no_other(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "file.txt"
    for content, expected in [("é\n", "é\n".encode()), (b"\0", b"\0"), (lambda file: file.write(b"abc"), b"abc")]:
        write_whole(path, content, durable)
        assert path.read_bytes() == expected
        assert names(path.parent) == ["file.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, "old")

    def fails(file: BinaryIO) -> None:
        file.write(b"new")
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        write_whole(path, fails)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]
    with small_disk(tmp_path / "disk", "1m") as disk:
        write_whole(disk / "file", b"old")
        with pytest.raises(OSError, match="No space left"):
            write_whole(disk / "file", bytes(2 << 20))
        assert (disk / "file").read_bytes() == b"old"
        with pytest.raises(SeglabError, match=r"cannot write .*choose another --output"):
            write_output(disk / "out.txt", "x" * (2 << 20))
        assert names(disk) == ["file"]


def test_what_a_killed_writer_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "panels" / f"{'long' * 60}.png"  # 244 characters: a temporary name must still be possible
    write_whole(path, "old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = [name for name in names(path.parent) if name != path.name]
    foreign = path.parent / ".download.partial"
    foreign.touch()

    remove_partial(tmp_path)
    remove_partial(path.parent, age=3600)
    assert (path.parent / left).is_file()
    remove_partial(tmp_path, deep=True)
    assert names(path.parent) == sorted([path.name, foreign.name])
    remove_partial(tmp_path / "absent")


def test_threads_that_write_one_file_leave_one_of_their_contents(tmp_path: Path) -> None:
    contents = [bytes([i]) * 100_000 for i in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "file", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert names(tmp_path) == ["file"]


# Holding a folder


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


def test_a_block_holds_its_folder_and_no_other(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    hold(first)
    try:
        with held(second):
            assert holder(second).alive
        assert (holder(first).alive, holder(second).alive) == (True, False)
    finally:
        release()


def test_a_folder_that_nobody_held(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    (tmp_path / LOCK).write_text("")
    assert holder(tmp_path) == (False, 0, "unknown host")


# Many files


def test_results_come_in_order_and_few_are_computed_ahead() -> None:
    started = []

    def square(value: int) -> int:
        started.append(value)
        time.sleep(0.001 * (value % 3))
        return value * value

    results = parallel_map(square, range(100), "squares", workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(started) <= 8
    assert list(results) == [i * i for i in range(3, 100)]


def test_the_first_error_ends_the_work() -> None:
    started = []

    def fail(value: int) -> None:
        started.append(value)
        if value == 3:
            raise SeglabError("damaged")

    with pytest.raises(SeglabError, match="damaged"):
        list(parallel_map(fail, range(1000), "files", workers=2))
    assert len(started) < 20


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2, 3], "numbers")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")
