"""W&B workspaces and a report that show what ``seglab compare`` shows: a file, then pushed to a server."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from wandb_workspaces import workspaces as ws
from wandb_workspaces.reports import v2 as wr

from seglab.compat import ReportViewspec, View, from_model, internal_names, to_model
from seglab.files import write_output
from seglab.report.wandb_panels import COLUMNS, MOST, STEP, lay_out, sections
from seglab.runs.reading import Run
from seglab.types import SeglabError

KIND = "seglab dashboard"
HOW = [
    "A line or bar is the mean over the runs of a method, its band their standard deviation; runs differ in the seed.",
    "Runs are compared within a benchmark: data, labeled split, network, schedule and evaluation are equal there.",
    "val/ scores the student, val_teacher/ its teacher where there is one, val_other/ the second network of CPS. "
    "Scores of the last and of the best validation are both shown; everything by class is of the last.",
    "Accuracy and coverage of pseudo-labels come from ground truth that training never reads.",
    "Differences paired by seed, with their confidence intervals, are on the page that `seglab compare` writes.",
]


def logged_metrics(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Benchmark -> names of the metrics that any of its runs has logged, by name, those of classes by class index."""
    logged: dict[str, list[str]] = {}
    for benchmark in sorted({run.benchmark for run in runs if run.metrics}):
        group = [run for run in runs if run.benchmark == benchmark]
        index = {name: at for run in group for at, name in enumerate(run.classes)}
        names = {name for run in group for name in run.metrics}
        logged[benchmark] = sorted(names, key=lambda name: (index.get(name.rpartition("/")[2], -1), name))
    return logged


