"""Wrong configs: each error is one line with the full key, where it stands, and what is near."""

from pathlib import Path

import pytest
import yaml
from probes import EXPERIMENTS, fit_command

from seglab.cli import main

TINY = EXPERIMENTS / "network/tiny.yaml"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--model", "FixMach"], ["model is FixMach", "FixMatch"]),
        (["--model.treshold", "0.9"], ["model.treshold", "flag --model.treshold", "model.threshold"]),
        (["--model.threshold", "high"], ["model.threshold", "flag --model.threshold", "float"]),
        (["--trainer.accelerator", "os.system"], ["trainer", "os.system", "cpu"]),
        (["--trainer.accelerator", "tpu"], ["trainer", "torch_xla"]),
        (["--trainer.precision", "7"], ["trainer.precision is 7 (flag", "choose one of 64, 32", "bf16-mixed"]),
        (["--network.train_norms", "some"], ["train_norms is some (flag", "choose one of all, affine_fixed, frozen"]),
        (["--trainer.max_step", "3"], ["trainer.max_step", "trainer.max_steps"]),
        (["--optimiser.lr", "1"], ["optimiser", "optimizer"]),
        (["--optimizer", "SDG"], ["optimizer is SDG", "SGD"]),
        (["--network", "nowhere.yaml"], ["network is nowhere.yaml", "no such file"]),
        (["-c", str(TINY)], [str(TINY), "--network"]),
        (["--additions", "[Mix]"], ["additions is Mix", "MIC"]),
        (["--evaluation", "Slide"], ["evaluation lacks window"]),
    ],
)
def test_a_wrong_flag(
    flags: list[str], told: list[str], camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command("fixmatch", camvid, tmp_path, 2, *flags)) == 1
    _one_line(capsys.readouterr().err, told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model:\n  init_args:\n    treshold: 0.5\n", ["model.treshold", "line 3", "model.threshold"]),
        ("trainer:\n  max_step: 3\n", ["trainer.max_step", "line 2", "trainer.max_steps"]),
        ("# a\nschedule:\n  power: strong\n", ["schedule.power", "line 3", "float"]),
        ("optimizer: null\n", ["optimizer", "line 1"]),
    ],
)
def test_a_wrong_key_of_a_file(
    text: str, told: list[str], camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert main(fit_command("fixmatch", camvid, tmp_path, 2, "-c", str(file))) == 1
    _one_line(capsys.readouterr().err, [str(file), *told])


def test_a_benchmark_without_an_optimizer(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load((EXPERIMENTS / "benchmark/camvid.yaml").read_text())
    del content["optimizer"]
    content["network"], content["trainer"] = str(TINY), {"max_steps": 2}
    file = tmp_path / "benchmark.yaml"
    file.write_text(yaml.safe_dump(content))
    assert main(["fit", "-c", str(file), "-c", str(EXPERIMENTS / "method/fixmatch.yaml")]) == 1
    _one_line(capsys.readouterr().err, ["the config has no optimizer", "seglab list benchmarks"])


def _one_line(error: str, told: list[str]) -> None:
    lines = [line for line in error.splitlines() if not line.startswith("seglab: note")]
    assert len(lines) == 1, error
    assert all(word in lines[0] for word in told), error
