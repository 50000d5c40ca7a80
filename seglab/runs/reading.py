"""Run directories as records. A broken or half-written file makes a run with a reason, never an error."""

import csv
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seglab.files import read_json, read_yaml
from seglab.runs.chains import CHAIN, is_earlier_stage, read_stages, stages_before
from seglab.runs.directory import CONFIG, CONFUSION, MANIFEST, METRICS, PANELS, SUMMARY, read_manifest
from seglab.runs.recipes import split_name
from seglab.runs.status import STATUSES, status_of
from seglab.types import SeglabError

Scores = dict[str, float]
Curve = tuple[list[int], list[float]]  # steps, values


@dataclass(frozen=True)
class Cost:
    """What a run took, over all its sessions; NaN where the summary does not say.

    Attributes:
        train_seconds, wall_seconds: in training steps; in all, with start and validation.
        peak_memory_bytes: of one process: GPU memory allocated, or resident memory on a CPU.
        images_per_second: labeled and unlabeled images, over training time and all processes.
        device: name of the GPU, or ``cpu (<n> threads)``; empty when unknown.
        world_size: processes.
    """

    train_seconds: float = math.nan
    wall_seconds: float = math.nan
    peak_memory_bytes: float = math.nan
    images_per_second: float = math.nan
    device: str = ""
    world_size: int = 1

    @property
    def unit(self) -> str:
        """``GPU`` or ``CPU``."""
        return "CPU" if self.device.startswith("cpu") else "GPU"

    @property
    def device_hours(self) -> float:
        """Hours of wall time, times GPUs, or times processes and their threads on a CPU."""
        threads = re.search(r"\((\d+) threads\)", self.device)
        return self.wall_seconds / 3600 * self.world_size * (int(threads[1]) if threads else 1)


@dataclass
class Run:
    """One run directory, or a run of a sweep that has none yet.

    Attributes:
        folder: the run directory; it need not exist for a run that has not started.
        benchmark, method: of ``summary.json``; where it is missing, of ``config.yaml`` or the sweep's parameters.
        seed: None where none is known.
        status: one of ``seglab.runs.status.STATUSES``.
        reason: why it is not finished, in one line; empty where there is nothing to tell.
        step, steps: how far it came, of how many optimiser steps; 0 where unknown.
        last, best: scores of the last and the best validation: ``step``, ``val/mIoU``, ``val_teacher/mIoU``,
            ``val/IoU/<class>``, ... in [0, 1]; ``test/...`` where ``seglab test`` scored that checkpoint. null is NaN.
        cost: time, memory, throughput.
        parameters: number of trainable parameters; 0 where unknown.
        git_revision: commit of seglab, ``+`` with local changes; empty where unknown.
        packages: package -> version.
        changed: when ``summary.json`` was last written, in seconds since the epoch; 0 without one.
    """

    folder: Path
    benchmark: str = ""
    method: str = ""
    seed: int | None = None
    status: str = "waiting"
    reason: str = ""
    step: int = 0
    steps: int = 0
    last: Scores = field(default_factory=dict)
    best: Scores = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    parameters: int = 0
    git_revision: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    changed: float = 0.0

    @property
    def name(self) -> str:
        """For messages: the last two parts of the folder."""
        return "/".join(self.folder.parts[-2:])

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]; 0 where unknown."""
        return 1.0 if self.status == "finished" else self.step / self.steps if self.steps else 0.0

    @property
    def why(self) -> str:
        """``reason``, and how far the run came."""
        reached = f"step {self.step} of {self.steps}" if self.steps else ""
        return ", ".join(part for part in (self.reason, reached) if part)

    @property
    def classes(self) -> list[str]:
        """Class names in index order, as the last validation scored them; none before the first."""
        found = (key.removeprefix("val/IoU/") for key in {**self.last, **self.best} if key.startswith("val/IoU/"))
        return list(dict.fromkeys(found))

    @property
    def networks(self) -> list[str]:
        """``student`` and whatever else was scored: ``teacher``, or ``other`` for CPS's second network."""
        stages = {key.partition("/")[0] for key in {**self.last, **self.best} if key.endswith("/mIoU")}
        others = sorted({stage.partition("_")[2] for stage in stages if "_" in stage})
        return [*(["student"] if stages - {f"{s}_{n}" for n in others for s in ("val", "test")} else []), *others]

    def score(self, metric: str, checkpoint: str = "last", network: str = "student") -> float:
        """``metric`` (as in ``val/mIoU``) of the ``last`` or ``best`` checkpoint; NaN where there is none."""
        scores = self.best if checkpoint == "best" else self.last
        return scores.get(of_network(metric, network), math.nan)

    @cached_property
    def _read_config(self) -> tuple[dict[str, Any], str]:
        return _read(read_yaml, self.folder / CONFIG)

    @property
    def config(self) -> dict[str, Any]:
        """The complete config, nested as in ``config.yaml``; empty if that cannot be read. Read on first use."""
        return self._read_config[0]

    @property
    def config_problem(self) -> str:
        """Why ``config`` is empty; empty when it is not."""
        return self._read_config[1]

    @cached_property
    def metrics(self) -> dict[str, Curve]:
        """Columns of ``metrics.csv``: name -> (steps, values). Read on first use.

        Empty and non-finite cells are left out, so the columns differ in length; none is empty.
        """
        return _read_metrics(self.folder / METRICS)

    @cached_property
    def confusion(self) -> dict[str, Any]:
        """``confusion.json``: ``step``, ``classes`` (K names), ``val`` and perhaps ``val_teacher``, K x K pixel counts.

        Rows are the truth, columns the prediction. Empty where the file is missing or damaged. Read on first use.
        """
        return _read(read_json, self.folder / CONFUSION)[0]

    @cached_property
    def panels(self) -> dict[str, Any]:
        """``panels/panels.json``: ``classes``, ``palette`` and ``images``; its file names are relative to ``panels/``.

        Empty where the file is missing or damaged. Read on first use.
        """
        return _read(read_json, self.folder / PANELS)[0]


