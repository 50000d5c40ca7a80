"""A sweep on disk: one folder, a manifest, and a run directory for each run."""

import json
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from seglab.files import Holder, holder, read_json, write_whole
from seglab.launch.sweep import SweepRun
from seglab.runs.directory import CONFIG, LAST, LOG, MANIFEST, METRICS, SUMMARY, writable
from seglab.types import SeglabError

ERROR = "seglab: error: "  # how the last line of a failed run's log begins
STARTED = "seglab: sweep: started at "  # the line that a launcher writes into a log before each start
STARTING = 120.0  # seconds from that line until a process has at least claimed its run directory
ORDER = (  # of states
    *("finished", "running", "running or killed", "waiting", "requeued", "stopped"),
    *("preempted", "interrupted", "cancelled", "killed", "failed"),
)


@dataclass(frozen=True)
class State:
    """What a run's folder says.

    Attributes:
        status: ``waiting``, ``running``, ``finished``, or why it ended early: ``killed`` (its process is gone without
            a word), ``failed``, ``interrupted``, ``stopped``; ``running or killed`` where that cannot be told.
        step, steps: how far it came.
        score: val/mIoU of its last validation, in [0, 1].
        error: what stopped it.
    """

    status: str
    step: int = 0
    steps: int = 0
    score: float | None = None
    error: str = ""

    @property
    def progress(self) -> float:
        """In [0, 1]."""
        return 1.0 if self.status == "finished" else self.step / self.steps if self.steps else 0.0


def write_manifest(folder: Path, runs: Iterable[SweepRun]) -> None:
    """Note the runs of a sweep; those of an earlier call stay, so that a sweep file may grow.

    Raises:
        SeglabError: the folder cannot be written, or holds a single run.
    """
    if (folder / CONFIG).exists():
        raise SeglabError(f"{folder} is the directory of a run, not of a sweep: choose another --dir")
    known = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    known |= {run.name: run.parameters for run in runs}
    writable(folder, "choose another --dir")
    write_whole(folder / MANIFEST, json.dumps(known, indent=2) + "\n")


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Run name -> parameters.

    Raises:
        SeglabError: the folder is not that of a sweep.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SeglabError(f"{folder} is not the folder of a sweep: it has no {MANIFEST}")
    try:
        manifest = read_json(path)
    except SeglabError as error:
        raise SeglabError(f"{path} is damaged: remove it, and `seglab sweep` writes it again") from error
    if outside := [name for name in manifest if Path(name).name != name]:
        raise SeglabError(f"{path} names runs that do not lie beside it: {', '.join(outside)}")
    return manifest


def in_order(states: dict[str, State]) -> dict[str, State]:
    """By state, then as they were."""
    return dict(sorted(states.items(), key=lambda item: ORDER.index(item[1].status)))


def state_of(run: Path) -> State:
    """The state of a run by its folder alone, whoever started it."""
    summary = read_json(run / SUMMARY) if (run / SUMMARY).is_file() else {}
    process = holder(run)
    status, error = _status(run, summary, process)
    score = summary.get("last", {}).get("val/mIoU")
    return State(status, summary.get("step", 0), summary.get("steps", 0), score, error)


def as_json(states: dict[str, State], folder: Path) -> str:
    """A list of states with their parameters and run directories."""
    parameters = read_manifest(folder)
    rows = [
        {"run": name, "run_dir": str(folder / name), **asdict(state), "parameters": parameters[name]}
        for name, state in states.items()
    ]
    return json.dumps(rows, indent=2)


def _status(run: Path, summary: dict[str, Any], process: Holder | None) -> tuple[str, str]:
    """Status and error of a run."""
    status = summary.get("status", "waiting")
    if status == "finished":
        return "finished", ""
    if process and process.alive:
        return "running", ""
    if error := _last_words(run):
        signalled = status in ("preempted", "interrupted") and error in summary.get("error", "")
        return status if signalled else "failed", error
    last = _last_line(run)
    if last.startswith(STARTED) and _age(run, LOG) < STARTING:
        return "running", ""
    if status not in ("running", "waiting"):
        return status, summary.get("error", "")
    if process is None and not last:
        return "waiting", ""
    age = timedelta(seconds=int(min(_age(run, name) for name in (LOG, METRICS, SUMMARY, LAST))))
    if process is None or (process.alive is False and process.here):
        return "killed", f"last sign of life {age} ago"
    return "running or killed", f"process {process.process} on {process.host}; last sign of life {age} ago"


def _last_words(run: Path) -> str:
    """The error that ended the latest process, if it said one after the summary was written."""
    line = _last_line(run)
    said = line.startswith(ERROR) or re.match(r"[\w.]+(Error|Exception)\b", line)  # the last line of a traceback
    return line.removeprefix(ERROR) if said and _age(run, LOG) <= _age(run, SUMMARY) else ""


def _last_line(run: Path) -> str:
    path = run / LOG
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _age(run: Path, name: str) -> float:
    """Seconds since a file of a run was written; infinity if there is none."""
    path = run / name
    return time.time() - path.stat().st_mtime if path.is_file() else float("inf")
