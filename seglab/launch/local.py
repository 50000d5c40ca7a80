"""Runs of a sweep on this machine, several at a time."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from seglab.launch.directory import State, state_of, write_manifest
from seglab.launch.sweep import SweepRun, launcher_command
from seglab.runs.directory import LOG
from seglab.types import SeglabError

PATIENCE = 60.0  # seconds that a run gets to end by itself after an interruption


def run_local(folder: Path, runs: Sequence[SweepRun], jobs: int, gpus: Sequence[str] = ()) -> dict[str, State]:
    """Run what is not finished, ``jobs`` at a time; each ends with the state that its folder tells.

    Args:
        folder: of the sweep.
        runs: all runs; finished ones are skipped, the others go on from their last checkpoint.
        jobs: processes at a time. Each gets its share of the CPU cores.
        gpus: device numbers; every process sees one of them.

    Raises:
        SeglabError: another process works on this sweep, or the folder cannot be written.
    """
    write_manifest(folder, list(runs))
    with _locked(folder):
        states = {run.name: state_of(folder / run.name) for run in runs}
        queue = deque(run for run in runs if states[run.name].status != "finished")
        free = deque(gpus[slot % len(gpus)] if gpus else "" for slot in range(jobs))
        threads = max(1, (os.cpu_count() or 1) // jobs)
        running: dict[str, tuple[subprocess.Popen, str]] = {}
        console = Console()
        with _screen(console) as screen:
            try:
                while queue or running:
                    while queue and free:
                        run, gpu = queue.popleft(), free.popleft()
                        running[run.name] = _start(run, folder / run.name, gpu, threads), gpu
                        screen.show(states | _now(folder, running), run.name)
                    time.sleep(0.2)
                    for name, (process, gpu) in list(running.items()):
                        if process.poll() is not None:
                            del running[name]
                            free.append(gpu)
                            states[name] = _ended(folder / name, process.returncode)
                            screen.show(states | _now(folder, running), name)
                    screen.refresh(states | _now(folder, running))
            except KeyboardInterrupt:
                _stop([process for process, _ in running.values()])
                states |= {name: state_of(folder / name) for name in running}
    return states


def table(states: dict[str, State]) -> Table:
    """A row per run."""
    counts: dict[str, int] = {}
    for state in states.values():
        counts[state.status] = counts.get(state.status, 0) + 1
    title = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    shown = Table("run", "state", "step", "val/mIoU", "", title=title)
    colours = {"finished": "green", "failed": "red", "killed": "red", "running": "yellow"}
    for name, state in states.items():
        step = f"{state.step}/{state.steps}" if state.steps else ""
        score = "" if state.score is None else f"{100 * state.score:.2f}"
        shown.add_row(name, state.status, step, score, state.error[:80], style=colours.get(state.status, "dim"))
    return shown


def _start(run: SweepRun, folder: Path, gpu: str, threads: int) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    if gpu:
        env["CUDA_VISIBLE_DEVICES"] = gpu
    with (folder / LOG).open("ab") as log:
        # a session of its own: Ctrl-C reaches the sweep alone, which then ends its runs one by one
        return subprocess.Popen(
            launcher_command(run, folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
            start_new_session=True,
        )  # fmt: skip


def _now(folder: Path, running: dict[str, tuple[subprocess.Popen, str]]) -> dict[str, State]:
    states = {name: state_of(folder / name) for name in running}
    return {name: State("running", state.step, state.steps, state.score) for name, state in states.items()}


def _ended(folder: Path, code: int) -> State:
    state = state_of(folder)
    if code == 0:
        return state
    log = (folder / LOG).read_text(errors="replace").strip().splitlines()
    status = "killed" if code < 0 else "failed"
    reason = signal.Signals(-code).name if code < 0 else (log[-1] if log else f"exit code {code}")
    return State(status, state.step, state.steps, state.score, reason.removeprefix("seglab: error: "))


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.send_signal(signal.SIGINT)
    limit = time.monotonic() + PATIENCE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, limit - time.monotonic()))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SeglabError(f"another process works on the sweep {folder}: wait for it or stop it") from error
        yield


class _Screen:
    """A live table on a terminal, a line per change elsewhere."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self.console, self.live = console, live
        self._drawn = 0.0

    def show(self, states: dict[str, State], name: str) -> None:
        if self.live:
            self.live.update(table(states))
            return
        state = states[name]
        score = "" if state.score is None else f", val/mIoU {100 * state.score:.2f}"
        done = sum(other.status == "finished" for other in states.values())
        print(f"seglab: {name}: {state.status}{score} {state.error}({done} of {len(states)} finished)", flush=True)

    def refresh(self, states: dict[str, State]) -> None:
        if self.live and time.monotonic() - self._drawn > 1.0:
            self._drawn = time.monotonic()
            self.live.update(table(states))


@contextlib.contextmanager
def _screen(console: Console) -> Iterator[_Screen]:
    if not console.is_terminal:
        yield _Screen(console, None)
        return
    with Live(console=console, refresh_per_second=2) as live:
        yield _Screen(console, live)
