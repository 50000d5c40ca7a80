"""The page's table and cost figure: a comparison's rows as JSON's types."""

import math
from collections.abc import Sequence
from typing import Any

from seglab.report.comparison import Comparison, Row, Score
from seglab.report.estimate import Estimate


def scores(comparison: Comparison, rows: Sequence[Row], baseline: Row | None) -> dict[str, Any]:
    """``columns`` and ``rows`` of the table, its ``caption``, and ``cost``: axes and a point per row."""
    first = comparison.checkpoints[0]
    points = {
        row.label: {"score": estimated(row.scores[row.networks[0], first].estimate), **_cost(row)} for row in rows
    }
    return {
        "columns": _columns(comparison, rows, baseline),
        "rows": [_row(comparison, row) for row in rows],
        "caption": _caption(comparison, baseline),
        "cost": {"axes": _cost_axes(rows), "points": points},
    }


def _columns(comparison: Comparison, rows: Sequence[Row], baseline: Row | None) -> list[dict[str, Any]]:
    """Columns that some row fills: the first network's scores, the difference, other networks, cost."""
    short = comparison.metric.partition("/")[2]
    found: list[dict[str, Any]] = []
    for index, checkpoint in enumerate(comparison.checkpoints):
        title = f"{short}, {checkpoint}"
        hint = f"{comparison.metric} of the {checkpoint} checkpoint, in %"
        found.append({"key": checkpoint, "kind": "score", "title": title, "hint": hint, "main": not index})
        if baseline and not index:
            hint = f"minus {baseline.method}, paired by seed, with its 95 % interval"
            found.append({"key": "difference", "kind": "difference", "title": f"minus {baseline.method}", "hint": hint})
    for network in dict.fromkeys(name for row in rows for name in row.networks[1:]):
        for checkpoint in comparison.checkpoints:
            title, hint = f"{network}, {checkpoint}", f"{short} of the {network}, {checkpoint} checkpoint, in %"
            found.append({"key": f"{network} {checkpoint}", "kind": "score", "title": title, "hint": hint})
    for axis in _cost_axes(rows):
        hint = "mean over runs" if axis["key"] != "peak_memory_bytes" else "maximum over runs"
        found.append({**axis, "kind": "cost", "hint": hint})
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
    badges: list[dict[str, Any]] = [{"text": "baseline"}] if row.baseline else []
    if first != "student":
        badges.append({"text": first})
    if comparison.deviates(row):
        badges.append({"text": "unfair", "warn": True, "hint": "configured unlike the others: see below the table"})
    return {
        "method": row.label,
        "badges": badges,
        "cells": cells,
        "difference": estimated(difference) | _interval(difference) if difference else None,
    }


def _cell(score: Score) -> dict[str, Any]:
    hint = ", ".join(f"seed {seed}: {100 * value:.2f}" for seed, value in score.values.items())
    return estimated(score.estimate) | {"hint": hint}


def _caption(comparison: Comparison, baseline: Row | None) -> str:
    text = f"{comparison.metric} in %: mean ± standard deviation over seeds (number of seeds)."
    if baseline:
        text += f" The difference to {baseline.method} is paired by seed; colour: its 95 % interval excludes 0."
    return f"{text} A heading sorts."


def _cost_axes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """``low``: whether less of it is better."""
    unit = "/".join(sorted({run.cost.unit for row in rows for run in row.runs})) or "GPU"
    axes: list[dict[str, Any]] = [
        {"key": "device_hours", "title": f"{unit}-hours", "unit": f"{unit}-hours", "low": True},
        {"key": "peak_memory_bytes", "title": "Memory, GiB", "unit": "GiB", "low": True},
        {"key": "images_per_second", "title": "Images/s", "unit": "images/s", "low": False},
    ]
    return [axis for axis in axes if any(_cost(row)[axis["key"]] is not None for row in rows)]


def _cost(row: Row) -> dict[str, float | None]:
    hours, memory, speed = (row.cost(key) for key in ("device_hours", "peak_memory_bytes", "images_per_second"))
    return {
        "device_hours": number(hours),
        "peak_memory_bytes": number(memory / 2**30),
        "images_per_second": number(speed),
    }


def number(value: float) -> float | None:
    """Five significant digits, far below what a figure shows; None where JSON has no number."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def estimated(found: Estimate) -> dict[str, Any]:
    """``mean``, ``std`` and ``n``."""
    return {"mean": number(found.mean), "std": number(found.std), "n": found.n}


def _interval(found: Estimate) -> dict[str, Any]:
    return {"low": number(found.low), "high": number(found.high), "hint": f"over {found.n} common seeds"}
