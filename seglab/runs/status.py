"""What became of a run, told by its folder alone, whoever started it."""

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from seglab.files import holder
from seglab.runs.directory import LAST, LOG, METRICS, SUMMARY

STATUSES = {  # in the order of tables
    "finished": "all steps are done",
    "running": "its process works",
    "running or killed": "its process is on another machine, or the file system has no locks",
    "waiting": "not started",
    "requeued": "waits in SLURM's queue to continue",
    "stopped": "ended early without an error, as by --trainer.max_time",
    "preempted": "SLURM took its machine; it will continue",
    "interrupted": "ended by a signal, such as Ctrl-C",
    "cancelled": "its SLURM job was cancelled",
    "killed": "its process is gone and left no message",
    "failed": "ended by an error",
    "broken": "its files cannot be read",
}
ERROR = "seglab: error: "  # how the last line of a failed run's log begins
STARTED = "seglab: sweep: started at "  # the line that a launcher writes into a log before each start
STARTING = 120.0  # seconds from that line until a process has at least claimed its run directory


def status_of(folder: Path, summary: dict[str, Any]) -> tuple[str, str]:
    """Status, one of ``STATUSES``, and why the run is not finished; an empty reason where there is nothing to tell.

    Args:
        folder: of the run; need not exist.
        summary: content of its ``summary.json``; empty without one.
    """
    written, error = str(summary.get("status", "waiting")), " ".join(str(summary.get("error") or "").split())
    if written == "finished":
        return written, ""
    process = holder(folder) if folder.is_dir() else None
    if process and process.alive:
        return "running", ""
    last = last_line(folder / LOG)
    if message := _error_after_summary(folder, last):
        told = written in ("preempted", "interrupted") and message in error
        return written if told else "failed", message
    if last.startswith(STARTED) and time.time() - _changed(folder, LOG) < STARTING:
        return "running", ""
    if written not in ("running", "waiting"):
        return written, error or ("" if written == "stopped" else last or "no reason given")
    if process is None and not last and written == "waiting":
        return "waiting", "not started"
    seen = datetime.fromtimestamp(max(_changed(folder, name) for name in (LOG, METRICS, SUMMARY, LAST)))
    sign = f"last sign of life {seen:%Y-%m-%d %H:%M}"
    if process is None or (process.alive is False and process.here):
        return "killed", sign
    return "running or killed", f"process {process.process} on {process.host}; {sign}"


def last_line(path: Path, tail: int = 8192) -> str:
    """The last line of a log that is not empty, from its last ``tail`` bytes; empty where there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - tail))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    written = [line.rpartition("\r")[2].strip() for line in lines if line.strip()]
    return written[-1] if written else ""


def _error_after_summary(folder: Path, last: str) -> str:
    """The error in the last line of the log, if it was written after the summary: by the latest process."""
    is_error = last.startswith(ERROR) or re.match(r"[\w.]+(Error|Exception)\b", last)  # or the end of a traceback
    return last.removeprefix(ERROR) if is_error and _changed(folder, LOG) >= _changed(folder, SUMMARY) else ""


def _changed(folder: Path, name: str) -> float:
    """When a file of a run was written, in seconds since the epoch; 0 if there is none."""
    path = folder / name
    return path.stat().st_mtime if path.is_file() else 0.0
