"""A comparison for other programs: CSV and JSON, scores in [0, 1]."""

import csv
import io
import json
import math
from typing import Any

from seglab.report.comparison import Comparison, Row, Score
from seglab.report.table import footnotes


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat record per benchmark, row, network and checkpoint; scores in [0, 1], None where there is none."""
    return [_record(comparison, row, score) for row in comparison.rows for score in row.scores.values()]


def to_csv(comparison: Comparison) -> str:
    """The records, a line each."""
    lines = records(comparison)
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _flat(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def to_json(comparison: Comparison) -> str:
    """Records, deviations, runs that do not count, and notes."""
    content = {
        "metric": comparison.metric,
        "baseline": comparison.baseline,
        "by": list(comparison.by),
        "method": footnotes(comparison),
        "rows": records(comparison),
        "deviations": [
            {
                **{"benchmark": d.benchmark, "label": d.label, "runs": [str(run.folder) for run in d.runs]},
                "keys": {key: {"value": own, "usual": usual} for key, (own, usual) in d.keys.items()},
            }
            for d in comparison.deviations
        ],
        "incomplete": [
            {
                **{"run": str(run.folder), "benchmark": run.benchmark, "method": run.method, "seed": run.seed},
                **{"status": run.status, "step": run.step, "steps": run.steps, "reason": reason},
            }
            for run, reason in comparison.incomplete
        ],
        "notes": comparison.notes,
    }
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def _record(comparison: Comparison, row: Row, score: Score) -> dict[str, Any]:
    own, difference = score.estimate, score.difference
    return {
        **row.variant,
        **{"benchmark": row.benchmark, "method": row.method, "label": row.label},
        **{"network": score.network, "checkpoint": score.checkpoint, "metric": comparison.metric},
        **{"mean": _none(own.mean), "std": _none(own.std), "seeds": own.n, "values": _text_keys(score.values)},
        "baseline": row.baseline,
        "difference": _none(difference.mean) if difference else None,
        "difference_low": _none(difference.low) if difference else None,
        "difference_high": _none(difference.high) if difference else None,
        "pairs": difference.n if difference else None,
        "device_hours": _none(row.cost("device_hours")),
        "wall_seconds": _none(row.cost("wall_seconds")),
        "peak_memory_bytes": _none(row.cost("peak_memory_bytes")),
        "images_per_second": _none(row.cost("images_per_second")),
        "parameters": max(run.parameters for run in row.runs),
        "device": row.device,
        "unfair": comparison.deviates(row),
    }


def _text_keys(values: dict[Any, float]) -> dict[str, float]:
    return {str(key): value for key, value in values.items()}


def _flat(value: Any) -> Any:
    return " ".join(f"{key}:{part!r}" for key, part in value.items()) if isinstance(value, dict) else value


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
