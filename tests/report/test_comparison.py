"""Which runs count, what they are compared to, and what is said about the rest."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_run

from seglab.report.comparison import Comparison, Row, available_metrics, compare
from seglab.runs.reading import find_runs
from seglab.types import SeglabError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write ``<benchmark>/<method>/<name>`` whose last and best scores are given."""

    def _write(method: str, seed: int | None, score: float | None, name: str = "", **options: Any) -> Path:
        place = tmp_path / options.get("benchmark", "b") / method / (name or f"s{seed}")
        scores = {"step": 600, "val/mIoU": score, "val/IoU/road": score, "val/IoU/sky": score}
        summary = {"last": scores, "best": scores} | options.pop("summary", {})
        options = {"benchmark": "b", "teacher": False, **options}
        return write_run(place, method, seed, classes=("road", "sky"), summary=summary, **options)

    return _write


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Comparison]:
    return lambda **options: compare(find_runs([tmp_path]), **options)


def row(comparison: Comparison, label: str) -> Row:
    (found,) = [row for row in comparison.rows if row.label == label]
    return found


Compared = Callable[..., Comparison]
LAST = ("student", "last")


def test_methods_are_ranked_and_compared_to_supervised(write: Write, compared: Compared) -> None:
    for seed, (base, better, worse) in enumerate([(0.40, 0.50, 0.41), (0.42, 0.53, 0.40), (0.44, 0.56, 0.44)], 1):
        write("Supervised", seed, base)
        write("FixMatch", seed, better)
        write("CPS", seed, worse)
    found = compared()
    assert [row.label for row in found.rows] == ["FixMatch", "Supervised", "CPS"]
    assert (found.baseline, found.incomplete, found.deviations, found.notes) == ("Supervised", [], [], [])
    score = row(found, "FixMatch").scores[LAST]
    assert score.estimate.mean == pytest.approx(0.53)
    assert score.estimate.std == pytest.approx(0.03)
    assert score.difference.mean == pytest.approx(0.11)  # type: ignore[union-attr]  # 0.10, 0.11, 0.12
    assert score.difference.half_width == pytest.approx(4.302653 * 0.01 / 3**0.5, abs=1e-7)  # type: ignore[union-attr]
    assert (score.leads, score.unpaired) == (True, ())
    assert row(found, "Supervised").scores[LAST].difference is None
    assert not row(found, "CPS").scores[LAST].difference.excludes_zero  # type: ignore[union-attr]


def test_missing_seeds_are_left_out_of_the_difference_and_named(write: Write, compared: Compared) -> None:
    for seed in (1, 2, 3):
        write("Supervised", seed, 0.4 + seed / 100)
    for seed in (2, 3, 7):
        write("FixMatch", seed, 0.5 + seed / 100)
    found = compared()
    score = row(found, "FixMatch").scores[LAST]
    assert (score.estimate.n, score.difference.n, score.unpaired) == (3, 2, (1, 7))  # type: ignore[union-attr]
    assert found.notes == ["b: FixMatch: seed 7 only here; seed 1 only of the baseline; pairs in the difference: 2"]


def test_nan_runs_are_left_out_and_listed(write: Write, compared: Compared) -> None:
    write("Supervised", 1, 0.4)
    write("Supervised", 2, None)
    found = compared(checkpoints=("last",))
    assert row(found, "Supervised").scores[LAST].values == {1: 0.4}
    assert found.notes == ["b: Supervised: no value of val/mIoU at the last checkpoint: seed 2 left out of its mean"]


def test_unfinished_runs_do_not_count(write: Write, compared: Compared) -> None:
    write("Supervised", 1, 0.4)
    write("Supervised", 2, 0.9, status="failed")
    write("FixMatch", 1, 0.9, status="running")
    found = compared()
    assert [row.label for row in found.rows] == ["Supervised"]
    assert [(run.method, run.seed) for run, _ in found.incomplete] == [("FixMatch", 1), ("Supervised", 2)]
    assert "last sign of life" in found.incomplete[0][1]


def test_of_repeated_runs_the_newest_finished_one_counts(write: Write, compared: Compared) -> None:
    folders = [
        write("Supervised", 1, 0.1, "old"),
        write("Supervised", 1, 0.2, "new"),
        write("Supervised", 1, 0.3, "newest", status="failed"),
    ]
    for age, folder in enumerate(folders):
        os.utime(folder / "summary.json", (1000 + age, 1000 + age))
    found = compared()
    assert row(found, "Supervised").scores[LAST].values == {1: 0.2}
    reasons = {run.folder.name: reason for run, reason in found.incomplete}
    assert reasons["old"] == "superseded by Supervised/new"
    assert reasons["newest"].startswith("OutOfMemoryError")
    assert reasons["newest"].endswith("; superseded by Supervised/new")


