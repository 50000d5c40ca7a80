"""One HTML file that holds the whole comparison and needs nothing else: no network, no other file."""

import html
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from seglab.files import write_output
from seglab.report.colours import method_colours, method_dashes
from seglab.report.comparison import Comparison, Row
from seglab.report.page_curves import class_scores, confusions, seed_curves
from seglab.report.page_scores import scores
from seglab.report.panels import BUDGET, pack_panels, picture_keys
from seglab.report.recipes import commands, config_files, differing_keys
from seglab.report.table import footnotes, remarks
from seglab.runs.reading import Run
from seglab.types import SeglabError

WEB = Path(__file__).parent / "web"
SCRIPTS = ("page.js", "figures.js", "pictures.js")


def write_page(
    runs: Sequence[Run],
    comparison: Comparison,
    path: Path,
    title: str = "Comparison",
    images: Sequence[str] = (),
    digits: int = 1,
) -> None:
    """Write the page; a reader sees the old file or the whole new one.

    Args:
        runs: all that were found, those that do not count included.
        comparison: of these runs.
        path: the HTML file.
        title: heading.
        images: keys of the images whose predictions are shown; none: the first few.
        digits: decimals of a percentage in the tables.

    Raises:
        SeglabError: the file cannot be written, or no run has pictures of an image.
    """
    content = json.dumps(page_data(runs, comparison, images, digits), separators=(",", ":"), allow_nan=False)
    parts = {
        "title": html.escape(title),
        "style": (WEB / "page.css").read_text(encoding="utf-8"),
        "data": content.replace("<", "\\u003c"),  # no text in it can end the script element
        "plotly": (WEB / "plotly-cartesian.min.js").read_text(encoding="utf-8"),
        "script": "\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    first, *rest = (WEB / "page.html").read_text(encoding="utf-8").split("@@")
    page = first + "".join(parts[part] if index % 2 == 0 else part for index, part in enumerate(rest))
    write_output(path, page, "--html")


def page_data(runs: Sequence[Run], comparison: Comparison, images: Sequence[str], digits: int) -> dict[str, Any]:
    """What the page's scripts read, as JSON's types."""
    if images and (absent := set(images) - set(known := picture_keys(runs))):
        have = f"they have {', '.join(known)}" if known else "none has any"
        raise SeglabError(f"--images {sorted(absent)[0]}: no run has pictures of it; {have}")
    unfinished = _unfinished(runs, comparison)
    names = list(dict.fromkeys([*comparison.benchmarks, *(row.benchmark for row in unfinished)]))
    names = names or list(dict.fromkeys(run.benchmark for run in runs))
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
    where = benchmarks[0]["name"] if len(names) == 1 else f"{len(names)} benchmarks"
    counted = f"{sum(len(row.runs) for row in comparison.rows)} of {len(runs)} runs counted"
    made = (where, f"{len(labels)} method{'s' * (len(labels) != 1)}", counted, f"{datetime.now():%Y-%m-%d %H:%M}")
    return {
        "made": " · ".join(made),
        "digits": digits,
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
    drawn = [*rows, *unfinished]
    baseline = next((row for row in rows if row.baseline), None)
    classes = list(dict.fromkeys(name for row in drawn for run in row.runs for name in run.classes))
    return {
        "metric": comparison.metric,
        "baseline": baseline.label if baseline else None,
        **scores(comparison, rows, baseline),
        **seed_curves(rows, unfinished),
        "classes": classes,
        **class_scores(comparison, rows, classes),
        "confusion": [found for row in drawn for found in confusions(row)],
        "configs": {
            "methods": [row.label for row in rows],
            "differing": differing_keys(rows),
            "files": config_files(rows),
        },
        "commands": [commands(row) for row in drawn],
    }
