"""Which metrics the runs of a benchmark log, read from the headers of their ``metrics.csv``."""

import csv
from collections.abc import Sequence
from pathlib import Path

import yaml

from seglab.runs.directory import CONFIG, METRICS, read_config
from seglab.types import SeglabError


def logged_metrics(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Benchmark -> names of the metrics that any of its runs logs, both sorted.

    Args:
        folders: run directories, or folders with run directories at any depth.

    Raises:
        SeglabError: a folder has no run that has logged something, or holds a file that is not a run's.
    """
    found: dict[str, set[str]] = {}
    for folder in folders:
        runs = [path.parent for path in folder.rglob(METRICS) if (path.parent / CONFIG).is_file()]
        if not runs:
            raise SeglabError(f"--runs {folder}: no run directory there or below (one with {CONFIG} and {METRICS})")
        for run in runs:
            with (run / METRICS).open(newline="") as file:
                names = next(csv.reader(file), [])
            found.setdefault(_benchmark(run), set()).update(names)
    return {benchmark: sorted(found[benchmark]) for benchmark in sorted(found)}


def _benchmark(run: Path) -> str:
    try:
        return str(read_config(run)["benchmark"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise SeglabError(f"{run / CONFIG} is not the config of a run: no key benchmark ({error})") from error
