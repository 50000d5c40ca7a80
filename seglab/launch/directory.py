"""A sweep on disk: one folder, a manifest, and a run directory for each run."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from seglab.files import write_whole
from seglab.launch.sweep import SweepRun
from seglab.runs.directory import CONFIG, MANIFEST, read_manifest, writable
from seglab.runs.reading import Run
from seglab.types import SeglabError


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


def as_json(runs: Mapping[str, Run], folder: Path) -> str:
    """A list of runs with their parameters and run directories."""
    parameters = read_manifest(folder)
    rows = []
    for name, run in runs.items():
        score = run.score("val/mIoU")
        rows.append(
            {
                **{"run": name, "run_dir": str(folder / name), "status": run.status, "reason": run.reason},
                **{"step": run.step, "steps": run.steps, "score": score if math.isfinite(score) else None},
                "parameters": parameters[name],
            }
        )
    return json.dumps(rows, indent=2)
