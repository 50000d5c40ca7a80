"""Every YAML file under experiments/ parses, instantiates and runs two steps through the real CLI."""

from pathlib import Path

import pytest
import yaml
from layouts import FOLDER, write_camvid
from probes import EXPERIMENTS, METHODS, only_run

from seglab.cli import main

FAST = [
    *("--network", str(EXPERIMENTS / "network/tiny.yaml")),
    *("--trainer.max_steps", "2", "--trainer.accelerator", "cpu"),
]
BENCHMARKS = sorted((EXPERIMENTS / "benchmark").glob("*.yaml"))
SMALL = {"workers": 0, "crop": "[32,48]", "labeled_batch": 2, "unlabeled_batch": 2, "labeled": "1/2"}


def small(prefix: str, root: Path) -> list[str]:
    return [f"--{prefix}.root={root}", *(f"--{prefix}.{key}={value}" for key, value in SMALL.items())]


def data_flags(section: dict, roots: dict[str, Path], prefix: str = "data") -> list[str]:
    """Flags that point a data section at tiny data sets."""
    if section["class_path"] == "DomainAdaptation":
        parts = section["init_args"]
        return [f for name in ("source", "target") for f in data_flags(parts[name], roots, f"{prefix}.{name}")]
    return small(prefix, roots["sequences" if "sequences" in section["init_args"] else section["class_path"]])


@pytest.fixture(scope="module")
def roots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    names = {
        "CamVid": "camvid", "Cityscapes": "cityscapes", "GTA5": "gta5", "Folder": "folder", "SYNTHIA": "synthia",
        "VOC": "voc", "ACDC": "acdc", "DarkZurich": "dark_zurich",
    }  # fmt: skip
    days = write_camvid(tmp_path_factory.mktemp("sequences"), 24, sequences=("0001TP", "0006R0", "0016E5"))
    return {name: request.getfixturevalue(fixture) for name, fixture in names.items()} | {"sequences": days}


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
