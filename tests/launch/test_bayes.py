"""A search with scores of our own in place of trainings: Optuna, its journal and the sweep's folder are real."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from seglab.launch.sweep import SweepRun
from seglab.runs.reading import Run
from seglab.types import SeglabError

pytest.importorskip("optuna")

SWEEP: dict[str, Any] = {
    "method": "bayes", "metric": {"name": "val/mIoU", "goal": "maximize"}, "run_cap": 24,
    "parameters": {
        "seed_everything": {"value": 3},
        "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
        "data.crop": {"values": [[32, 32], [64, 64]]},
    },
}  # fmt: skip


def search(tmp_path: Path, seed: int = 0, **changes: object) -> Any:
    from seglab.launch.bayes import Search

    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEEP | changes, sort_keys=False))
    return Search(path, tmp_path / "sweep", seed)


def train(tmp_path: Path, run: SweepRun) -> Run:
    """Best at a learning rate of 0.001."""
    folder = tmp_path / "sweep" / run.name
    folder.mkdir()
    score = -abs(math.log10(run.parameters["optimizer.lr"]) + 3)
    return Run(folder, status="finished", last={"step": 9, "val/mIoU": score})


def test_a_search_goes_on_where_it_was_killed_and_comes_closer(tmp_path: Path) -> None:
    first = search(tmp_path)
    before = []
    for run in first.runs():
        before.append(run)
        if len(before) == 6:
            break  # killed while this one runs
        first.ended(run, Run(tmp_path, status="failed") if len(before) == 3 else train(tmp_path, run))
    again = search(tmp_path)
    after = []
    for run in again.runs():
        after.append(run)
        done = (tmp_path / "sweep" / run.name).is_dir()
        again.ended(run, Run(tmp_path, status="finished") if done else train(tmp_path, run))
    assert {run.name for run in before} <= {run.name for run in after}
    assert len(after) == 24
    assert len({run.name for run in after}) == 24, "no proposal is made twice"
    assert [trial.state for trial in again.study.trials] == [again.finished] * 24
    assert {tuple(run.parameters["data.crop"]) for run in after} == {(32, 32), (64, 64)}
    assert all(run.parameters["seed_everything"] == 3 for run in after)

    def distance(runs: list[SweepRun]) -> float:
        return sum(abs(math.log10(run.parameters["optimizer.lr"]) + 3) for run in runs) / len(runs)

    assert distance(after[-10:]) < distance(after[:10])
    with pytest.raises(SeglabError, match="search over other parameters"):
        search(tmp_path, parameters={"optimizer.lr": {"min": 0.0, "max": 1.0}})


def test_a_seed_repeats_a_search(tmp_path: Path) -> None:
    draws = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        draws.append(next(search(tmp_path / name, seed).runs()).parameters)
    assert draws[0] == draws[1] != draws[2]


def test_a_small_space_is_not_searched_twice(tmp_path: Path) -> None:
    one = search(tmp_path, parameters={"seed_everything": {"values": [1, 2]}})
    assert sorted(run.parameters["seed_everything"] for run in one.runs()) == [1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": {"name": "loss"}}, "needs a score"),
        ({"metric": None}, "needs a score"),
        ({"metric": {"name": "val/mIoU", "goal": "max"}}, "minimize or maximize"),
        ({"run_cap": None}, "give run_cap"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate needs"),
        ({"parameters": {"x": {"distribution": "normal"}}}, "cannot search"),
        ({"parameters": {"x": {"distribution": "log_normal", "min": 0, "max": 1}}}, "not log_normal"),
        ({"parameters": {"x": {"min": 2, "max": 1}}}, "cannot search"),
    ],
)
def test_what_cannot_be_searched_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match=message):
        search(tmp_path, **changes)
    assert not (tmp_path / "sweep").exists()


def test_a_score_that_runs_do_not_have_is_named(tmp_path: Path) -> None:
    other = search(tmp_path, metric={"name": "val/mIoU13", "goal": "maximize"})
    run = next(other.runs())
    with pytest.raises(SeglabError, match="no score val/mIoU13; they have step, val/mIoU"):
        other.ended(run, train(tmp_path, run))
