"""What was run: exact configs, what differs between methods, and the commands that repeat a run."""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

from seglab.report.comparison import Row, seeds_of
from seglab.report.fairness import SEED, is_method
from seglab.runs.directory import CONFIG, differences, flatten, read_manifest
from seglab.runs.reading import Run
from seglab.types import SeglabError


def differing_keys(rows: Sequence[Row]) -> list[list[str | None]]:
    """Key and the value of each row's first run, where rows differ; keys outside the method come first."""
    configs = [row.runs[0].config for row in rows]
    keys = {key for config in configs for key in differences(configs[0], config) if key != SEED}
    flat = [flatten(config) for config in configs]
    return [
        [key, *(_text(config[key]) if key in config else None for config in flat)]
        for key in sorted(keys, key=lambda key: (is_method(key), key != "model.class_path", key))
    ]


def config_files(rows: Sequence[Row]) -> list[dict[str, str]]:
    """``title``, ``note`` and ``text`` of every distinct config of the rows; runs that differ in the seed share one."""
    files = []
    for row in rows:
        alike: dict[str, list[Run]] = {}
        texts: dict[str, str] = {}
        for run in row.runs:
            text = _read(run)
            kind = re.sub(rf"(?m)^{SEED}:.*$", "", text)
            alike.setdefault(kind, []).append(run)
            texts.setdefault(kind, text)
        for kind, runs in alike.items():
            note = f"{seeds_of(runs)} · {runs[0].folder / CONFIG}"
            files.append({"title": row.label, "note": note, "text": texts[kind] or f"# {runs[0].config_problem}"})
    return files


def commands(row: Row) -> dict[str, str]:
    """``title``, ``note`` and ``text``: shell commands that repeat every run of a row."""
    lines = []
    for revision, packages in dict.fromkeys((run.git_revision, tuple(run.packages.items())) for run in row.runs):
        runs = [run for run in row.runs if (run.git_revision, tuple(run.packages.items())) == (revision, packages)]
        lines.append(f"# {seeds_of(runs)}")
        if revision:
            dirty = "    # and local changes that no commit holds" if revision.endswith("+") else ""
            lines.append(f"git checkout {revision.rstrip('+')}{dirty}")
        if packages:
            lines.append(f"pip install {' '.join(f'{name}=={version}' for name, version in packages)}")
        lines += [f"seglab fit -c {shlex.quote(str(run.folder / CONFIG))}" for run in runs]
        lines.append("")
    if swept := [line for run in row.runs if (line := _sweep_command(run))]:
        lines += ["# the same from the files of benchmark and method", *swept, ""]
    lines.append("# score what a run left")
    lines += [f"seglab validate {shlex.quote(str(run.folder))}" for run in row.runs]
    return {"title": row.label, "note": seeds_of(row.runs), "text": "\n".join(lines)}


def _sweep_command(run: Run) -> str:
    """The command of a run that a sweep started; empty for others."""
    try:
        parameters = read_manifest(run.folder.parent)[run.folder.name]
        return shlex.join(["seglab", "fit", *(f"--{name}={value}" for name, value in parameters.items())])
    except (SeglabError, KeyError, AttributeError):
        return ""


def _read(run: Run) -> str:
    try:
        return (run.folder / CONFIG).read_text(errors="replace")
    except OSError:
        return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, default=str)
