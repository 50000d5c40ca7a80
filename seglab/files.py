"""Files: read and checked, written whole or not at all; folders held by one process; many files read by threads."""

import errno
import json
import os
import re
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, TypeVar
from uuid import uuid4

import yaml
from rich.console import Console
from rich.progress import track

from seglab.types import SeglabError

MAX_YAML_VALUES = 1_000_000  # in a YAML file when every alias is written out
PARTIAL = re.compile(r"\..*\.[0-9a-f]{8}\.partial", re.DOTALL)  # names of files that are being written
LOCK = ".lock"
TRIES, PAUSE = 5, 0.2  # seconds between tries: whoever asks for the holder also takes the lock, for a moment
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML has it, is ten times as fast
T = TypeVar("T")
R = TypeVar("R")
_held: dict[Path, TextIO] = {}


class Holder(NamedTuple):
    """The process that holds a folder, or was the last to hold it.

    Attributes:
        alive: None where the file system has no locks.
        process: its id on ``host``.
    """

    alive: bool | None
    process: int
    host: str

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()


def read_text(path: Path) -> str:
    """
    Raises:
        SeglabError: the file cannot be read, or is not text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SeglabError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SeglabError(f"{path} is not text in UTF-8 ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SeglabError: as ``read_text``; or it is invalid, or not an object with keys.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise SeglabError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise SeglabError(f"{path} holds no keys")
    return content


def read_yaml(path: Path) -> Any:
    """Plain values; tags that would build Python objects are refused.

    Raises:
        SeglabError: as ``read_text``; or as ``parse_yaml``.
    """
    try:
        return parse_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise SeglabError(f"{path} is not valid YAML: {_one_line(error)}") from error


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML document.

    Raises:
        yaml.YAMLError: it is not valid, has a tag that would build an object, a key that stands twice, of which YAML
            would keep the last, or aliases that contain themselves or grow beyond all bounds.
    """
    check_yaml(text)
    try:
        return yaml.load(text, SafeLoader)
    except (ValueError, RecursionError) as error:  # invalid dates and numbers
        raise yaml.YAMLError(str(error)) from error


def check_yaml(text: str) -> None:
    """Raise as ``parse_yaml`` for keys that stand twice and for aliases."""
    try:
        root = yaml.compose(text, SafeLoader)
        if root is not None:
            _values(root, {})
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


Content = str | bytes | Callable[[BinaryIO], object]  # of a file: text, written as UTF-8; bytes; or what writes to it


def write_whole(path: Path, content: Content, durable: bool = False, keep: Path | None = None) -> None:
    """Write a file in one step: who reads it, or is killed here, finds the old file or the new one. Creates its folder.

    Args:
        path: file to write or replace.
        content: text, bytes, or a function that writes to an open file.
        durable: wait until the disk has the content, so that it is whole after a power cut too.
        keep: what the old file becomes, just before the new one takes its place; None: it is dropped.

    Raises:
        OSError: it cannot be written; the old file is kept. Errors of ``content`` pass through.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:40]}.{uuid4().hex[:8]}.partial")
    try:
        with partial.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if keep and path.is_file():
            path.replace(keep)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove_partial(folder: Path, deep: bool = False, age: float = 0.0) -> None:
    """Remove what killed processes left of files that ``write_whole`` wrote, as far as the folder can be written.

    Args:
        folder: may be absent.
        deep: look into its folders too.
        age: seconds since the last change; above 0 where another process may be writing.
    """
    with suppress(OSError):
        for path in folder.rglob(".*.partial") if deep else folder.glob(".*.partial"):
            if PARTIAL.fullmatch(path.name) and time.time() - path.stat().st_mtime >= age:
                path.unlink(missing_ok=True)


def write_output(path: Path, content: Content, flag: str = "--output") -> None:
    """``write_whole`` for a file that the user named with a flag.

    Raises:
        SeglabError: it cannot be written; names the flag.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise SeglabError(f"cannot write {path} ({error.strerror}): choose another {flag}") from error


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
        if not _lock(file, TRIES):
            process, host = _owner(path)
            file.close()
            raise SeglabError(f"{folder} is in use by process {process} on {host}: wait for it or stop it")
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n")
        file.flush()
    except OSError as error:
        raise SeglabError(f"cannot write {path} ({error.strerror}): choose another folder") from error
    _held[path] = file


