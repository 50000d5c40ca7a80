"""Work over all files of a data set."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
R = TypeVar("R")


def parallel_map(function: Callable[[T], R], values: Sequence[T], title: str, workers: int = 0) -> Iterator[R]:
    """Results in order, from threads, with a progress bar where standard error is a terminal.

    Threads, because decoding releases Python's lock: ``workers`` of them, or a few more than cores for 0. The first
    error ends the work.
    """
    console = Console(stderr=True)
    with ThreadPoolExecutor(workers or None) as pool:
        try:
            yield from track(
                pool.map(function, values),
                title,
                len(values),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            )
        finally:
            pool.shutdown(cancel_futures=True)