def find_runs(paths: Iterable[Path | str], stages: bool = False) -> list[Run]:
    """The runs at and below ``paths``: run directories, sweep folders, or anything above them.

    A run directory has a ``config.yaml``; nothing below one is searched, and links to folders are not followed.
    Runs that a ``sweep.json`` names and that never started are ``waiting``. Sorted by benchmark, method, seed, age.

    The last stage of a chain stands for the method, and its cost is that of all stages.

    Args:
        paths: folders.
        stages: whether earlier stages of chains count as runs; one that is itself in ``paths`` always does.

    Raises:
        SeglabError: a path is not a folder.
    """
    runs: dict[Path, Run] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise SeglabError(f"{path} is not a folder: give run directories, sweeps, or folders of them")
        for run in _walk(path):
            if stages or run.folder == path or not is_earlier_stage(run.folder):
                runs.setdefault(run.folder.resolve(), run)
    for run in runs.values():
        if before := stages_before(run.folder):
            run.cost = _sum([read_run(folder).cost for folder in before], run.cost)
    _unify_names(list(runs.values()))
    return sorted(runs.values(), key=lambda r: (r.benchmark, r.method.lower(), _order(r.seed), r.changed, r.folder))


def of_network(metric: str, network: str) -> str:
    """``val/mIoU``, ``teacher`` -> ``val_teacher/mIoU``."""
    stage, _, name = metric.partition("/")
    return metric if network == "student" else f"{stage}_{network}/{name}"


def read_run(folder: Path, parameters: Mapping[str, Any] | None = None) -> Run:
    """One run directory; nothing in it can raise an error.

    Args:
        folder: of the run; need not exist.
        parameters: in a sweep, those of a run that has no config yet: they tell its benchmark, method and seed.
    """
    if (folder / CHAIN).is_file():
        with suppress(SeglabError):
            return of_stages(folder, [read_run(folder / stage) for stage in read_stages(folder)])
    run, problem = Run(folder), ""
    summary: dict[str, Any] = {}
    if (folder / SUMMARY).is_file():
        summary, problem = _read(read_json, folder / SUMMARY)
        try:
            run.changed = (folder / SUMMARY).stat().st_mtime
            if not problem:
                _fill(run, summary)
        except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"{SUMMARY} is not that of a run ({type(error).__name__}: {error})"
    elif (folder / CONFIG).is_file() and "model" not in run.config:
        problem = run.config_problem or f"{CONFIG} is not that of a run: it has no model"
    run.status, run.reason = ("broken", problem) if problem else status_of(folder, summary)
    if not run.method or not run.benchmark:
        _identify(run, parameters)
    return run


def of_stages(folder: Path, stages: Sequence[Run]) -> Run:
    """A chain as a run: its first stage that is not finished, or its last one; without the scores of an earlier one."""
    run = next((run for run in stages if run.status != "finished"), stages[-1])
    if run.status == "finished":
        return replace(run, folder=folder)
    told = replace(run, folder=folder, reason=", ".join(filter(None, (f"stage {run.folder.name}", run.reason))))
    return told if run is stages[-1] else replace(told, last={}, best={})


def _walk(path: Path) -> Iterator[Run]:
    unreadable: list[OSError] = []
    for folder, names, files in os.walk(path, onerror=unreadable.append):
        here = Path(folder)
        if CONFIG in files:
            names.clear()
            yield read_run(here)
            continue
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "wandb")
        if MANIFEST in files:
            yield from _not_started(here)
    for error in unreadable:
        place = Path(error.filename)
        yield Run(place, method=place.name, status="broken", reason=f"folder cannot be read ({error.strerror})")