def test_variants_are_named_and_get_rows_with_by(write: Write, compared: Compared) -> None:
    for seed in (1, 2):
        write("Supervised", seed, 0.4)
        for threshold in (0.9, 0.95):
            changed = {"model.init_args.threshold": threshold}
            write("FixMatch", seed, threshold / 2, f"s{seed}-{threshold}", config=changed)
    one = compared()
    assert len(row(one, "FixMatch").runs) == 2
    assert all("--by model.init_args.threshold" in reason for _, reason in one.incomplete)
    found = compared(by=["threshold"])
    assert [row.label for row in found.rows] == ["FixMatch threshold=0.95", "FixMatch threshold=0.9", "Supervised"]
    assert (found.incomplete, found.deviations, found.by) == ([], [], ("model.init_args.threshold",))
    assert row(found, "FixMatch threshold=0.9").scores[LAST].difference.mean == pytest.approx(0.05)  # type: ignore[union-attr]
    against = compared(by=["model.threshold"], baseline="fixmatch threshold=0.9")
    assert row(against, "Supervised").scores[LAST].difference.mean == pytest.approx(-0.05)  # type: ignore[union-attr]


def test_each_variant_is_compared_to_the_baseline_of_its_own_kind(write: Write, compared: Compared) -> None:
    for labeled, base, better in (("1/8", 0.4, 0.5), ("1/4", 0.5, 0.7)):
        changed = {"data.init_args.labeled": labeled}
        write("Supervised", 1, base, labeled.replace("/", "_"), config=changed)
        write("FixMatch", 1, better, labeled.replace("/", "_"), config=changed)
    found = compared(by=["data.labeled"])
    assert row(found, "FixMatch labeled=1/8").scores[LAST].difference.mean == pytest.approx(0.1)  # type: ignore[union-attr]
    assert row(found, "FixMatch labeled=1/4").scores[LAST].difference.mean == pytest.approx(0.2)  # type: ignore[union-attr]
    assert found.deviations == []


def test_a_second_network_is_compared_to_the_baseline_s_student(write: Write, compared: Compared) -> None:
    for seed, gain in ((1, 0.1), (2, 0.2)):
        write("Supervised", seed, 0.4)
        scores = {"step": 1, "val/mIoU": 0.3, "val_teacher/mIoU": 0.4 + gain}
        write("MeanTeacher", seed, 0.3, summary={"last": scores, "best": scores})
    found = compared()
    teacher = row(found, "MeanTeacher").scores["teacher", "last"]
    assert (teacher.versus, teacher.leads) == ("student", True)
    assert teacher.difference.mean == pytest.approx(0.15)  # type: ignore[union-attr]
    assert [row.networks for row in compared(network="student").rows] == [["student"], ["student"]]
    assert [row.networks for row in compared(network="teacher").rows] == [["teacher"], ["student"]]


def test_a_run_without_its_teacher_is_named(write: Write, compared: Compared) -> None:
    scores = {"step": 1, "val/mIoU": 0.3, "val_teacher/mIoU": 0.5}
    write("MeanTeacher", 1, 0.3, summary={"last": scores, "best": scores})
    write("MeanTeacher", 2, 0.3)
    found = compared(checkpoints=("last",), baseline="meanteacher")
    assert row(found, "MeanTeacher").scores["teacher", "last"].values == {1: 0.5}
    assert found.notes == [
        "b: MeanTeacher: no value of val_teacher/mIoU at the last checkpoint: seed 2 left out of its mean"
    ]


def test_benchmarks_do_not_mix(write: Write, compared: Compared) -> None:
    write("Supervised", 1, 0.4)
    write("FixMatch", 1, 0.5)
    write("FixMatch", 1, 0.6, benchmark="städte/1-8")
    found = compared()
    assert found.benchmarks == ["b", "städte/1-8"]
    assert found.rows[-1].scores[LAST].difference is None
    assert "städte/1-8: no finished run of the baseline supervised: no differences" in found.notes


def test_runs_without_a_seed_are_averaged_and_paired_with_none(write: Write, compared: Compared) -> None:
    write("Supervised", None, 0.4, "a")
    write("Supervised", None, 0.6, "b")
    write("FixMatch", None, 0.5, "a")
    found = compared()
    assert row(found, "Supervised").scores[LAST].estimate.mean == pytest.approx(0.5)
    assert row(found, "FixMatch").scores[LAST].difference is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "mIoU"}, r"no run has --metric mIoU: give .*val/mIoU.* by class val/IoU/<class>: road, sky"),
        ({"baseline": "DACS"}, "--baseline DACS has no finished run: give FixMatch, Supervised"),
        ({"by": ["threshhold"]}, "--by threshhold: no config has it"),
        ({"by": ["class_path"]}, "--by class_path: it may be .*model.class_path"),
        ({"network": "ema"}, "--network ema: give student, teacher, all"),
    ],
)
def test_wrong_flags_name_what_there_is(write: Write, compared: Compared, options: dict, message: str) -> None:
    write("Supervised", 1, 0.4)
    write("FixMatch", 1, 0.5)
    with pytest.raises(SeglabError, match=message):
        compared(**options)


def test_nothing_finished_is_no_error(write: Write, compared: Compared) -> None:
    write("Supervised", 1, None, summary={"last": {}, "best": {}}, status="running")
    found = compared()
    assert (found.rows, len(found.incomplete)) == ([], 1)


def test_metrics_are_the_student_s(write: Write, tmp_path: Path) -> None:
    write("Supervised", 1, 0.4)
    assert available_metrics(find_runs([tmp_path])) == ["val/mIoU", "val/IoU/road", "val/IoU/sky"]
