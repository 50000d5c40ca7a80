"""Runs -> rows of a table: which runs count, their means, and their differences to a baseline."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from seglab.report.estimate import Estimate, estimate, paired_difference
from seglab.report.fairness import Deviation, deviations, surroundings
from seglab.runs.directory import differences, flatten
from seglab.runs.reading import Run, of_network
from seglab.types import SeglabError

METRIC = "val/mIoU"
BASELINE = "supervised"
CHECKPOINTS = ("last", "best")
NETWORKS = ("student", "teacher", "all")
Seed = int | str  # a run without a seed goes by its folder and is paired with none


@dataclass(frozen=True)
class Score:
    """The metric of one row, one network and one checkpoint.

    Attributes:
        network: ``student``, ``teacher``, or what a method calls its second network.
        checkpoint: ``last`` or ``best``.
        values: seed -> metric in [0, 1]; runs without a finite value are left out.
        estimate: mean and standard deviation of the values.
        difference: to the baseline, paired by seed; None for the baseline itself and without a common seed.
        versus: the baseline's network in the difference: the same where it has one, else its student.
        unpaired: seeds of either that the other lacks, so that the difference leaves them out.
        leads: whether the mean is the highest of the benchmark for this checkpoint, of all networks shown.
    """

    network: str
    checkpoint: str
    values: dict[Seed, float]
    estimate: Estimate
    difference: Estimate | None = None
    versus: str = ""
    unpaired: tuple[Seed, ...] = ()
    leads: bool = False


@dataclass
class Row:
    """One method on one benchmark, or one variant of it.

    Attributes:
        benchmark, method: the cell.
        variant: dotted key of ``--by`` -> value; empty without ``--by``.
        label: the method and what distinguishes the variant: ``FixMatch threshold=0.9``.
        runs: finished runs that count, one per seed, in the order of seeds.
        networks: those shown, the student first.
        scores: (network, checkpoint) -> score.
        baseline: whether the others of the benchmark are compared to this row.
    """

    benchmark: str
    method: str
    variant: dict[str, Any]
    label: str
    runs: list[Run]
    networks: list[str] = field(default_factory=list)
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)
    baseline: bool = False

    @property
    def seeds(self) -> list[Seed]:
        """Of the runs that count."""
        return [seed_of(run) for run in self.runs]

    def cost(self, quantity: str) -> float:
        """Mean over runs of ``device_hours`` or a number of ``Cost``; the maximum of ``peak_memory_bytes``."""
        values = [getattr(run.cost, quantity) for run in self.runs]
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return math.nan
        return max(finite) if quantity == "peak_memory_bytes" else sum(finite) / len(finite)

    @property
    def device(self) -> str:
        """Where the runs were made, as in ``2 x NVIDIA H100``; several are joined by ``, ``."""
        found = {f"{run.cost.world_size} x {run.cost.device}" if run.cost.device else "" for run in self.runs}
        return ", ".join(sorted(name.removeprefix("1 x ") for name in found if name))


@dataclass
class Comparison:
    """All that a table, a figure or a page says.

    Attributes:
        metric: as logged by the student: ``val/mIoU``.
        by: dotted keys that split a method into rows.
        checkpoints: those shown, ``last`` first.
        rows: by benchmark, in it by falling mean of the first score shown.
        incomplete: runs that do not count, and why: not finished, superseded, no value.
        deviations: runs configured unlike the others of their benchmark or row: the comparison is unfair.
        notes: what else to know: baselines missing, unpaired seeds, differing code, packages and devices. A line each.
    """

    metric: str
    by: tuple[str, ...]
    checkpoints: tuple[str, ...]
    rows: list[Row]
    incomplete: list[tuple[Run, str]]
    deviations: list[Deviation]
    notes: list[str]

    @property
    def benchmarks(self) -> list[str]:
        """Those that have a row."""
        return list(dict.fromkeys(row.benchmark for row in self.rows))

    @property
    def baseline(self) -> str | None:
        """Label of the baseline: the same on all benchmarks but for variants; None if there is none."""
        return next((row.label for row in self.rows if row.baseline), None)

    def of(self, benchmark: str) -> list[Row]:
        """Rows of a benchmark, best first."""
        return [row for row in self.rows if row.benchmark == benchmark]

    def deviates(self, row: Row) -> bool:
        """Whether a run of the row was configured unlike the others."""
        return any((d.benchmark, d.label) == (row.benchmark, row.label) for d in self.deviations)

    def class_scores(self, row: Row, classes: Sequence[str]) -> list[Estimate]:
        """IoU of each class on the metric's part of the data (val or test), of the first network and checkpoint."""
        return [estimate(self._by_seed(row, name)) for name in classes]

    def class_differences(self, row: Row, baseline: Row, classes: Sequence[str]) -> list[Estimate]:
        """As ``class_scores``, minus the baseline's, paired by seed."""
        return [paired_difference(self._by_seed(row, name), self._by_seed(baseline, name)) for name in classes]

    def _by_seed(self, row: Row, name: str) -> dict[Seed, float]:
        key = f"{self.metric.partition('/')[0]}/IoU/{name}"
        return {seed_of(run): run.score(key, self.checkpoints[0], row.networks[0]) for run in row.runs}