def _sum(before: list[Cost], last: Cost) -> Cost:
    """The cost of all stages of a chain; throughput and device are those of the last."""
    costs = [*before, last]
    return replace(
        last,
        train_seconds=sum(cost.train_seconds for cost in costs),
        wall_seconds=sum(cost.wall_seconds for cost in costs),
        peak_memory_bytes=max(cost.peak_memory_bytes for cost in costs),
    )


def _fill(run: Run, summary: dict[str, Any]) -> None:
    run.benchmark, run.method = str(summary["benchmark"]), str(summary["method"])
    run.seed = _seed(summary.get("seed"))
    if summary["status"] not in STATUSES:
        raise ValueError(f"status {summary['status']!r}")
    run.step, run.steps = int(summary.get("step") or 0), int(summary.get("steps") or 0)
    run.last, run.best = _scores(summary.get("last")), _scores(summary.get("best"))
    for scores, checkpoint in ((run.last, "last"), (run.best, "best")):
        tested = _read(read_json, run.folder / f"test_{checkpoint}.json")[0]
        scores.update(_scores({key: value for key, value in tested.items() if key.startswith("test")}))
    numbers = ("train_seconds", "wall_seconds", "peak_memory_bytes", "images_per_second")
    run.cost = Cost(
        **{name: _number(summary.get(name)) for name in numbers},
        device=str(summary.get("device") or ""),
        world_size=int(summary.get("world_size") or 1),
    )
    run.parameters = int(summary.get("parameters") or 0)
    run.git_revision = str(summary.get("git_revision") or "")
    run.packages = {str(name): str(version) for name, version in (summary.get("packages") or {}).items()}


def _identify(run: Run, parameters: Mapping[str, Any] | None) -> None:
    """Benchmark, method and seed by the config, or by the sweep; by the folders' names if neither says."""
    if parameters is not None:
        for name in ("benchmark", "method"):
            file = Path(str(parameters.get(f"config.{name}") or parameters.get("chain", ""))).stem
            setattr(run, name, getattr(run, name) or str(parameters.get(name) or file))
        if (labeled := str(parameters.get("data.labeled", "all"))) != "all" and "@" not in run.benchmark:
            run.benchmark += f"@{split_name(labeled)}"
        run.seed = _seed(parameters.get("seed_everything"))
        return
    config = run.config
    parts = [config.get("model"), *(config.get("additions") or [])]
    paths = [str(part.get("class_path") or "") for part in parts if isinstance(part, dict)]
    classes = "+".join(path.rpartition(".")[2] for path in paths)
    names = ("", "", *run.folder.resolve().parts)
    run.benchmark = run.benchmark or str(config.get("benchmark") or names[-3])
    run.method = run.method or str(config.get("method") or classes or names[-2])
    run.seed = _seed(config.get("seed_everything")) if run.seed is None else run.seed


def _not_started(sweep: Path) -> Iterator[Run]:
    """Runs of a sweep that have no config: they wait, or died before they could write one."""
    try:
        runs = read_manifest(sweep)
    except SeglabError as error:
        yield Run(sweep, method=sweep.name, status="broken", reason=str(error).replace(f"{sweep}/", ""))
        return
    for name, parameters in runs.items():
        if not any((sweep / name / file).is_file() for file in (CONFIG, CHAIN)):
            yield read_run(sweep / name, parameters if isinstance(parameters, dict) else {})


def _unify_names(runs: list[Run]) -> None:
    """A waiting run is known by its method file, ``mean_teacher``: give it the name that the started ones have."""
    known = {_bare(run.method): run.method for run in runs if run.changed}
    for run in runs:
        if not run.changed:
            run.method = known.get(_bare(run.method), run.method)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _order(seed: int | None) -> float:
    return math.inf if seed is None else seed


def _seed(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _scores(part: Any) -> Scores:
    return {str(key): _number(value) for key, value in (part or {}).items()}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _read(read: Callable[[Path], Any], path: Path) -> tuple[dict[str, Any], str]:
    """Content, or nothing and the reason."""
    try:
        content = read(path)
    except SeglabError as error:
        return {}, str(error).replace(str(path), path.name)
    return (content, "") if isinstance(content, dict) else ({}, f"{path.name} holds no keys")


def _read_metrics(path: Path) -> dict[str, Curve]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    whole = text[: text.rfind("\n") + 1]  # a line without its end is being written, its last number may be cut
    rows = csv.reader(whole.replace("\0", "").splitlines())
    names = next(rows, [])
    if "step" not in names:
        return {}
    at = names.index("step")
    found: dict[str, Curve] = {name: ([], []) for name in names if name not in ("step", "epoch")}
    for row in rows:
        step = _parsed(row[at]) if len(row) == len(names) else math.nan
        if not math.isfinite(step):
            continue
        for name, cell in zip(names, row, strict=True):
            if name in found and cell and math.isfinite(value := _parsed(cell)):
                found[name][0].append(int(step))
                found[name][1].append(value)
    return {name: curve for name, curve in found.items() if curve[0]}


def _parsed(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
