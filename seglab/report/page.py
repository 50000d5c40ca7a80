"""One HTML file that holds the whole comparison and needs nothing else: no network, no other file."""

import html
import json
import math
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from seglab.report.bands import POINTS, seed_bands
from seglab.report.colours import method_colours, method_dashes
from seglab.report.comparison import Comparison, Row, Score, seed_of
from seglab.report.panels import BUDGET, pack_panels, picture_keys
from seglab.report.recipes import commands, config_files, differing_keys
from seglab.report.runs import Run, confusion
from seglab.report.statistics import Estimate, estimate, paired_difference
from seglab.report.table import footnotes, remarks
from seglab.types import SeglabError

WEB = Path(__file__).parent / "web"
SCRIPTS = ("page.js", "figures.js", "pictures.js")


def write_page(
    runs: Sequence[Run], comparison: Comparison, path: Path, title: str = "Comparison", images: Sequence[str] = ()
) -> None:
    """Write the page; a reader sees the old file or the whole new one.

    Args:
        runs: all that were found, those that do not count included.
        comparison: of these runs.
        path: the HTML file.
        title: heading.
        images: keys of the images whose predictions are shown; none: the first few.

    Raises:
        SeglabError: the file cannot be written, or no run has pictures of an image.
    """
    content = json.dumps(page_data(runs, comparison, images), separators=(",", ":"), allow_nan=False)
    parts = {
        "title": html.escape(title),
        "style": (WEB / "page.css").read_text(encoding="utf-8"),
        "data": content.replace("<", "\\u003c"),  # no text in it can end the script element
        "plotly": (WEB / "plotly-cartesian.min.js").read_text(encoding="utf-8"),
        "script": "\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    first, *rest = (WEB / "page.html").read_text(encoding="utf-8").split("@@")
    page = first + "".join(parts[part] if index % 2 == 0 else part for index, part in enumerate(rest))
    partial = path.with_name(f".{os.getpid()}_{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise SeglabError(f"cannot write --html {path} ({error.strerror}): choose another file") from error
    finally:
        partial.unlink(missing_ok=True)


def page_data(runs: Sequence[Run], comparison: Comparison, images: Sequence[str] = ()) -> dict[str, Any]:
    """What the page's scripts read, as JSON's types."""
    if images and (absent := set(images) - set(known := picture_keys(runs))):
        have = f"they have {', '.join(known)}" if known else "none has any"
        raise SeglabError(f"--images {sorted(absent)[0]}: no run has pictures of it; {have}")
    unfinished = _unfinished(runs, comparison)
    names = list(dict.fromkeys([*comparison.benchmarks, *(row.benchmark for row in unfinished)]))
    labels = list(dict.fromkeys(row.label for row in (*comparison.rows, *unfinished)))
    colours, dashes = method_colours(labels, comparison.baseline), method_dashes(labels, comparison.baseline)
    symbols = sorted(labels, key=lambda label: label != comparison.baseline)
    styles = {
        label: {"name": label, "colour": colours[label], "dash": dashes[label], "symbol": symbols.index(label)}
        for label in labels
    }
    benchmarks = []
    for name in names:
        waiting = [row for row in unfinished if row.benchmark == name]
        drawn = [*comparison.of(name), *waiting]
        part = _benchmark(comparison, comparison.of(name), waiting)
        pictures = pack_panels({row.label: row.runs for row in drawn}, images, BUDGET // len(names))
        methods = [styles[row.label] for row in drawn]
        benchmarks.append({"name": name or "unknown benchmark", "methods": methods, **part, "pictures": pictures})
    counted = sum(len(row.runs) for row in comparison.rows)
    where = names[0] if len(names) == 1 else f"{len(names)} benchmarks"
    made = (
        where,
        f"{len(labels)} methods",
        f"{counted} of {len(runs)} runs counted",
        f"{datetime.now():%Y-%m-%d %H:%M}",
    )
    return {
        "made": " · ".join(made),
        "attention": [{"title": heading, "items": lines} for heading, lines in remarks(comparison)],
        "notes": footnotes(comparison),
        "benchmarks": benchmarks,
    }


def _unfinished(runs: Sequence[Run], comparison: Comparison) -> list[Row]:
    """Rows of runs that wrote metrics, for methods of which none is finished: they have curves and no score."""
    counted = {(row.benchmark, row.method) for row in comparison.rows}
    rows: dict[tuple[str, str], Row] = {}
    for run in runs:
        place = (run.benchmark, run.method)
        if place not in counted and run.metrics:
            rows.setdefault(place, Row(*place, {}, run.method, [])).runs.append(run)
    return list(rows.values())


def _benchmark(comparison: Comparison, rows: Sequence[Row], unfinished: Sequence[Row]) -> dict[str, Any]:
    classes = next((row.runs[0].classes for row in (*rows, *unfinished) if row.runs[0].classes), [])
    baseline = next((row for row in rows if row.baseline), None)
    drawn = [*rows, *unfinished]
    steps, curves = _curves(drawn)
    iou = {row.label: _class_scores(comparison, row, classes) for row in rows}
    differences = {
        row.label: [
            _number(paired_difference(own, other).mean) for own, other in zip(parts, iou[baseline.label], strict=True)
        ]
        for row, parts in zip(rows, iou.values(), strict=True)
        if baseline and row is not baseline
    }
    estimates = {label: [estimate(values) for values in parts] for label, parts in iou.items()}
    return {
        "metric": comparison.metric,
        "baseline": baseline.label if baseline else None,
        "classes": classes,
        "columns": _columns(comparison, rows, baseline),
        "rows": [_row(comparison, row) for row in rows],
        "caption": _caption(comparison, baseline),
        "cost": {
            "axes": _cost_axes(rows),
            "points": {row.label: {"score": _score(comparison, row), **_cost(row)} for row in rows},
        },
        "steps": steps,
        "curves": curves,
        "curves_caption": _curves_caption(unfinished),
        "iou": {
            label: {"mean": [_number(e.mean) for e in parts], "std": [_number(e.std) for e in parts]}
            for label, parts in estimates.items()
            if any(e.n for e in parts)
        },
        "difference": differences,
        "confusion": [found for row in drawn for found in _confusions(row)],
        "configs": {
            "methods": [row.label for row in rows],
            "differing": differing_keys(rows),
            "files": config_files(rows),
        },
        "commands": [commands(row) for row in drawn],
    }


# ---- table -----------------------------------------------------------------------------------------------------------


def _columns(comparison: Comparison, rows: Sequence[Row], baseline: Row | None) -> list[dict[str, Any]]:
    """Columns that some row fills: the first network's scores, the difference, other networks, cost."""
    short = comparison.metric.partition("/")[2]
    found: list[dict[str, Any]] = []
    for index, checkpoint in enumerate(comparison.checkpoints):
        title = f"{short}, {checkpoint}"
        hint = f"{comparison.metric} of the {checkpoint} checkpoint, in %"
        found.append({"key": checkpoint, "kind": "score", "title": title, "hint": hint, "main": not index})
        if baseline and not index:
            hint = f"minus {baseline.label}, paired by seed, with its 95 % interval"
            found.append({"key": "difference", "kind": "difference", "title": f"minus {baseline.label}", "hint": hint})
    for network in dict.fromkeys(name for row in rows for name in row.networks[1:]):
        for checkpoint in comparison.checkpoints:
            title, hint = f"{network}, {checkpoint}", f"{short} of the {network}, {checkpoint} checkpoint, in %"
            found.append({"key": f"{network} {checkpoint}", "kind": "score", "title": title, "hint": hint})
    for axis in _cost_axes(rows):
        hint = "mean over runs" if axis["key"] != "peak_memory_bytes" else "maximum over runs"
        found.append({**axis, "kind": "cost", "low": axis["key"] != "images_per_second", "hint": hint})
    return found


def _row(comparison: Comparison, row: Row) -> dict[str, Any]:
    first = row.networks[0]
    cells = {
        checkpoint if network == first else f"{network} {checkpoint}": _cell(score)
        for (network, checkpoint), score in row.scores.items()
    }
    cells |= {
        key: {"mean": value, "text": f"{value:.0f}" if value >= 100 else f"{value:#.3g}"}
        for key, value in _cost(row).items()
        if value is not None
    }
    difference = row.scores[first, comparison.checkpoints[0]].difference
    badges = [{"text": "baseline"}] if row.baseline else []
    if first != "student":
        badges.append({"text": first})
    if comparison.deviates(row):
        badges.append({"text": "unfair", "warn": True, "hint": "configured unlike the others: see below the table"})
    return {
        "method": row.label,
        "badges": badges,
        "cells": cells,
        "difference": _estimate(difference) | _interval(difference) if difference else None,
    }


def _cell(score: Score) -> dict[str, Any]:
    hint = ", ".join(f"seed {seed}: {100 * value:.2f}" for seed, value in score.values.items())
    return _estimate(score.estimate) | {"hint": hint}


def _caption(comparison: Comparison, baseline: Row | None) -> str:
    text = f"{comparison.metric} in %: mean ± standard deviation over seeds (number of seeds)."
    if baseline:
        text += f" The difference to {baseline.label} is paired by seed; colour: its 95 % interval excludes 0."
    return f"{text} A heading sorts."


def _cost_axes(rows: Sequence[Row]) -> list[dict[str, str]]:
    unit = "/".join(sorted({run.cost.unit for row in rows for run in row.runs})) or "GPU"
    axes = [
        {"key": "device_hours", "title": f"{unit}-hours", "unit": f"{unit}-hours"},
        {"key": "peak_memory_bytes", "title": "Memory, GiB", "unit": "GiB"},
        {"key": "images_per_second", "title": "Images/s", "unit": "images/s"},
    ]
    return [axis for axis in axes if any(_cost(row)[axis["key"]] is not None for row in rows)]


def _cost(row: Row) -> dict[str, float | None]:
    hours, memory, speed = (row.cost(key) for key in ("device_hours", "peak_memory_bytes", "images_per_second"))
    return {
        "device_hours": _number(hours),
        "peak_memory_bytes": _number(memory / 2**30),
        "images_per_second": _number(speed),
    }


def _score(comparison: Comparison, row: Row) -> dict[str, Any]:
    return _estimate(row.scores[row.networks[0], comparison.checkpoints[0]].estimate)


# ---- figures ---------------------------------------------------------------------------------------------------------


def _curves(rows: Sequence[Row]) -> tuple[list[list[int]], dict[str, dict[str, Any]]]:
    """Distinct step axes, and metric -> label -> [axis, mean, std]; the scores come first."""
    axes: dict[tuple[int, ...], int] = {}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name, band in seed_bands(row.runs).items():
            axis = axes.setdefault(tuple(band.steps.tolist()), len(axes))
            found.setdefault(name, {})[row.label] = [axis, _numbers(band.mean), _numbers(band.std)]
    order = {"val/mIoU": 0, "val_teacher/mIoU": 1, "train/loss": 2}
    names = sorted(found, key=lambda name: (order.get(name, 3), "mIoU" not in name, not name.startswith("val"), name))
    return [list(axis) for axis in axes], {name: found[name] for name in names}


def _curves_caption(unfinished: Sequence[Row]) -> str:
    text = (
        f"Mean over seeds; band: one standard deviation. Curves of more than {POINTS} points are averaged to that many."
    )
    names = ", ".join(row.label for row in unfinished)
    return f"{text} Not finished: {names}." if names else text


def _class_scores(comparison: Comparison, row: Row, classes: Sequence[str]) -> list[dict[Any, float]]:
    """For each class seed -> IoU, of the network and checkpoint of the first column."""
    stage, checkpoint = comparison.metric.partition("/")[0], comparison.checkpoints[0]
    return [
        {seed_of(run): run.score(f"{stage}/IoU/{name}", checkpoint, row.networks[0]) for run in row.runs}
        for name in classes
    ]


def _confusions(row: Row) -> list[dict[str, Any]]:
    """One matrix per network, summed over the row's runs, as thousandths of each row; empty rows are None."""
    parts: dict[str, list[np.ndarray]] = {}
    classes: list[str] = []
    for run in row.runs:
        content = confusion(run) or {}
        names = content.get("classes")
        if not isinstance(names, list) or (classes and names != classes):
            continue
        for key in (key for key in content if key.startswith("val")):
            counts = np.asarray(content[key], dtype=np.float64)
            if counts.shape == (len(names), len(names)):
                parts.setdefault(key, []).append(counts)
                classes = names
    found = []
    for key, matrices in parts.items():
        total = np.sum(matrices, axis=0)
        seen = total.sum(1, keepdims=True)
        share = np.divide(1000 * total, seen, out=np.full_like(total, np.nan), where=seen > 0).round()
        network = key.partition("_")[2] or "student"
        found.append(
            {
                "title": f"{row.label}, {network}",
                "caption": "Of the pixels of each true class, the share in % seen as each class. Last validation; "
                f"runs summed: {len(matrices)}.",
                "classes": classes,
                "rows": [[None if np.isnan(value) else int(value) for value in line] for line in share],
            }
        )
    return found


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _number(value: float) -> float | None:
    """Five significant digits, far below what a figure shows; None where JSON has no number."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"mean": _number(found.mean), "std": _number(found.std), "n": found.n}


def _interval(found: Estimate) -> dict[str, Any]:
    return {"low": _number(found.low), "high": _number(found.high), "hint": f"over {found.n} common seeds"}
