"""A sweep on disk: one folder, a manifest, and a run directory for each run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seglab.launch.sweep import SweepRun
from seglab.runs.directory import CONFIG, MANIFEST, SUMMARY
from seglab.types import SeglabError


@dataclass(frozen=True)
class State:
    """What a run's folder says.

    Attributes:
        status: ``waiting``, ``running``, ``finished``, or why it ended early.
        step, steps: how far it came.
        score: val/mIoU of its last validation, in [0, 1].
        error: what stopped it.
    """

    status: str
    step: int = 0
    steps: int = 0
    score: float | None = None
    error: str = ""


def write_manifest(folder: Path, runs: list[SweepRun]) -> None:
    """Note the runs of a sweep; those of an earlier call stay, so that a sweep file may grow.

    Raises:
        SeglabError: the folder cannot be written, or holds a single run.
    """
    if (folder / CONFIG).exists():
        raise SeglabError(f"{folder} is the directory of a run, not of a sweep: choose another --dir")
    known = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    known |= {run.name: run.parameters for run in runs}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{MANIFEST}.partial"
        partial.write_text(json.dumps(known, indent=2) + "\n")
        partial.replace(folder / MANIFEST)
    except OSError as error:
        raise SeglabError(f"cannot write {folder / MANIFEST} ({error.strerror}): choose another --dir") from error


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Run name -> parameters.

    Raises:
        SeglabError: the folder is not that of a sweep.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SeglabError(f"{folder} is not the folder of a sweep: it has no {MANIFEST}")
    return json.loads(path.read_text())


def state_of(run: Path) -> State:
    """The state of a run by its folder alone; a killed run still says that it is running."""
    path = run / SUMMARY
    if not path.is_file():
        return State("waiting")
    summary = json.loads(path.read_text())
    score = summary.get("last", {}).get("val/mIoU")
    return State(summary["status"], summary["step"], summary["steps"], score, summary.get("error", ""))
