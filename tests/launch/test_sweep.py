import math
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from probes import EXPERIMENTS

from seglab.cli import main
from seglab.launch.conflicts import refuse_conflicts
from seglab.launch.sweep import SweepRun, launcher_command, read_sweep
from seglab.runs import recipes
from seglab.runs.arguments import expand_run
from seglab.types import SeglabError


def sweep(tmp_path: Path, **content: object) -> list[SweepRun]:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"method": "grid", **content}, sort_keys=False))
    return read_sweep(path)


def test_a_grid_crosses_files_and_seeds_the_last_fastest(tmp_path: Path) -> None:
    parameters = {
        "config.method": {"values": ["a/one.yaml", "a/two.yaml"]},
        "trainer.max_steps": {"value": 7},
        "seed_everything": {"values": [1, 2]},
    }
    runs = sweep(tmp_path, parameters=parameters)
    assert [re.sub("-[0-9a-f]{6}$", "", run.name) for run in runs] == ["one-s1", "one-s2", "two-s1", "two-s2"]
    assert runs[3].arguments == ["fit", "--config.method=a/two.yaml", "--seed_everything=2", "--trainer.max_steps=7"]


def test_a_run_keeps_its_name_when_the_sweep_grows(tmp_path: Path) -> None:
    few = sweep(tmp_path, parameters={"seed_everything": {"values": [1, 2]}, "x": {"value": 3}})
    more = sweep(tmp_path, parameters={"seed_everything": {"values": [1, 2, 3]}, "x": {"value": 3}})
    assert [run.name for run in more][:2] == [run.name for run in few]


def test_random_draws_are_reproducible_and_in_range(tmp_path: Path) -> None:
    parameters = {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
        "n": {"min": 2, "max": 4},
        "q": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
        "c": {"values": ["a", "b"], "probabilities": [0.0, 1.0]},
    }
    runs = sweep(tmp_path, method="random", run_cap=200, parameters=parameters)
    again = sweep(tmp_path, method="random", run_cap=200, parameters=parameters)
    assert runs == again
    logs = [math.log10(run.parameters["lr"]) for run in runs]
    assert -5 <= min(logs) < -4
    assert -2 < max(logs) <= -1
    assert sum(logs) / len(logs) == pytest.approx(-3, abs=0.3)
    assert {run.parameters["n"] for run in runs} == {2, 3, 4}
    assert {run.parameters["q"] for run in runs} == {0, 0.25, 0.5, 0.75, 1}
    assert {run.parameters["c"] for run in runs} == {"b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"parameter": {}}, "unknown key parameter"),
        ({}, "no parameters"),
        ({"parameters": {"x": 3}}, "write `value:"),
        ({"parameters": {"x": {"parameters": {}}}}, "nested"),
        ({"parameters": {"x": {"min": 0, "max": 1}}}, "grid needs"),
        ({"parameters": {"x": {"value": 1}}, "method": "bayes"}, "wandb"),
        ({"parameters": {"x": {"value": 1}}, "method": "rand"}, "grid, random or bayes"),
        ({"parameters": {"x": {"value": 1}}, "method": "random"}, "run_cap"),
        ({"parameters": {"x": {"min": 2, "max": 1}}, "method": "random", "run_cap": 1}, "cannot draw"),
        ({"parameters": {"x": {"distribution": "beta"}}, "method": "random", "run_cap": 1}, "unknown distribution"),
        ({"parameters": {"x": {"value": 1}}, "command": ["python", "${args}"]}, "command must"),
        ({"parameters": {"x": {"value": 1}}, "command": ["seglab", "fit", "${args}", "${nope}"]}, "nope"),
        ({"parameters": {"x": {"value": 1}}, "command": ["${args}", "seglab"]}, "`fit` or `chain` after"),
        ({"parameters": {"x": {"value": 1}}, "command": ["seglab", "fit", "${args}", "${envvar:NOPE}"]}, "NOPE"),
        ({"parameters": {"x": {"value": 1, "vals": 2}}}, "x has vals"),
        ({"parameters": {"x": {"values": 3}}}, "`values` is a list"),
        ({"parameters": {"x": {"min": "1e-5", "max": 1}}, "method": "random", "run_cap": 1}, "write|1.0e-5"),
        ({"parameters": {"x": {"value": 1}}, "early_terminate": {"type": "hyperband"}}, "early_terminate needs"),
        ({"parameters": {"x": {"value": 1}}, "run_cap": 0}, "run_cap 0"),
    ],
)
def test_a_wrong_sweep_file_is_named(content: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match=message):
        sweep(tmp_path, **content)


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("method: grid\nparameters:\n  config: {value: a}\n  config: {value: b}\n")
    with pytest.raises(SeglabError, match="config stands twice"):
        read_sweep(tmp_path / "twice.yaml")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (["${env}", "seglab"], ["PYTHON", "-m", "seglab"]),
        (["${env}", "${interpreter}", "-m", "seglab"], ["PYTHON", "-m", "seglab"]),
        (["python3.11", "-m", "seglab"], ["PYTHON", "-m", "seglab"]),
        (["nice", "-n", "5", "seglab"], ["nice", "-n", "5", "PYTHON", "-m", "seglab"]),
        (["torchrun", "--nproc-per-node", "2", "-m", "seglab"], ["torchrun", "--nproc-per-node", "2", "-m", "seglab"]),
    ],
)
def test_what_stands_before_seglab_stays(before: list[str], expected: list[str], tmp_path: Path) -> None:
    (run,) = sweep(tmp_path, parameters={"x": {"value": 1}}, command=[*before, "fit", "-c", "m.yaml", "${args}"])
    command = [word.replace(sys.executable, "PYTHON") for word in launcher_command(run, Path("r"))]
    assert command == [*expected, "fit", "-c", "m.yaml", "--x=1", "--run_dir=r", "--ckpt_path=last"]


def test_two_methods_or_benchmarks_in_one_run_are_a_conflict(tmp_path: Path) -> None:
    for name, text in {
        "one": "model: {class_path: FixMatch}", "two": "model: {class_path: seglab.methods.CPS}",
        "recipe": "model: {class_path: seglab.methods.FixMatch, init_args: {decay: 0.9}}", "b": "benchmark: b",
        "c": "benchmark: c",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)

    def run(*names: str) -> SweepRun:
        return SweepRun("x", {}, ("seglab", "fit", "-c", str(tmp_path / names[0]), *(
            f"--config.{index}={tmp_path / name}" for index, name in enumerate(names[1:])
        )))  # fmt: skip

    refuse_conflicts(run("b", "one", "recipe"))
    with pytest.raises(SeglabError, match=r"one and \S+two are two methods, FixMatch and CPS"):
        refuse_conflicts(run("b", "one", "two"))
    with pytest.raises(SeglabError, match="two benchmarks, b and c"):
        refuse_conflicts(run("b", "one", "c"))


@pytest.mark.parametrize("file", sorted((EXPERIMENTS / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_file_says_what_it_is_and_names_files_that_exist(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXPERIMENTS.parent)
    assert file.read_text().startswith("# ")
    assert main(["sweep", str(file), "--dry-run"]) == 0
    for line in capsys.readouterr().out.splitlines():
        words = [word for word in shlex.split(line) if word.startswith("--config.")]
        if " chain " in line:
            assert recipes.find(line.partition(" chain ")[2].split()[0], ["chain"]).is_file()
            continue
        assert words
        files = expand_run(["fit", *words])[2::2]
        assert all(Path(name).is_file() for name in files if name.endswith(".yaml")), files
