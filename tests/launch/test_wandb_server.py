"""The command lines of ``wandb agent``, by W&B's own functions, and what they mean to us."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from probes import EXPERIMENTS

from seglab.cli import main
from seglab.cli.config import check
from seglab.launch.sweep import SweepRun, read_sweep
from seglab.runs.arguments import expand_run

utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")

AWKWARD: dict[str, Any] = {
    "trainer.max_time": None, "trainer.enable_progress_bar": False, "optimizer.lr": 1e-5, "optimizer.betas": [0.8, 0.9],
    "data.crop": [32, 48], "data.root": "/a place/with spaces", "data.labeled": "1/8", "trainer.devices": 2,
    "network.encoder": "resnet18", "network": str(EXPERIMENTS / "network/tiny.yaml"), "model.threshold": "1e-1",
}  # fmt: skip


def agent_command(sweep: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """What ``wandb agent`` executes; the server sorts parameters by name."""
    values = {"args": {name: {"value": parameters[name]} for name in sorted(parameters)}}
    macros = {**utils.create_sweep_command_args(values), "env": ["/usr/bin/env"], "program": [sweep["program"]]}
    words = []
    for part in utils.create_sweep_command(list(sweep["command"])):
        words += macros[part[2:-1]] if part.startswith("${") else [part]
    return words


OF_RUNS = [path for path in sorted((EXPERIMENTS / "sweeps").glob("*.yaml")) if "seglab, fit" in path.read_text()]


@pytest.mark.parametrize("file", OF_RUNS, ids=lambda path: path.stem)
def test_an_agent_runs_what_we_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXPERIMENTS.parent)
    sweep = utils.load_sweep_config(str(file))
    runs = read_sweep(file)
    for run in runs:
        assert agent_command(sweep, run.parameters) == ["/usr/bin/env", *run.command]
    check(runs[-1].arguments)


def test_values_mean_the_same_to_an_agent_and_to_a_config_file(tmp_path: Path) -> None:
    files = {
        "config.benchmark": str(EXPERIMENTS / "benchmark/camvid.yaml"),
        "config.method": str(EXPERIMENTS / "method/fixmatch.yaml"),
    }
    sweep = {
        "program": "seglab", "command": ["${env}", "seglab", "fit", "${args}"], "method": "grid",
        "parameters": {name: {"value": value} for name, value in (AWKWARD | files).items()},
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    (run,) = read_sweep(path)
    words = agent_command(sweep, run.parameters)
    assert words == ["/usr/bin/env", *run.command]
    config = check(words[2:])
    assert config.trainer.max_time is None
    assert config.trainer.enable_progress_bar is False
    assert config.trainer.devices in (2, "2")
    assert config.optimizer.init_args.lr == 1e-5
    assert tuple(config.optimizer.init_args.betas) == (0.8, 0.9)
    assert config.data.init_args.crop in ([32, 48], (32, 48))
    assert config.data.init_args.root == "/a place/with spaces"
    assert config.network.init_args.encoder == "resnet18", "a key of the network wins over its file, in any order"
    assert config.model.init_args.threshold == 0.1
    assert check(run.arguments).trainer.devices == config.trainer.devices


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (["--jobs", "2"], {}, "--jobs means nothing"),
        ([], {"WANDB_MODE": "offline"}, "WANDB_MODE is offline"),
        ([], {"WANDB_MODE": "online", "HOME": "/nowhere", "NETRC": "/nowhere"}, "wandb login"),
    ],
)
def test_what_a_server_needs_is_said(
    flags: list[str],
    environment: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(EXPERIMENTS.parent)
    path = tmp_path / "one.yaml"
    parameters = {
        "config.benchmark": {"value": "experiments/benchmark/camvid.yaml"},
        "config.method": {"value": "experiments/method/fixmatch.yaml"},
    }
    path.write_text(yaml.safe_dump({"method": "grid", "parameters": parameters}))
    assert main(["sweep", str(path), "--launcher", "wandb", *flags]) == 1
    assert message in capfd.readouterr().err


def test_a_multi_gpu_run_starts_as_any_other(tmp_path: Path) -> None:
    """Ranks get their config by the command line, never from a W&B run that rank 0 alone has."""
    run = SweepRun("x", {}, ("seglab", "fit", "--config.method=m.yaml", "--trainer.devices=2"))
    assert expand_run(run.arguments) == ["fit", "-c", "m.yaml", "--trainer.devices=2"]
