"""Whether runs differ in more than method and seed: what a comparison must not hide."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from seglab.runs.directory import differences, flatten
from seglab.runs.reading import Run

METHOD = ("model", "method", "additions")  # sections that are a method's own
SEED = "seed_everything"


@dataclass(frozen=True)
class Deviation:
    """Runs of one method that were configured unlike the others.

    Attributes:
        benchmark, label: which row of the table they are in.
        runs: they differ in the same way.
        keys: dotted key -> (their value, the usual value); None where a config has no such key.
    """

    benchmark: str
    label: str
    runs: list[Run]
    keys: dict[str, tuple[Any, Any]]


def deviations(rows: Sequence[tuple[str, str, Sequence[Run]]], by: Sequence[str] = ()) -> list[Deviation]:
    """Runs whose config is not the usual one.

    Usual is what most runs of the benchmark have, for the keys of a method (its hyper-parameters) what most runs of
    its row have; the first rows win a tie. Keys that say where a run is executed do not count, nor does the seed.

    Args:
        rows: (benchmark, label, runs) of each row of the table, the baseline's first.
        by: dotted keys that rows are meant to differ in.
    """
    found: list[Deviation] = []
    for benchmark in dict.fromkeys(benchmark for benchmark, _, _ in rows):
        here = [(label, [run for run in runs if run.config]) for name, label, runs in rows if name == benchmark]
        shared = _usual([_part(run, by, lambda key: not is_method(key)) for _, runs in here for run in runs])
        for label, runs in here:
            usual = shared | _usual([_part(run, by, is_method) for run in runs])
            alike: dict[str, Deviation] = {}
            for run in runs:
                keys = {key: (own, norm) for key, (norm, own) in differences(usual, _part(run, by, bool)).items()}
                if keys:
                    alike.setdefault(repr(keys), Deviation(benchmark, label, [], keys)).runs.append(run)
            found += alike.values()
    return found


def surroundings(runs: Sequence[Run]) -> list[str]:
    """What else differs between runs: code, packages, device. A line each."""
    facts: dict[str, Callable[[Run], str]] = {
        "git revision": lambda run: run.git_revision or "unknown",
        "device (costs do not compare)": lambda run: f"{run.cost.world_size} x {run.cost.device or 'unknown'}",
        "classes (means over classes do not compare)": lambda run: _shortened(run.classes),
    }
    for package in sorted({name for run in runs for name in run.packages}):
        facts[f"version of {package}"] = lambda run, name=package: run.packages.get(name, "unknown")  # type: ignore[misc]
    lines = []
    for fact, of in facts.items():
        counts = Counter(value for run in runs if (value := of(run)))
        if len(counts) > 1:
            lines.append(f"{fact}: {', '.join(f'{value} ({_runs(n)})' for value, n in counts.most_common())}")
    return lines


def is_method(key: str) -> bool:
    """Whether a dotted config key belongs to the method, not to the benchmark."""
    return key.partition(".")[0] in METHOD


def _part(run: Run, by: Sequence[str], keep: Callable[[str], bool]) -> dict[str, Any]:
    return {key: value for key, value in flatten(run.config).items() if keep(key) and key != SEED and key not in by}


def _usual(configs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """For each key its most frequent value; of equally frequent ones the first."""
    configs = list(configs)
    usual = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values = {repr(config.get(key)): config.get(key) for config in configs}
        usual[key] = values[Counter(repr(config.get(key)) for config in configs).most_common(1)[0][0]]
    return usual


def _shortened(names: Sequence[str]) -> str:
    shown = names if len(names) < 5 else [*names[:2], "...", names[-1]]
    return f"{len(names)}: {' '.join(shown)}" if names else ""


def _runs(n: int) -> str:
    return f"{n} run" if n == 1 else f"{n} runs"
