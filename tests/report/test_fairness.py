"""Configs that differ in more than method and seed."""

from pathlib import Path
from typing import Any

from fake_runs import write_run

from seglab.report.comparison import Comparison, compare
from seglab.runs.reading import find_runs


def compared(folder: Path, **options: Any) -> Comparison:
    return compare(find_runs([folder]), **options)


def write(folder: Path, method: str, seed: int, config: dict[str, Any] | None = None, **options: Any) -> None:
    write_run(folder / f"{method}-{seed}", method, seed, 0.4, teacher=False, config=config, **options)


def test_method_seed_and_place_may_differ(tmp_path: Path) -> None:
    for method in ("Supervised", "FixMatch"):
        for seed in (1, 2):
            places = {"data.init_args.root": f"/data/{seed}", "data.init_args.workers": seed, "trainer.devices": seed}
            write(tmp_path, method, seed, {**places, "additions": [method], "method": method})
    found = compared(tmp_path)
    assert (found.deviations, found.notes) == ([], [])


def test_another_schedule_is_unfair_and_named(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write(tmp_path, "Supervised", seed)
        write(tmp_path, "FixMatch", seed, {"optimizer.init_args.lr": 0.001} if seed > 1 else None)
    found = compared(tmp_path)
    (deviation,) = found.deviations
    assert (deviation.benchmark, deviation.label) == ("streets_1_64", "FixMatch")
    assert [run.seed for run in deviation.runs] == [2, 3]
    assert deviation.keys == {"optimizer.init_args.lr": (0.001, 0.0003)}
    assert [found.deviates(row) for row in found.rows] == [row.label == "FixMatch" for row in found.rows]


def test_hyper_parameters_are_compared_within_a_method(tmp_path: Path) -> None:
    for seed, threshold in ((1, 0.95), (2, 0.9), (3, 0.95)):
        write(tmp_path, "FixMatch", seed, {"model.init_args.threshold": threshold})
        write(tmp_path, "UniMatch", seed, {"model.init_args.threshold": 0.8})
    (deviation,) = compared(tmp_path).deviations
    assert (deviation.label, [run.seed for run in deviation.runs]) == ("FixMatch", [2])
    assert deviation.keys == {"model.init_args.threshold": (0.9, 0.95)}


def test_a_tie_is_the_baseline_s(tmp_path: Path) -> None:
    write(tmp_path, "Supervised", 1)
    write(tmp_path, "AdvEnt", 1, steps=300)
    (deviation,) = compared(tmp_path).deviations
    assert (deviation.label, deviation.keys) == ("AdvEnt", {"trainer.max_steps": (300, 600)})


def test_each_benchmark_has_its_own_norm_and_by_may_differ(tmp_path: Path) -> None:
    write(tmp_path / "a", "Supervised", 1)
    write(tmp_path / "b", "Supervised", 1, {"trainer.precision": "32-true"}, benchmark="other")
    assert compared(tmp_path).deviations == []
    write(tmp_path / "c", "Supervised", 2, {"trainer.precision": "16-mixed"})
    assert len(compared(tmp_path).deviations) == 1
    assert compared(tmp_path, by=["precision"]).deviations == []


def test_code_packages_devices_and_classes_that_differ_are_noted(tmp_path: Path) -> None:
    write(tmp_path, "Supervised", 1)
    write(tmp_path, "Supervised", 2, summary={"packages": {"torch": "2.7.0"}}, classes=("road",))
    write(tmp_path, "FixMatch", 1, summary={"git_revision": "abc+", "device": "cpu (1 threads)"})
    notes = "\n".join(compared(tmp_path).notes)
    assert "runs differ in git revision: 0945438406ab (2 runs), abc+ (1 run)" in notes
    assert "runs differ in device (costs do not compare): 1 x NVIDIA A100-SXM4-80GB (2 runs), 1 x cpu" in notes
    assert "runs differ in version of torch: 2.6.0 (2 runs), 2.7.0 (1 run)" in notes
    assert "1: road (1 run)" in notes


def test_a_config_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    write(tmp_path, "Supervised", 1)
    write(tmp_path, "Supervised", 2)
    (tmp_path / "Supervised-2/config.yaml").write_text("a: [")
    found = compared(tmp_path)
    assert found.deviations == []
    assert any("Supervised-2: config.yaml is not valid YAML" in note for note in found.notes)