def compare(
    runs: Sequence[Run],
    metric: str = METRIC,
    baseline: str = "",
    by: Sequence[str] = (),
    checkpoints: Sequence[str] = CHECKPOINTS,
    network: str = "all",
) -> Comparison:
    """Compare finished runs by their means over seeds.

    Args:
        metric: a score of the student, such as ``val/mIoU`` or ``val/IoU/car``.
        baseline: a method or the label of a row, in any case. Default: ``supervised`` where there is such a method.
        by: config keys (dotted, or their last parts) that split a method into rows of their own.
        checkpoints: some of ``last`` and ``best``.
        network: ``student``, ``all``, or ``teacher``: the teacher (or other second network) of methods that have one,
            the student of those that do not.

    Raises:
        SeglabError: no run has the metric, or the baseline, a key of ``by`` or the network does not exist.
    """
    _check_metric(runs, metric)
    if network not in NETWORKS:
        raise SeglabError(f"--network {network}: give {', '.join(NETWORKS)}")
    keys = tuple(_resolve(key, runs) for key in by)
    rows, left_out = _rows(runs, keys)
    notes = _choose_baseline(rows, baseline)
    for row in rows:
        row.networks = _networks(row, network)
        for name in row.networks:
            for checkpoint in checkpoints:
                values = {seed_of(run): run.score(metric, checkpoint, name) for run in row.runs}
                finite = {seed: value for seed, value in values.items() if math.isfinite(value)}
                row.scores[name, checkpoint] = Score(name, checkpoint, finite, estimate(finite))
                if missing := [seed for seed in values if seed not in finite]:
                    notes.append(
                        f"{row.benchmark}: {row.label}: no value of {of_network(metric, name)} at the {checkpoint} "
                        f"checkpoint: {_named(missing)} left out of its mean"
                    )
    for row in rows:
        row.scores |= {place: _compared(score, row, rows) for place, score in row.scores.items()}
        notes += _pairing(row)
    notes += [f"{run.name}: {run.config_problem}" for row in rows for run in row.runs if run.config_problem]
    rows.sort(key=lambda row: (row.benchmark, -_rank(row)))
    _mark_leaders(rows, checkpoints)
    first = sorted(rows, key=lambda row: not row.baseline)
    unfair = deviations([(row.benchmark, row.label, row.runs) for row in first], keys)
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        counted = [run for row in rows if row.benchmark == benchmark for run in row.runs]
        notes += [f"{benchmark}: runs differ in {line}" for line in surroundings(counted)]
    return Comparison(metric, keys, tuple(checkpoints), rows, left_out, unfair, notes)


def seed_of(run: Run) -> Seed:
    """The seed, or the folder of a run that has none."""
    return str(run.folder) if run.seed is None else run.seed


def seeds_of(runs: Sequence[Run]) -> str:
    """``seeds 1, 2``; the names of runs where one of them has no seed."""
    kind = "run" if any(run.seed is None for run in runs) else "seed"
    names = [run.name if kind == "run" else str(run.seed) for run in runs]
    return f"{kind}{'s' * (len(runs) > 1)} {', '.join(names)}"


def available_metrics(runs: Iterable[Run]) -> list[str]:
    """Scores that some run has, as the student's: ``val/mIoU``."""
    names = dict.fromkeys(name for run in runs for scores in (run.last, run.best) for name in scores)
    return [name for name in names if name.partition("/")[0] in ("val", "test")]


def _check_metric(runs: Sequence[Run], metric: str) -> None:
    found = available_metrics(runs)
    if not found or metric in found:
        return
    whole = [name for name in found if "/IoU/" not in name]
    classes = [name.partition("/IoU/")[2] for name in found if "/IoU/" in name]
    by_class = f", or by class val/IoU/<class>: {', '.join(dict.fromkeys(classes))}" if classes else ""
    raise SeglabError(f"no run has --metric {metric}: give {', '.join(whole)}{by_class}")


def _resolve(key: str, runs: Sequence[Run]) -> str:
    """The full key of a config for one that leaves out its beginning or ``init_args``, as flags do."""
    known = dict.fromkeys(name for run in runs for name in flatten(run.config))
    wanted = f".{_as_flag(key)}"
    found = [key] if key in known else [name for name in known if f".{_as_flag(name)}".endswith(wanted)]
    if len(found) != 1:
        hint = f"it may be {', '.join(found)}" if found else "no config has it; keys are dotted, as in data.labeled"
        raise SeglabError(f"--by {key}: {hint}")
    return found[0]


def _as_flag(key: str) -> str:
    return key.replace(".init_args.", ".")


