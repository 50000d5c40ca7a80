"""Runs of a sweep on this machine, several at a time."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from seglab.files import held
from seglab.launch.directory import write_manifest
from seglab.launch.screen import Screen
from seglab.launch.sweep import SweepRun, launcher_command
from seglab.runs.directory import LOG
from seglab.runs.reading import Run, read_run
from seglab.runs.status import STARTED

PATIENCE = 60.0  # seconds that a run gets to end by itself after an interruption
LONGER = 15.0  # more for a chain, which waits in this way for its stage


@dataclass(frozen=True)
class Need:
    """What a run takes.

    Attributes:
        processes: that it starts, one per device.
        gpus: that it uses; 0 on CPUs.
    """

    processes: int = 1
    gpus: int = 0


@dataclass
class Pool:
    """Processes at a time, and the devices that they share.

    Args:
        jobs: processes at a time. Each gets its share of the CPU cores.
        gpus: device numbers; a run sees as many as it needs. With more jobs than GPUs, several runs share one.
        need: what a run takes.
    """

    jobs: int
    gpus: Sequence[str]
    need: Callable[[SweepRun], Need]

    def __post_init__(self) -> None:
        self.free = list(self.gpus) * max(1, -(-self.jobs // max(1, len(self.gpus))))

    def take(self, gpus: int) -> list[str] | None:
        """Different GPUs, those with most room first; None while there are too few."""
        room = Counter(self.free)
        taken = [gpu for gpu, _ in room.most_common(gpus)]
        if len(taken) < gpus:
            return None
        for gpu in taken:
            self.free.remove(gpu)
        return taken


@dataclass
class _Job:
    run: SweepRun
    process: subprocess.Popen
    gpus: list[str]


def run_local(
    folder: Path,
    runs: Iterator[SweepRun],
    known: Sequence[SweepRun],
    total: int,
    pool: Pool,
    ended: Callable[[SweepRun, Run], None] = lambda run, state: None,
) -> dict[str, Run]:
    """Run what is not finished, as many at a time as the pool has room for; each ends with what its folder tells.

    Args:
        folder: of the sweep.
        runs: what to run; the next is asked for when there is room for it. Finished ones are skipped, the others go on
            from their last checkpoint.
        known: runs that are certain beforehand; they wait in the table.
        total: number of runs.
        pool: where they run.
        ended: told of each run that ended or was found finished.

    Returns:
        Run name -> state, also after an interruption.

    Raises:
        SeglabError: another process works on this sweep, or the folder cannot be written.
    """
    write_manifest(folder, known)
    states = {run.name: read_run(folder / run.name) for run in known}
    jobs: dict[str, _Job] = {}
    with held(folder), _signals(), Screen(str(folder), total) as screen:
        try:
            _work(folder, runs, pool, ended, states, jobs, screen)
        except KeyboardInterrupt:
            _stop(list(jobs.values()))
            states |= {name: read_run(folder / name) for name in jobs}
        except BaseException:
            _stop(list(jobs.values()))
            raise
    return states


def _work(
    folder: Path,
    runs: Iterator[SweepRun],
    pool: Pool,
    ended: Callable[[SweepRun, Run], None],
    states: dict[str, Run],
    jobs: dict[str, _Job],
    screen: Screen,
) -> None:
    """Start, watch and reap until nothing is left; ``states`` and ``jobs`` are kept up to date."""
    run, more = None, True
    while run or more or jobs:
        while (run or more) and len(jobs) < pool.jobs:
            run = run or next(runs, None)  # not earlier: what comes next may depend on how the last one ended
            if run is None:
                more = False
                break
            if run.name not in states:
                write_manifest(folder, [run])
                states[run.name] = read_run(folder / run.name)
            if states[run.name].status == "finished":
                ended(run, states[run.name])
            else:
                need = pool.need(run)
                gpus = pool.take(need.gpus)
                if gpus is None:
                    break
                threads = _cores() // pool.jobs // need.processes
                jobs[run.name] = _Job(run, _start(run, folder / run.name, gpus, max(1, threads)), gpus)
                states[run.name] = replace(states[run.name], status="running", reason="")
                screen.changed(states, run.name)
            run = None
        time.sleep(0.2 if jobs else 0.0)
        for name, job in list(jobs.items()):
            if job.process.poll() is not None:
                del jobs[name]
                pool.free += job.gpus
                states[name] = _ended(folder / name, job.process)
                screen.changed(states, name)
                ended(job.run, states[name])
        if screen.due():
            for name in jobs:
                states[name] = replace(read_run(folder / name), status="running", reason="")
            screen.refresh(states)


def _start(run: SweepRun, folder: Path, gpus: Sequence[str], threads: int) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    if gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    with (folder / LOG).open("ab") as log:
        log.write(f"{STARTED}{datetime.now():%Y-%m-%d %H:%M:%S}\n".encode())
        log.flush()
        # a session of its own: Ctrl-C reaches the sweep alone, which then ends its runs one by one
        return subprocess.Popen(
            launcher_command(run, folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
            start_new_session=True,
        )  # fmt: skip


def _ended(folder: Path, process: subprocess.Popen) -> Run:
    """The state of a run whose process is gone; what it told itself counts, then how it ended."""
    code = process.returncode
    if code < 0:  # ranks and loaders that a killed process left behind would hold its GPUs
        _kill_group(process)
    state = read_run(folder)
    if code < 0:
        return replace(state, status="killed", reason=f"by {signal.Signals(-code).name}")
    if code and state.status not in ("interrupted", "failed"):
        return replace(state, status="failed", reason=f"exit code {code}; see {folder / LOG}")
    return state


def _stop(jobs: Sequence[_Job]) -> None:
    """Interrupt, wait, then kill; another interruption ends the waiting."""
    processes = [job.process for job in jobs]
    for process in processes:
        process.terminate()  # a run checkpoints and stops; KeyboardInterrupt could be lost in a callback of C code
    limit = time.monotonic() + PATIENCE + LONGER * any(job.run.is_chain for job in jobs)
    with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        for process in processes:
            process.wait(max(0.0, limit - time.monotonic()))
    for process in processes:
        if process.poll() is None:
            _kill_group(process)
            process.wait()


def _kill_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and a closed terminal interrupt as Ctrl-C does, so that no run is left behind."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cores() -> int:
    """That this process may use; fewer than the machine has in a container or a job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
