"""HRDA through the command line: methods train on it and know nothing of it."""

from pathlib import Path

import pytest
import torch
import yaml
from probes import EXPERIMENTS, break_off, column, fit_command, only_run, rows, same, weights

import seglab
from seglab.cli import main


@pytest.fixture
def wrapped(tmp_path: Path) -> list[str]:
    """Flags for HRDA on the tiny network, with an auxiliary head, in crops of 64 x 96."""
    inner = yaml.safe_load((EXPERIMENTS / "network/tiny.yaml").read_text())
    inner["init_args"]["aux_weight"] = 0.4
    settings = {"network": inner, "window": [32, 32], "width": 8}
    file = tmp_path / "hrda.yaml"
    file.write_text(yaml.safe_dump({"class_path": "seglab.networks.HRDA", "init_args": settings}))
    return ["--network", str(file), "--data.crop", "[64,96]"]


@pytest.mark.parametrize(
    ("method", "more"),
    [("daformer", ["-c", str(EXPERIMENTS / "addition/mic.yaml")]), ("advent", []), ("unimatch", []), ("u2pl", [])],
)
def test_trains(method: str, more: list[str], wrapped: list[str], camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command(method, camvid, tmp_path, 2, *wrapped, *more)) == 0
    assert all(torch.isfinite(torch.tensor(column(only_run(tmp_path), "train/loss"))))


def test_resumes_bit_for_bit_is_validated_and_begins_a_next_stage(
    wrapped: list[str], camvid: Path, tmp_path: Path
) -> None:
    assert main(fit_command("daformer", camvid, tmp_path / "whole", 4, *wrapped)) == 0
    broken = fit_command("daformer", camvid, tmp_path / "broken", 4, *wrapped)
    break_off([*broken, "--checkpoint_every", "1"], 2)
    assert main([*broken, "--checkpoint_every", "1", "--ckpt_path", "last"]) == 0
    whole, resumed = only_run(tmp_path / "whole"), only_run(tmp_path / "broken")
    assert same(weights(whole), weights(resumed))
    assert rows(whole) == rows(resumed)
    assert main(["validate", str(whole)]) == 0
    image = torch.rand(1, 3, 90, 120)
    probabilities = seglab.load(whole)(image)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1, 90, 120))
    later = fit_command("dacs", camvid, tmp_path / "later", 2, "--init_from", str(whole), *wrapped)
    assert main(later) == 0