def release(folder: Path | None = None) -> None:
    """Release a folder that this process holds; None: every one."""
    for path in [folder.resolve() / LOCK] if folder else list(_held):
        if path in _held:
            _held.pop(path).close()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """``hold`` a folder inside the block.

    Raises:
        SeglabError: as ``hold``.
    """
    hold(folder)
    try:
        yield
    finally:
        release(folder)


def holder(folder: Path) -> Holder | None:
    """Who holds a folder, or held it last; None if nobody ever did."""
    path = folder.resolve() / LOCK
    if path in _held:  # opening and closing the file once more would release the lock
        return Holder(True, os.getpid(), socket.gethostname())
    try:
        with path.open() as file:
            process, host = _owner(path)
            return Holder(not _lock(file, 1, shared=True), process, host)
    except FileNotFoundError:
        return None
    except OSError:
        return Holder(None, *_owner(path))


def parallel_map(function: Callable[[T], R], values: Sequence[T], title: str, workers: int = 0) -> Iterator[R]:
    """Results in order, from threads, with a progress bar where standard error is a terminal.

    Threads, because decoding releases Python's lock. Only a few results are computed ahead of the reader, so that
    decoded images do not pile up in memory. The first error ends the work.

    Args:
        function: called with each value.
        values: any number of them.
        title: of the progress bar.
        workers: threads; 0: four more than CPU cores, at most 32.
    """
    workers = workers or min(32, (os.cpu_count() or 1) + 4)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for value in progress(values, title):
                waiting.append(pool.submit(function, value))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def progress(values: Sequence[T], title: str) -> Iterable[T]:
    """The values, with a progress bar where standard error is a terminal."""
    console = Console(stderr=True)
    return track(values, title, len(values), console=console, transient=True, disable=not console.is_terminal)


def _lock(file: TextIO, tries: int, shared: bool = False) -> bool:
    """Whether the lock could be taken. Without locks in the file system: yes, with a note; OSError if shared."""
    import fcntl  # Windows lacks it, and needs the rest of this module

    for left in reversed(range(tries)):
        try:
            fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                if left:
                    time.sleep(PAUSE)
                continue
            if shared:
                raise
            print(
                f"seglab: note: {file.name} cannot be locked ({error.strerror}): make sure that no second process "
                "works in its folder",
                file=sys.stderr,
            )
        return True
    return False


def _owner(path: Path) -> tuple[int, str]:
    process, _, host = path.read_text().strip().partition(" ")
    return (int(process), host) if process.isdigit() else (0, "unknown host")


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).replace('in "<unicode string>", ', "in ").split())


def _values(node: yaml.Node, counts: dict[int, int]) -> int:
    """Number of values below a node."""
    known = counts.get(id(node))
    if known == 0:
        raise yaml.YAMLError(f"an alias stands for what contains it (line {node.start_mark.line + 1})")
    if known:
        return known
    counts[id(node)] = 0
    children: list[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            twice = sorted({str(name) for tag, name in keys if keys.count((tag, name)) > 1})
            raise yaml.YAMLError(f"{', '.join(twice)} stands twice (line {node.start_mark.line + 1})")
        children = [part for pair in node.value for part in pair]
    counts[id(node)] = 1 + sum(_values(child, counts) for child in children)
    if counts[id(node)] > MAX_YAML_VALUES:
        raise yaml.YAMLError(
            f"its aliases stand for more than {MAX_YAML_VALUES} values (line {node.start_mark.line + 1})"
        )
    return counts[id(node)]
