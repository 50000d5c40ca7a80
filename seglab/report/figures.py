"""Figures for a paper: PDF with embedded fonts, and PNG. Widths fit one or two columns of a page."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seglab.files import write_output
from seglab.report.bands import Band, seed_bands
from seglab.report.colours import method_colours, method_dashes
from seglab.report.comparison import Comparison, Row
from seglab.report.table import UNFAIR
from seglab.runs.reading import of_network
from seglab.types import SeglabError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.2  # inches
DPI = 300
STYLE: dict[str, Any] = {
    **{"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "legend.frameon": False},
    **{"xtick.labelsize": 7, "ytick.labelsize": 7, "axes.spines.top": False, "axes.spines.right": False},
    **{"axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.2},
    **{"pdf.fonttype": 42, "figure.constrained_layout.use": True, "axes.grid": False, "grid.color": "#e6e6e6"},
}
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}  # plotly's names -> matplotlib's


def write_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw every figure that the runs have data for, as ``<benchmark>_<figure>.pdf`` and ``.png``.

    ``scores``, ``class_iou``, ``class_differences``, ``curves``, ``cost`` and ``pseudo_labels``.

    Raises:
        SeglabError: matplotlib is not installed, no run counts, or the folder cannot be written.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise SeglabError('figures need the package matplotlib: pip install "seglab[report]"') from error
    if not comparison.rows:
        raise SeglabError("no finished run to draw: --export-figures has nothing to show")
    written = []
    with matplotlib.rc_context(STYLE):
        for benchmark in comparison.benchmarks:
            for name, figure in _figures(comparison, comparison.of(benchmark)):
                stem = re.sub(r"[^\w.-]+", "_", f"{benchmark}_{name}")
                written += [_save(figure, folder / f"{stem}.{kind}") for kind in ("pdf", "png")]
    return written


def _save(figure: "Figure", path: Path) -> Path:
    kind = path.suffix[1:]
    when = {"CreationDate": None} if kind == "pdf" else {}  # the same runs give the same file
    write_output(path, lambda file: figure.savefig(file, format=kind, dpi=DPI, metadata=when), "--export-figures")
    return path


def _figures(comparison: Comparison, rows: list[Row]) -> Iterator[tuple[str, "Figure"]]:
    bands = {row.label: seed_bands(row.runs) for row in rows}
    looks = _looks(comparison)
    yield "scores", _scores(comparison, rows, looks)
    baseline = next((row for row in rows if row.baseline), None)
    if classes := list(dict.fromkeys(name for row in rows for run in row.runs for name in run.classes)):
        yield "class_iou", _class_iou(comparison, rows, classes)
        if baseline and len(rows) > 1:
            yield "class_differences", _class_differences(comparison, rows, baseline, classes)
    if any(comparison.metric in found for found in bands.values()):
        yield "curves", _curves(comparison, rows, bands, looks)
    if any(math.isfinite(row.cost("device_hours")) for row in rows):
        yield "cost", _cost(comparison, rows, looks)
    if labelling := [row for row in rows if "train/pseudo/accuracy" in bands[row.label]]:
        yield "pseudo_labels", _pseudo_labels(comparison, labelling, bands, looks)


def _looks(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Colour and line style of each label, the same on all benchmarks."""
    labels = [row.label for row in comparison.rows]
    colours = method_colours(labels, comparison.baseline)
    dashes = method_dashes(labels, comparison.baseline)
    return {label: {"color": colours[label], "linestyle": LINES[dashes[label]]} for label in labels}


