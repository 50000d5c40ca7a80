"""The page's curves, scores by class and confusion matrices, as JSON's types."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seglab.report.bands import POINTS, seed_bands
from seglab.report.comparison import Comparison, Row
from seglab.report.page_scores import number


def seed_curves(rows: Sequence[Row], unfinished: Sequence[Row]) -> dict[str, Any]:
    """``steps``: distinct axes; ``curves``: metric -> label -> [axis, mean, std], scores first; ``curves_caption``."""
    axes: dict[tuple[int, ...], int] = {}
    found: dict[str, dict[str, Any]] = {}
    for row in (*rows, *unfinished):
        for name, band in seed_bands(row.runs).items():
            axis = axes.setdefault(tuple(band.steps.tolist()), len(axes))
            mean, std = ([number(value) for value in part.tolist()] for part in (band.mean, band.std))
            found.setdefault(name, {})[row.label] = [axis, mean, std]
    order = {"val/mIoU": 0, "val_teacher/mIoU": 1, "train/loss": 2}
    names = sorted(found, key=lambda name: (order.get(name, 3), "mIoU" not in name, not name.startswith("val"), name))
    caption = (
        f"Mean over seeds; band: one standard deviation. Curves of more than {POINTS} points are averaged to that many."
    )
    if unfinished:
        caption += f" Not finished: {', '.join(row.label for row in unfinished)}."
    return {
        "steps": [list(axis) for axis in axes],
        "curves": {name: found[name] for name in names},
        "curves_caption": caption,
    }


def class_scores(comparison: Comparison, rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    """``iou``: label -> mean and std by class; ``difference``: label -> mean by class, paired with the baseline."""
    baseline = next((row for row in rows if row.baseline), None)
    iou, difference = {}, {}
    for row in rows:
        found = comparison.class_scores(row, classes)
        if not any(score.n for score in found):
            continue
        iou[row.label] = {
            "mean": [number(score.mean) for score in found],
            "std": [number(score.std) for score in found],
        }
        if baseline and row is not baseline:
            paired = comparison.class_differences(row, baseline, classes)
            difference[row.label] = [number(score.mean) for score in paired]
    return {"iou": iou, "difference": difference}


def confusions(row: Row) -> list[dict[str, Any]]:
    """One matrix per network, summed over the row's runs, as thousandths of each row; empty rows are None."""
    parts: dict[str, list[np.ndarray]] = {}
    classes: list[str] = []
    for run in row.runs:
        content = run.confusion
        names = content.get("classes", [])
        counts = {key: matrix for key, part in content.items() if (matrix := _counts(part, names)) is not None}
        if not counts or (classes and names != classes):
            continue
        classes = names
        for key, counted in counts.items():
            parts.setdefault(key, []).append(counted)
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


def _counts(part: Any, names: Any) -> np.ndarray | None:
    """A K x K matrix; None for the step and for what a hand or a crash has broken."""
    if not isinstance(names, list) or not isinstance(part, list):
        return None
    try:
        matrix = np.asarray(part, dtype=np.float64)
    except (ValueError, TypeError):
        return None
    return matrix if matrix.shape == (len(names), len(names)) else None