def _rows(runs: Sequence[Run], by: tuple[str, ...]) -> tuple[list[Row], list[tuple[Run, str]]]:
    """Rows of runs that count, and the other runs with the reason."""
    cells: dict[str, Row] = {}
    seeds: dict[str, dict[Seed, list[Run]]] = {}
    for run in runs:
        flat = flatten(run.config) if by else {}
        variant = {key: flat.get(key) for key in by}
        cell = repr((run.benchmark, run.method, variant))
        cells.setdefault(cell, Row(run.benchmark, run.method, variant, _label(run.method, variant), []))
        seeds.setdefault(cell, {}).setdefault(seed_of(run), []).append(run)
    left_out: list[tuple[Run, str]] = []
    for cell, row in cells.items():
        for repeated in seeds[cell].values():
            *older, chosen = sorted(repeated, key=lambda run: (run.status == "finished", run.changed, run.folder))
            if chosen.status == "finished":
                row.runs.append(chosen)
                left_out += [(run, _superseded(run, chosen)) for run in older]
            else:
                left_out += [(run, run.why) for run in (*older, chosen)]
    return [row for row in cells.values() if row.runs], left_out


def _label(method: str, variant: dict[str, Any]) -> str:
    ends = [key.rpartition(".")[2] for key in variant]
    names = {key: end if ends.count(end) == 1 else _as_flag(key) for key, end in zip(variant, ends, strict=True)}
    return " ".join([method, *(f"{names[key]}={value}" for key, value in variant.items() if value is not None)])


def _superseded(run: Run, chosen: Run) -> str:
    reason = f"superseded by {chosen.name}" if run.status == "finished" else f"{run.why}; superseded by {chosen.name}"
    if changed := differences(run.config, chosen.config) if run.config and chosen.config else {}:
        listed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())
        return f"{reason}, whose config differs: {listed} (--by {','.join(changed)} gives them rows of their own)"
    return reason


def _choose_baseline(rows: Sequence[Row], name: str) -> list[str]:
    """Mark a row of each benchmark, or one per variant, as its baseline; returns notes where there is none."""
    wanted = (name or BASELINE).lower()
    notes = []
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        here = [row for row in rows if row.benchmark == benchmark]
        chosen = [row for row in here if row.label.lower() == wanted] or [
            row for row in here if row.method.lower() == wanted
        ]
        for row in chosen:
            row.baseline = True
        if len(chosen) > 1 and any(_baseline_of(row, here) is None for row in here):
            several = ", ".join(row.label for row in chosen)
            notes.append(f"{benchmark}: several baselines, so some rows have no difference: --baseline takes {several}")
        if not chosen:
            notes.append(f"{benchmark}: no finished run of the baseline {name or BASELINE}: no differences")
    labels = sorted({row.label for row in rows} | {row.method for row in rows})
    if name and rows and not any(row.baseline for row in rows):
        raise SeglabError(f"--baseline {name} has no finished run: give {', '.join(labels)}")
    return notes


def _baseline_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The benchmark's baseline; of several variants the one with the same values of ``--by``."""
    found = [other for other in rows if other.baseline and other.benchmark == row.benchmark]
    alike = [other for other in found if other.variant == row.variant]
    return found[0] if len(found) == 1 else alike[0] if alike else None


def _networks(row: Row, wanted: str) -> list[str]:
    found = list(dict.fromkeys(name for run in row.runs for name in run.networks)) or ["student"]
    found.sort(key=lambda name: name != "student")
    others = found[1:] if found[0] == "student" else found
    return {"student": found[:1], "teacher": others or found, "all": found}[wanted]


def _compared(score: Score, row: Row, rows: Sequence[Row]) -> Score:
    baseline = _baseline_of(row, rows)
    if baseline is None or baseline is row:
        return score
    versus = score.network if score.network in baseline.networks else baseline.networks[0]
    other = baseline.scores[versus, score.checkpoint].values
    difference = paired_difference(score.values, other)
    unpaired = tuple(sorted(score.values.keys() ^ other.keys(), key=str))
    return replace(score, difference=difference if difference.n else None, versus=versus, unpaired=unpaired)


def _pairing(row: Row) -> list[str]:
    """Which seeds the difference leaves out."""
    score = next(iter(row.scores.values()))
    if not score.unpaired:
        return []
    own = [seed for seed in score.unpaired if seed in score.values]
    other = [seed for seed in score.unpaired if seed not in score.values]
    parts = [f"{_named(own)} only here"] if own else []
    parts += [f"{_named(other)} only of the baseline"] if other else []
    common = score.difference.n if score.difference else 0
    return [f"{row.benchmark}: {row.label}: {'; '.join(parts)}; pairs in the difference: {common}"]


def _named(seeds: Sequence[Seed]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _rank(row: Row) -> float:
    means = [score.estimate.mean for score in row.scores.values()]
    return means[0] if means and math.isfinite(means[0]) else -math.inf


def _mark_leaders(rows: Sequence[Row], checkpoints: Sequence[str]) -> None:
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        here = [row for row in rows if row.benchmark == benchmark]
        for checkpoint in checkpoints:
            places = [(row, at) for row in here for at in row.scores if at[1] == checkpoint]
            means = [row.scores[at].estimate.mean for row, at in places]
            top = max((mean for mean in means if math.isfinite(mean)), default=math.nan)
            for row, at in places:
                score = row.scores[at]
                if score.estimate.mean == top and len(here) > 1:
                    row.scores[at] = replace(score, leads=True)