def _figure(width: float, height: float, columns: int = 1) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _scores(comparison: Comparison, rows: list[Row], looks: dict[str, dict[str, Any]]) -> "Figure":
    """Mean with its 95 % interval, every seed below it; a second network hollow, below its student."""
    checkpoint = comparison.checkpoints[0]
    places = [(row, name) for row in rows for name in row.networks]
    figure, (axes,) = _figure(COLUMN, 0.75 + 0.2 * len(places))
    for at, (row, network) in enumerate(places):
        score, colour = row.scores[network, checkpoint], looks[row.label]["color"]
        own, hollow = score.estimate, network != "student"
        if not own.n:
            continue
        if own.n > 1:
            axes.plot([100 * own.low, 100 * own.high], [at, at], color=colour, lw=1.2, zorder=2)
        values = [100 * value for value in score.values.values()]
        axes.scatter(values, [at + 0.3] * own.n, s=7, color=colour, alpha=0.5, lw=0, zorder=3)
        axes.scatter([100 * own.mean], [at], s=26, facecolor="white" if hollow else colour, edgecolor=colour, zorder=4)
    seen = [100 * value for row, name in places for value in row.scores[name, checkpoint].values.values()]
    margin = 0.6 * (max(seen) - min(seen)) + 1.0 if seen else 1.0
    if seen:  # an interval from two seeds can be wider than all means are apart: it is cut at the frame
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, min(seen) - margin), min(high, max(seen) + margin))
    names = [_label(comparison, row) if name == "student" else f"({name})" for row, name in places]
    axes.set_yticks(range(len(places)), names)
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{comparison.metric}, {checkpoint} checkpoint [%]")
    axes.set_title(f"{rows[0].benchmark}: mean, 95 % interval, seeds", loc="left")
    return figure


def _class_iou(comparison: Comparison, rows: list[Row], classes: list[str]) -> "Figure":
    values = 100 * np.array([[score.mean for score in comparison.class_scores(row, classes)] for row in rows])
    texts = [[_text(value, ".0f") for value in line] for line in values]
    stage = comparison.metric.partition("/")[0]
    title = f"{rows[0].benchmark}: {stage}/IoU by class, {comparison.checkpoints[0]} checkpoint [%]"
    names = [_label(comparison, row) for row in rows]
    return _heat_map(values, texts, names, classes, title, "cividis", (0, 100))


def _class_differences(comparison: Comparison, rows: list[Row], baseline: Row, classes: list[str]) -> "Figure":
    """Paired by seed; a star where the 95 % interval excludes 0."""
    others = [row for row in rows if row is not baseline]
    found = [comparison.class_differences(row, baseline, classes) for row in others]
    values = 100 * np.array([[difference.mean for difference in line] for line in found])
    limit = max(1.0, float(np.nanmax(np.abs(values), initial=0)))
    form = "+.1f" if limit < 10 else "+.0f"
    texts = [[_text(100 * d.mean, form) + ("*" if d.excludes_zero else "") for d in line] for line in found]
    stage = comparison.metric.partition("/")[0]
    title = f"{rows[0].benchmark}: {stage}/IoU minus {baseline.label}, in points; * 95 % interval excludes 0"
    names = [_label(comparison, row) for row in others]
    return _heat_map(values, texts, names, classes, title, "PuOr_r", (-limit, limit))


def _heat_map(
    values: np.ndarray,
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    colours: str,
    limits: tuple[float, float],
) -> "Figure":
    width = max(COLUMN, min(2 * PAGE, 1.4 + 0.34 * len(columns)))
    figure, (axes,) = _figure(width, 1.0 + 0.24 * len(rows))
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            red, green, blue, _ = image.cmap(image.norm(values[row, column]))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left")
    return figure


def _curves(
    comparison: Comparison, rows: list[Row], bands: dict[str, dict[str, Band]], looks: dict[str, dict[str, Any]]
) -> "Figure":
    """The metric over training, one panel per kind of network."""
    columns = {"student": comparison.metric}
    for row in rows:
        columns |= {name: of_network(comparison.metric, name) for name in row.networks}
    shown = {network: name for network, name in columns.items() if any(name in bands[row.label] for row in rows)}
    figure, panels = _figure(PAGE if len(shown) > 1 else COLUMN + 1.3, 2.6, len(shown))
    for axes, (network, name) in zip(panels, shown.items(), strict=True):
        for row in rows:
            if name in bands[row.label]:
                _draw_band(axes, bands[row.label][name], looks[row.label], _label(comparison, row))
        axes.set_title(f"{rows[0].benchmark}: {network}", loc="left")
        axes.set_ylabel(f"{comparison.metric} [%]")
    _share(panels, figure)
    return figure


