"""One process at a time in a folder, and whether the last one there still lives."""

import errno
import fcntl
import os
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple, TextIO

from seglab.types import SeglabError

LOCK = ".lock"
TRIES, PAUSE = 5, 0.2  # seconds between tries: whoever asks for the holder also takes the lock, for a moment
_held: dict[Path, TextIO] = {}


class Holder(NamedTuple):
    """The process that holds a folder, or was the last to hold it.

    Attributes:
        alive: None where the file system knows no locks.
        process: its id on ``host``.
    """

    alive: bool | None
    process: int
    host: str

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()


def hold(folder: Path) -> None:
    """Keep other processes out of a folder until ``release``, or until this process ends, however it ends.

    The lock is POSIX's: processes that this one forks, such as loader workers, do not share it and cannot outlive it.

    Raises:
        SeglabError: another process holds the folder, or it cannot be written.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        return
    try:
        file = path.open("a+")
        if not _locked(file, fcntl.LOCK_EX, TRIES):
            process, host = _owner(path)
            file.close()
            raise SeglabError(f"{folder} is in use by process {process} on {host}: wait for it or stop it")
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n")
        file.flush()
    except OSError as error:
        raise SeglabError(f"cannot write {path} ({error.strerror}): choose another folder") from error
    _held[path] = file


def release() -> None:
    """Let go of every folder that this process holds."""
    while _held:
        _held.popitem()[1].close()


def holder(folder: Path) -> Holder | None:
    """Who holds a folder, or held it last; None if nobody ever did."""
    path = folder.resolve() / LOCK
    if path in _held:  # opening and closing the file once more would drop the lock
        return Holder(True, os.getpid(), socket.gethostname())
    try:
        with path.open() as file:
            process, host = _owner(path)
            return Holder(not _locked(file, fcntl.LOCK_SH, 1), process, host)
    except FileNotFoundError:
        return None
    except OSError:
        return Holder(None, *_owner(path))


def _locked(file: TextIO, kind: int, tries: int) -> bool:
    """Take a lock; without a word where the file system has none, other than that."""
    for left in reversed(range(tries)):
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                if left:
                    time.sleep(PAUSE)
                continue
            if kind == fcntl.LOCK_SH:
                raise
            print(
                f"seglab: note: {file.name} cannot be locked ({error.strerror}): see to it that no second process "
                "works in its folder",
                file=sys.stderr,
            )
        return True
    return False


def _owner(path: Path) -> tuple[int, str]:
    process, _, host = path.read_text().strip().partition(" ")
    return (int(process), host) if process.isdigit() else (0, "unknown host")
