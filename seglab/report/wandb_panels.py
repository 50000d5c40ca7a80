"""The sections of a W&B dashboard: which metrics, tables and pictures of ``WandbRun`` are shown, and how."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from wandb_workspaces.reports.v2 import (
    BarPlot,
    CustomChart,
    Layout,
    LinePlot,
    MediaBrowser,
    ScatterPlot,
    SummaryMetric,
    WeavePanelSummaryTable,
)

Axis = Literal["step", "index", "run"]
Panel = Any  # any panel class of wandb_workspaces
STEP = "trainer/global_step"  # of WandbLogger; W&B's own step counts the calls that log
TIME = "RelativeTime(Process)"
MOST = 100  # lines or bars in a panel; W&B stops at 10 unless told
COLUMNS, GRID, HEIGHT = 3, 24, 6  # panels in a row; a report's grid and a panel's height in its units
WIDE = (CustomChart, MediaBrowser, WeavePanelSummaryTable)
COMMON = ["train/loss", "train/pseudo/accuracy", "train/pseudo/coverage", "val/mIoU", "val/pixel_accuracy"]
TEACHER = ["val_teacher/mIoU", "val_teacher/pixel_accuracy"]
MEMORY = {"GPU memory, bytes": "system/gpu.0.memoryAllocatedBytes", "memory, MB": "system/proc.memory.rssMB"}


def sections(metrics: Sequence[str], by: str) -> dict[str, list[Panel]]:
    """Title -> panels of each section of a dashboard.

    Args:
        metrics: names of what the runs log, classes in their order. None given: patterns find classes and loss terms.
        by: attribute of runs, as W&B's interface names it; runs that share it become one line or bar, their mean.
    """
    names = metrics or [*COMMON, *TEACHER]
    means = _matching(r"val\w*/mIoU\d*", names)  # val/mIoU16 too, and val_teacher/ and val_other/
    scored = list(dict.fromkeys(name.split("/")[0] for name in means))  # val, val_teacher, ...
    pseudo = _matching(r"train/pseudo/\w+", names)
    found = {
        "Scores": [
            *(_curve(name, by, name) for name in means),
            *(_bars(f"{name}, last", by, [name]) for name in means),
            *(_bars(f"{name}, best", by, [f"best/{name}"]) for name in means),
            *(_curve(name, by, name) for name in _matching(r"val\w*/\w+_accuracy", names)),
        ],
        "IoU by class": [
            *_by_class([f"{prefix}/IoU" for prefix in scored], metrics, by),
            WeavePanelSummaryTable(table_name="val/classes"),
        ],
        "Losses": [
            _curve("train/loss", by, "train/loss"),
            *_by_term("train/loss", metrics, by),
            *(_curve(name, by, name) for name in _matching("lr.*", names)),
        ],
        "Pseudo-labels": [*(_curve(name, by, name) for name in pseudo), *_by_class(pseudo, metrics, by)],
        "Cost": _cost(by),
        "Predictions": [_pictures("by run, at a step", "run", "index"), _pictures("by step", "step", "run")],
        "Confusion matrices": [_confusion(prefix) for prefix in scored],
    }
    return {title: panels for title, panels in found.items() if panels}


def lay_out(panels: list[Panel]) -> list[Panel]:
    """Lay panels out on a report's grid, three in a row; tables, pictures and bars of many metrics get a row."""
    x = y = 0
    for panel in panels:
        wide = len(panel.metrics) > 1 if isinstance(panel, BarPlot) else isinstance(panel, WIDE)
        if wide and x:
            x, y = 0, y + HEIGHT
        panel.layout = Layout(x=x, y=y, w=GRID if wide else GRID // COLUMNS, h=2 * HEIGHT if wide else HEIGHT)
        x = (x + panel.layout.w) % GRID
        y += 0 if x else panel.layout.h
    return panels


def _by_class(prefixes: list[str], metrics: Sequence[str], by: str) -> list[Panel]:
    """The last values of all classes as bars, one panel a prefix, and the curves of each class."""
    if not metrics:
        return [_pattern(f"{prefix} by class", by, f"^{prefix}/") for prefix in prefixes]
    members = {prefix: [name for name in metrics if name.startswith(f"{prefix}/")] for prefix in prefixes}
    classes = dict.fromkeys(name.removeprefix(f"{prefix}/") for prefix in prefixes for name in members[prefix])
    return [
        *(_bars(f"{prefix}, last", by, names) for prefix, names in members.items() if names),
        *(_curve(each, by, *(f"{p}/{each}" for p in prefixes if f"{p}/{each}" in members[p])) for each in classes),
    ]


def _by_term(prefix: str, metrics: Sequence[str], by: str) -> list[Panel]:
    if not metrics:
        return [_pattern(f"{prefix} by term", by, f"^{prefix}/")]
    return [_curve(name, by, name) for name in metrics if name.startswith(f"{prefix}/")]


def _cost(by: str) -> list[Panel]:
    time, score = SummaryMetric("_runtime"), SummaryMetric("val/mIoU")
    return [
        _bars("run time, s", by, ["_runtime"]),
        ScatterPlot(title="score and run time, s", x=time, y=score),
        *(_curve(title, by, name, x=TIME) for title, name in MEMORY.items()),
    ]


def _pictures(title: str, across: Axis, down: Axis) -> MediaBrowser:
    return MediaBrowser(title=title, media_keys=["panels"], mode="grid", grid_x_axis=across, grid_y_axis=down)


def _confusion(prefix: str) -> CustomChart:
    """The chart that ``wandb.plot.confusion_matrix`` draws, of the table that WandbRun logs."""
    query = {"id": {}, "name": {}, "_defaultColorIndex": {}, "summaryTable": {"tableKey": f"{prefix}/confusion_table"}}
    fields = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    strings = {"title": f"{prefix}: pixels"}
    return CustomChart(query=query, chart_name="wandb/confusion_matrix/v1", chart_fields=fields, chart_strings=strings)


def _curve(title: str, by: str, *names: str, x: str = STEP) -> LinePlot:
    return LinePlot(title=title, x=x, y=list(names), **_grouped(by))


def _pattern(title: str, by: str, pattern: str) -> LinePlot:
    return LinePlot(title=title, x=STEP, metric_regex=pattern, **_grouped(by))


def _bars(title: str, by: str, names: list[str]) -> BarPlot:
    return BarPlot(title=title, metrics=[*names], max_bars_to_show=MOST * len(names), **_grouped(by))


def _grouped(by: str) -> dict[str, Any]:
    """Mean over the runs of a group, and their standard deviation as band or error bar."""
    return {"groupby": by, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev", "max_runs_to_show": MOST}


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if re.fullmatch(pattern, name)]
