"""What a sweep shows while it runs: a live table on a terminal, a line per change elsewhere."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seglab.runs.reading import Run
from seglab.runs.status import STATUSES

COLOURS = {"finished": "green", "failed": "red", "killed": "red", "interrupted": "red", "running": "yellow"}
CALM = ("finished", "waiting", "requeued")  # what a terminal too small for all runs leaves out first
FRAME = 7  # lines of the table beside those of runs


def counts(states: Mapping[str, Run]) -> str:
    """``3 finished, 1 failed``."""
    number = Counter(state.status for state in states.values())
    return ", ".join(f"{number[status]} {status}" for status in STATUSES if number[status])


def table(states: Mapping[str, Run], title: str = "", rows: int = 0, note: str = "") -> Group:
    """A row per run.

    Args:
        states: run name -> state.
        title: line above.
        rows: at most; 0: all. Runs that need a look come first then.
        note: line below, after the number of runs in each state.
    """
    shown = dict(states)
    if rows and len(states) > rows:
        urgent = sorted(states, key=lambda name: states[name].status in CALM)[:rows]
        shown = {name: state for name, state in states.items() if name in urgent}
    hidden = f" ({len(states) - len(shown)} not shown)" if len(shown) < len(states) else ""
    result = Table()
    result.add_column("run", overflow="fold")
    result.add_column("state")
    result.add_column("step", justify="right")
    result.add_column("val/mIoU", justify="right")
    # one line each while the screen counts them; whole messages in the final table
    result.add_column("", no_wrap=bool(rows), overflow="ellipsis" if rows else "fold")
    for name, state in shown.items():
        step = f"{state.step}/{state.steps}" if state.steps else ""
        result.add_row(name, state.status, step, _percent(state), state.reason, style=COLOURS.get(state.status, "dim"))
    return Group(Text(title), result, Text(f"{counts(states)}{hidden}{note}"))


def _percent(run: Run) -> str:
    score = run.score("val/mIoU")
    return f"{100 * score:.2f}" if math.isfinite(score) else ""


class Screen:
    """Shows states; a context.

    Args:
        title: of the table.
        total: runs of the sweep.
        console: where to; by default, standard output.
    """

    def __init__(self, title: str, total: int, console: Console | None = None) -> None:
        self.title, self.total = title, total
        self.console = console or Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._start, self._drawn = time.monotonic(), 0.0
        self._before: float | None = None

    def __enter__(self) -> "Screen":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.live:
            self.live.update("")  # the final table follows
            self.live.stop()

    def changed(self, states: Mapping[str, Run], name: str) -> None:
        """A run began or ended."""
        if self.live:
            self._draw(states)
            return
        state = states[name]
        score = f", val/mIoU {_percent(state)}" if _percent(state) else ""
        error = f" ({state.reason})" if state.reason else ""
        print(f"seglab: {name}: {state.status}{score}{error}; {counts(states)}{self._clock(states)}", flush=True)

    def due(self) -> bool:
        """Whether a second has gone by since the table was drawn."""
        return self.live is not None and time.monotonic() - self._drawn > 1.0

    def refresh(self, states: Mapping[str, Run]) -> None:
        """Steps and scores moved on."""
        if self.live:
            self._draw(states)

    def _draw(self, states: Mapping[str, Run]) -> None:
        assert self.live
        self._drawn = time.monotonic()
        rows = max(3, self.console.height - FRAME)
        self.live.update(table(states, self.title, rows, self._clock(states)), refresh=True)

    def _clock(self, states: Mapping[str, Run]) -> str:
        """Time gone by, and what is left at this pace."""
        done = sum(1.0 if state.status in ("failed", "killed") else state.progress for state in states.values())
        self._before = done if self._before is None else self._before
        seconds = time.monotonic() - self._start
        clock = f"; {timedelta(seconds=int(seconds))} elapsed"
        if done - self._before < 0.05 or done >= self.total:
            return clock
        left = seconds * (self.total - done) / (done - self._before)
        return f"{clock}, about {timedelta(seconds=int(left))} left"
