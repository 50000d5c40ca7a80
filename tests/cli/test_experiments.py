"""Every YAML file under experiments/ parses, instantiates and runs two steps through the real CLI."""

import itertools
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from experiment_flags import FAST, data_flags, small
from layouts import FOLDER
from probes import EXPERIMENTS, FROM_SOURCE, METHODS, ROOT, TEACHERS, only_run, reads

from seglab.cli import main
from seglab.cli.config import check
from seglab.runs.arguments import expand_run
from seglab.runs.directory import folder_of

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
    benchmark = EXPERIMENTS / "benchmark/streets_adaptation.yaml"
    files = ["-c", str(benchmark), "-c", str(EXPERIMENTS / f"method/{method}.yaml")]
    flags = data_flags(yaml.safe_load(benchmark.read_text())["data"], roots)
    flags += TEACHERS.get(method, [])
    if "outside" in reads(method):
        flags += ["--data.target.outside", str(roots["GTA5"] / "images")]
    if method in FROM_SOURCE:
        before = ["-c", str(benchmark), "-c", str(EXPERIMENTS / "method/supervised.yaml"), *FAST, *flags]
        assert main(["fit", *before, "--run_dir", str(tmp_path / "before")]) == 0
        flags += ["--init_from", str(tmp_path / "before")]
    assert main(["fit", *files, *FAST, *flags, "--runs", str(tmp_path)]) == 0


@pytest.mark.parametrize("schedule", sorted((EXPERIMENTS / "schedule").glob("*.yaml")), ids=lambda path: path.stem)
def test_schedule(schedule: Path, camvid: Path, tmp_path: Path) -> None:
    files = ["-c", str(EXPERIMENTS / "benchmark/camvid.yaml"), "-c", str(EXPERIMENTS / "method/supervised.yaml")]
    flags = ["--trainer", str(schedule), *FAST, *small("data", camvid), "--runs", str(tmp_path)]
    assert main(["fit", *files, *flags]) == 0


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_every_method_is_a_name_on_every_benchmark(benchmark: Path) -> None:
    for method in METHODS:
        words = expand_run(["fit", benchmark.stem, method])
        files = [Path(after) for word, after in itertools.pairwise(words) if word == "-c"]
        assert [file.resolve() for file in files] == [benchmark, EXPERIMENTS / f"method/{method}.yaml"]


def test_names_are_the_two_files(camvid: Path) -> None:
    flags = ["--data.labeled", "1/2", "--data.root", str(camvid), "--network", "tiny", "--trainer", "300"]
    config = check(["fit", "camvid", "fixmatch", "mic", *flags])
    assert (config.benchmark, config.model.class_path) == ("camvid@1/2", "seglab.methods.FixMatch")
    assert [part.class_path for part in config.additions] == ["seglab.methods.MIC"]
    assert config.trainer.max_steps == 300
    assert (
        config.network.init_args.encoder
        == yaml.safe_load((EXPERIMENTS / "network/tiny.yaml").read_text())["init_args"]["encoder"]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["camvd", "fixmatch"], "the nearest are camvid"),
        (["camvid", "fixmach"], "the nearest are fixmatch"),
        (["camvid_1_8", "fixmatch"], "`camvid --data.labeled 1/8`"),
        (["-c", "experiments/benchmark/streets_full.yaml"], "`streets --data.labeled all`"),
        (["-c", "experiments/benchmark/voc_183.yaml"], "`voc --data.labeled 183`"),
    ],
)
def test_a_wrong_name_is_told_the_right_one(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *words]) == 1
    assert message in capsys.readouterr().err


def test_the_split_is_part_of_the_benchmarks_name(tmp_path: Path) -> None:
    lists = tmp_path / "1_8" / "labeled.txt"
    for labeled, name in (("1/16", "camvid@1/16"), ("46", "camvid@46"), (str(lists), "camvid@1_8/labeled")):
        assert expand_run(["fit", "camvid", "fixmatch", "--data.labeled", labeled])[-1] == f"--benchmark={name}"
    assert not any("--benchmark" in word for word in expand_run(["fit", "camvid", "fixmatch", "--data.labeled=all"]))
    (tmp_path / "config.yaml").write_text("benchmark: camvid@1/8\ndata: {init_args: {labeled: 1/4}}\n")
    assert expand_run(["fit", "-c", str(tmp_path / "config.yaml")])[-1] == "--benchmark=camvid@1/4"
    assert folder_of("runs", "camvid@1/8", "UniMatch") == Path("runs/camvid@1_8/unimatch")


def test_experiments_are_installed(tmp_path: Path) -> None:
    """A wheel has every YAML file once, so that names work without a checkout."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, tree)
    ignore = shutil.ignore_patterns("__pycache__", "pictures", "bench", "render_streets")
    for part in ("seglab", "experiments"):
        shutil.copytree(ROOT / part, tree / part, ignore=ignore)
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    yaml_files = {f"seglab/{path.relative_to(ROOT).as_posix()}" for path in EXPERIMENTS.glob("*/*.yaml")}
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("seglab/**/*.py")}
    assert yaml_files | modules <= held
    assert len([name for name in held if "/experiments/" in name]) == len(yaml_files)


def test_own_folder(folder: Path, tmp_path: Path) -> None:
    section = {"class_path": "Folder", "init_args": FOLDER | {"root": str(folder)}}
    own = tmp_path / "mine.yaml"
    own.write_text(yaml.safe_dump({"benchmark": "mine", "data": section}))
    files = ["-c", str(EXPERIMENTS / "benchmark/camvid.yaml"), "-c", str(own)]
    method = ["-c", str(EXPERIMENTS / "method/fixmatch.yaml")]
    flags = [*FAST, "--data.crop=[32,48]", "--data.workers=0", "--runs", str(tmp_path / "runs")]
    assert main(["fit", *files, *method, *flags]) == 0
