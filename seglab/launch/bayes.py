"""``method: bayes`` without a server: Optuna proposes runs and remembers them in the sweep's folder."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seglab.launch.directory import write_manifest
from seglab.launch.draws import distribution
from seglab.launch.sweep import SweepRun, read_file, run_of
from seglab.runs.reading import Run
from seglab.types import SeglabError

JOURNAL = "study.log"


class Search:
    """Proposes runs by Optuna's TPE from the scores of finished ones; goes on with the study that the folder holds.

    A proposed run counts until it is finished: one that was killed or failed is taken up again by the next call.

    Args:
        path: sweep file. ``metric: {name, goal}`` names a score of a run's last validation.
        folder: of the sweep; the study is kept in it.
        seed: of the proposals.

    Raises:
        SeglabError: Optuna is not installed, or the file lacks or has what a search needs or cannot have.
    """

    def __init__(self, path: Path, folder: Path, seed: int) -> None:
        self.path, self.folder, self.sweep = path, folder, read_file(path)
        self.total = int(self.sweep.get("run_cap") or 0)
        if not self.total:
            raise SeglabError(f"{path}: method bayes proposes without end: give run_cap, the number of runs")
        if "early_terminate" in self.sweep:
            raise SeglabError(f"{path}: early_terminate needs W&B's server: use --launcher wandb or leave it out")
        metric = self.sweep.get("metric")
        if not isinstance(metric, dict) or not str(metric.get("name", "")).startswith("val"):
            raise SeglabError(f"{path}: method bayes needs a score: `metric: {{name: val/mIoU, goal: maximize}}`")
        self.metric, goal = metric["name"], metric.get("goal", "minimize")
        if goal not in ("minimize", "maximize"):
            raise SeglabError(f"{path}: metric goal {goal!r}: give minimize or maximize")
        try:
            import optuna
        except ModuleNotFoundError:
            raise SeglabError(
                'method bayes on this machine needs the package optuna: pip install "seglab[bayes]"; '
                "or use --launcher wandb"
            ) from None
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        states = optuna.trial.TrialState
        self.open, self.finished, self.failed = states.RUNNING, states.COMPLETE, states.FAIL
        self.distributions = {
            name: _distribution(path, name, spec)
            for name, spec in self.sweep["parameters"].items()
            if "value" not in spec
        }
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        write_manifest(folder, [])
        journal = str(folder / JOURNAL)
        storage = optuna.storages.JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))
        self.study = optuna.create_study(storage=storage, study_name="sweep", direction=goal, load_if_exists=True)
        if any(trial.distributions != self.distributions for trial in self.study.trials):
            raise SeglabError(f"{folder} holds a search over other parameters than {path}: choose another --dir")
        # the seed moves on with the study: a search that goes on must not repeat its first proposals
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials))
        self.trials: dict[str, int] = {}

    def runs(self) -> Iterator[SweepRun]:
        """Runs that an earlier call left unfinished, then new ones until there are ``run_cap``."""
        known = self.study.get_trials(deepcopy=False, states=(self.open, self.finished))
        for trial in sorted(known, key=lambda trial: trial.state == self.open):
            yield self._run(trial.number, trial.params)
        for _ in range(len(self.study.trials), self.total):
            asked = self.study.ask(self.distributions)
            run = self._run(asked.number, asked.params)
            if self.trials[run.name] != asked.number:  # a small space: these values had their turn
                self.study.tell(asked.number, state=self.failed)
            else:
                yield run

    def ended(self, run: SweepRun, state: Run) -> None:
        """Learn from a finished run.

        Raises:
            SeglabError: it has no such score.
        """
        number = self.trials[run.name]
        if state.status != "finished" or self.study.trials[number].state != self.open:
            return
        if self.metric not in state.last:
            raise SeglabError(f"{self.path}: runs have no score {self.metric}; they have {', '.join(state.last)}")
        score = state.last[self.metric]
        worst = -math.inf if self.study.direction.name == "MAXIMIZE" else math.inf
        self.study.tell(number, worst if math.isnan(score) else score)

    def _run(self, number: int, encoded: Mapping[str, Any]) -> SweepRun:
        parameters = self.sweep["parameters"]
        values = {
            name: spec["value"] if "value" in spec else json.loads(encoded[name]) if "values" in spec else encoded[name]
            for name, spec in parameters.items()
        }
        run = run_of(self.path, self.sweep, values, list(self.distributions))
        self.trials.setdefault(run.name, number)
        return run


def _distribution(path: Path, name: str, spec: Mapping[str, Any]) -> Any:
    """Optuna's distribution of a parameter; listed values are encoded, as it takes no lists among them.

    Raises:
        SeglabError: it cannot be searched.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "values" in spec:
        return CategoricalDistribution([json.dumps(value) for value in spec["values"]])
    kind = distribution(spec)
    try:
        low, high = spec["min"], spec["max"]
        if kind == "int_uniform":
            return IntDistribution(low, high)
        if kind == "uniform":
            return FloatDistribution(low, high)
        if kind == "q_uniform":
            return FloatDistribution(low, high, step=spec.get("q", 1))
        if kind == "log_uniform_values":
            return FloatDistribution(low, high, log=True)
        if kind == "log_uniform":
            return FloatDistribution(math.exp(low), math.exp(high), log=True)
    except (KeyError, ValueError, TypeError) as error:
        raise SeglabError(f"{path}: parameter {name}: cannot search {dict(spec)} ({error!r})") from error
    raise SeglabError(
        f"{path}: parameter {name}: method bayes on this machine searches values, uniform, int_uniform, q_uniform, "
        f"log_uniform and log_uniform_values, not {kind}"
    )