def _pseudo_labels(
    comparison: Comparison, rows: list[Row], bands: dict[str, dict[str, Band]], looks: dict[str, dict[str, Any]]
) -> "Figure":
    """How many of the used pseudo-labels are right, and how many pixels get one."""
    figure, panels = _figure(PAGE, 2.6, 2)
    for axes, name in zip(panels, ("accuracy", "coverage"), strict=True):
        for row in rows:
            if band := bands[row.label].get(f"train/pseudo/{name}"):
                _draw_band(axes, band, looks[row.label], _label(comparison, row))
        axes.set_title(f"{rows[0].benchmark}: pseudo-label {name}", loc="left")
        axes.set_ylabel(f"{name} [%]")
    _share(panels, figure, same_y=False)
    return figure


def _draw_band(axes: "Axes", band: Band, look: dict[str, Any], label: str) -> None:
    spread = np.nan_to_num(band.std)
    few: dict[str, Any] = {"marker": "o", "ms": 2.5} if len(band.steps) <= 20 else {}
    axes.plot(band.steps, 100 * band.mean, label=label, **look, **few)
    low, high = 100 * (band.mean - spread), 100 * (band.mean + spread)
    axes.fill_between(band.steps, low, high, color=look["color"], alpha=0.15, lw=0)


def _share(panels: Sequence["Axes"], figure: "Figure", same_y: bool = True) -> None:
    """Axis labels, one range where panels show one quantity, and one legend for all."""
    found: dict[str, Any] = {}
    for axes in panels:
        axes.set_xlabel("step (mean ± standard deviation over seeds)")
        axes.grid(axis="y")
        found |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        if same_y:
            axes.set_ylim(min(a.get_ylim()[0] for a in panels), max(a.get_ylim()[1] for a in panels))
    figure.legend(found.values(), found.keys(), loc="outside right upper")


def _cost(comparison: Comparison, rows: list[Row], looks: dict[str, dict[str, Any]]) -> "Figure":
    """Mean ± standard deviation against cost; the line joins methods that no other beats at the same or lower cost."""
    from matplotlib.ticker import LogLocator, NullFormatter

    checkpoint = comparison.checkpoints[0]
    points = []
    for row in rows:
        score = max((row.scores[name, checkpoint].estimate for name in row.networks), key=_mean_or_less)
        if math.isfinite(score.mean) and math.isfinite(row.cost("device_hours")):
            points.append((row.cost("device_hours"), 100 * score.mean, 100 * np.nan_to_num(score.std), row))
    points.sort(key=lambda point: (point[0], -point[1]))
    figure, (axes,) = _figure(COLUMN + 1.3, 2.8)
    for hours, mean, std, row in points:
        look: dict[str, Any] = {"color": looks[row.label]["color"], "label": _label(comparison, row)}
        marker = "os^D"[list(LINES.values()).index(looks[row.label]["linestyle"])]
        axes.errorbar(hours, mean, std, fmt=marker, ms=5, lw=1, capsize=0, **look)
    front = [p for index, p in enumerate(points) if all(p[1] > other[1] for other in points[:index])]
    axes.plot([p[0] for p in front], [p[1] for p in front], color="#888888", lw=0.8, zorder=0, drawstyle="steps-post")
    if points and points[-1][0] > 3 * points[0][0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    unit = "/".join(sorted({run.cost.unit for row in rows for run in row.runs}))
    axes.set_xlabel(f"{unit}-hours per run (line: Pareto front)")
    axes.set_ylabel(f"{comparison.metric}, {checkpoint}, better network [%]")
    axes.set_title(f"{rows[0].benchmark}: cost", loc="left")
    axes.grid(axis="y")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _mean_or_less(score: Any) -> float:
    return score.mean if math.isfinite(score.mean) else -math.inf


def _label(comparison: Comparison, row: Row) -> str:
    return f"{row.label} {UNFAIR}" if comparison.deviates(row) else row.label


def _text(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "–"