def define(project: str, entity: str, name: str, logged: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A workspace for each benchmark and a report of them all, as the library's own specifications; asks no server.

    Args:
        project, entity: where they will be created; an empty entity is settled by ``push``.
        name: title of the report, and what the workspaces' names begin with.
        logged: benchmark -> names of its metrics; empty for one workspace of all runs of the project.
    """
    benchmarks = logged or {"": []}
    workspaces = [to_model(_workspace(name, benchmark, metrics)) for benchmark, metrics in benchmarks.items()]
    return {
        "kind": KIND,
        "project": project,
        "entity": entity,
        "workspaces": [_plain(workspace, {"entity", "project"}) for workspace in workspaces],
        "report": _plain(to_model(_report(name, benchmarks)), {"project"}),
    }


def write(path: Path, definition: dict[str, Any]) -> None:
    """Write a definition; over an earlier one of the same place, so that a push updates what that one created.

    Raises:
        SeglabError: the file is something else, or cannot be written.
    """
    if path.exists():
        old = read(path)
        definition["entity"] = definition["entity"] or old["entity"]
        if all(old[key] == definition[key] for key in ("project", "entity")):
            created = {view["displayName"]: {key: view[key] for key in ("name", "id")} for view in old["workspaces"]}
            for view in definition["workspaces"]:
                view |= created.get(view["displayName"], {})
            definition["report"]["id"] = old["report"]["id"]
    _save(path, definition)


def read(path: Path) -> dict[str, Any]:
    """A definition that ``write`` wrote.

    Raises:
        SeglabError: the file is absent or something else.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SeglabError(f"no file {path}: `seglab dashboard --output {path}` writes it") from error
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise SeglabError(f"{path} is not a file of `seglab dashboard`: choose another one")
    return content


def load(definition: dict[str, Any]) -> tuple[list[ws.Workspace], wr.Report]:
    """The library's objects of a definition; asks no server.

    Raises:
        SeglabError: the library cannot read it.
    """
    try:
        place = {"entity": definition["entity"], "project": definition["project"]}
        workspaces = [from_model(ws.Workspace, View.model_validate(view | place)) for view in definition["workspaces"]]
        project = {"name": place["project"], "entityName": place["entity"]}
        model = ReportViewspec.model_validate(definition["report"] | {"project": project})
        report = from_model(wr.Report, model)
    except (KeyError, TypeError, ValueError) as error:
        raise SeglabError(
            f"this version of wandb-workspaces cannot read the dashboard ({error}): write it anew"
        ) from error
    report.width = model.spec.width  # _from_model forgets it, and where tables are
    for block in report.blocks:
        if isinstance(block, wr.PanelGrid):
            lay_out(block.panels)
    return workspaces, report


def push(path: Path, project: str = "", entity: str = "") -> list[str]:
    """Create what a file defines, or update what an earlier push of the file created; returns the addresses.

    Args:
        project, entity: another place than the file says; empty: the file's, then the default entity of the login.

    Raises:
        SeglabError: not a definition, no login, or the server refuses.
    """
    definition = read(path)
    entity = _logged_in(entity or definition["entity"], path)
    place = {"project": project or definition["project"], "entity": entity}
    if any(definition[key] not in ("", value) for key, value in place.items()):
        for part in (*definition["workspaces"], definition["report"]):
            part["id"] = part["name"] = ""  # of the place that was pushed to before
    definition |= place
    workspaces, report = load(definition)
    for block in report.blocks:
        for runset in block.runsets if isinstance(block, wr.PanelGrid) else []:
            runset.entity, runset.project = entity, place["project"]  # saving looks it up, so not in define
    try:
        for view, workspace in zip(definition["workspaces"], workspaces, strict=True):
            workspace.save()
            view["name"], view["id"] = internal_names(workspace)
            _save(path, definition)
        report.save()
        definition["report"]["id"] = report.id
        _save(path, definition)
    except Exception as error:  # as above, and the library's own
        raise SeglabError(
            f"W&B did not take {path} for {entity}/{place['project']} ({error}). A project exists once a run is in it: "
            f"`wandb sync RUN_DIR/wandb/offline-run-*`, then the same command. Views that were deleted on the server: "
            f"write them to another --output"
        ) from error
    return [*(workspace.url for workspace in workspaces), report.url]


def _logged_in(entity: str, path: Path) -> str:
    """The entity to create things for, once the server has accepted the login."""
    try:
        api = wandb.Api()
        entity = entity or api.default_entity or ""
    except Exception as error:  # the client and the service below it each raise types of their own
        raise SeglabError(
            f"cannot log in to Weights & Biases ({error}): run `wandb login` (with --host for a server of your own), "
            f"then `seglab dashboard --push {path}`"
        ) from error
    if not entity:
        raise SeglabError("this login has no default entity: give --entity, a W&B team or user")
    return entity


def _workspace(name: str, benchmark: str, metrics: Sequence[str]) -> ws.Workspace:
    return ws.Workspace(
        entity="",
        project="",
        name=re.sub(r"[^\w .,:()/-]", "-", f"{name}: {benchmark}") if benchmark else name,  # others are refused
        sections=[
            ws.Section(
                name=title,
                panels=panels,
                is_open=title == "Scores",
                layout_settings=ws.SectionLayoutSettings(columns=COLUMNS, rows=-(-len(panels) // COLUMNS)),
            )
            for title, panels in sections(metrics, _attribute(benchmark)).items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=MOST),
        runset_settings=ws.RunsetSettings(
            filters=_only(benchmark),
            groupby=[*([] if benchmark else [ws.Config("benchmark")]), ws.Metric("JobType")],
            order=[ws.Ordering(ws.Summary("val/mIoU"), ascending=False)],
            pinned_columns=["summary:val/mIoU", "config:seed_everything.value", "run:state"],
        ),
    )


def _report(name: str, benchmarks: Mapping[str, Sequence[str]]) -> wr.Report:
    blocks: list[Any] = [wr.UnorderedList(items=[*HOW]), wr.TableOfContents()]
    for benchmark, metrics in benchmarks.items():
        blocks.append(wr.H1(benchmark or "All runs"))
        for title, panels in sections(metrics, _attribute(benchmark)).items():
            grid = wr.PanelGrid(runsets=[_runset(benchmark)], panels=lay_out(panels), hide_run_sets=title != "Scores")
            blocks += [wr.H2(title), grid]
    return wr.Report(project="", entity="", title=name, blocks=blocks, width="fluid")


def _runset(benchmark: str) -> wr.Runset:
    return wr.Runset(
        name=benchmark or "All runs",
        filters=_only(benchmark),
        groupby=[*([] if benchmark else ["config.benchmark"]), "JobType"],
        order=[wr.OrderBy(wr.SummaryMetric("val/mIoU"), ascending=False)],
    )


def _attribute(benchmark: str) -> str:
    """What tells methods apart, as WandbRun sets it: JobType is the method, Group the benchmark and the method.

    The config's ``method`` is not asked: a config may leave the name to the method's class.
    """
    return "JobType" if benchmark else "Group"


def _only(benchmark: str) -> str:
    """Filter of runs, with the key as W&B's interface stores it."""
    return f'Config("benchmark.value") in [{benchmark!r}]' if benchmark else ""


def _plain(model: Any, without: set[str]) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=without)


def _save(path: Path, definition: dict[str, Any]) -> None:
    write_output(path, json.dumps(definition, indent=2) + "\n")
