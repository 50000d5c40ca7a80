"""Every YAML file under experiments/ parses, instantiates and runs two steps through the real CLI."""

from pathlib import Path

import pytest
import yaml
from experiment_flags import FAST, data_flags, small
from layouts import FOLDER
from probes import EXPERIMENTS, METHODS, only_run

from seglab.cli import main

BENCHMARKS = sorted((EXPERIMENTS / "benchmark").glob("*.yaml"))


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmark(benchmark: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    content = yaml.safe_load(benchmark.read_text())
    assert content["benchmark"] == benchmark.stem
    assert benchmark.read_text().startswith("# "), "the first line says what it is: `seglab list` shows it"
    files = ["-c", str(benchmark), "-c", str(EXPERIMENTS / "method/fixmatch.yaml")]
    assert main(["fit", *files, *FAST, *data_flags(content["data"], roots), "--runs", str(tmp_path)]) == 0
    assert only_run(tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_method_adapts_across_domains(method: str, roots: dict[str, Path], tmp_path: Path) -> None:
    benchmark = EXPERIMENTS / "benchmark/streets.yaml"
    files = ["-c", str(benchmark), "-c", str(EXPERIMENTS / f"method/{method}.yaml")]
    flags = data_flags(yaml.safe_load(benchmark.read_text())["data"], roots)
    assert main(["fit", *files, *FAST, *flags, "--runs", str(tmp_path)]) == 0


@pytest.mark.parametrize("schedule", sorted((EXPERIMENTS / "schedule").glob("*.yaml")), ids=lambda path: path.stem)
def test_schedule(schedule: Path, camvid: Path, tmp_path: Path) -> None:
    files = ["-c", str(EXPERIMENTS / "benchmark/camvid_1_8.yaml"), "-c", str(EXPERIMENTS / "method/supervised.yaml")]
    flags = ["--trainer", str(schedule), *FAST, *small("data", camvid), "--runs", str(tmp_path)]
    assert main(["fit", *files, *flags]) == 0


def test_own_folder(folder: Path, tmp_path: Path) -> None:
    section = {"class_path": "Folder", "init_args": FOLDER | {"root": str(folder)}}
    own = tmp_path / "mine.yaml"
    own.write_text(yaml.safe_dump({"benchmark": "mine", "data": section}))
    files = ["-c", str(EXPERIMENTS / "benchmark/camvid_1_8.yaml"), "-c", str(own)]
    method = ["-c", str(EXPERIMENTS / "method/fixmatch.yaml")]
    flags = [*FAST, "--data.crop=[32,48]", "--data.workers=0", "--runs", str(tmp_path / "runs")]
    assert main(["fit", *files, *method, *flags]) == 0
