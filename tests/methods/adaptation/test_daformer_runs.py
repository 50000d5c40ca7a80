"""DAFormer and its feature distance through the command line: its network, MIC, a published encoder when resumed."""

from pathlib import Path

import pytest
import torch
from probes import EXPERIMENTS, break_off, fit_command, only_run, rows, same, weights
from spaces import classes

from seglab.cli import main
from seglab.networks import Segmenter


@pytest.fixture
def published(tmp_path: Path) -> list[str]:
    """Flags for encoder weights from a file, which no seed can repeat."""
    torch.manual_seed(77)
    encoder = Segmenter(classes(3), encoder="tu-test_efficientnet", weights="none").encoder
    torch.save(encoder.state_dict(), tmp_path / "encoder.pt")
    return ["--network.weights", str(tmp_path / "encoder.pt")]


OWN_TERM = ["daformer", "--model.distance_weight", "1.0"]
ADDITION = ["camix", "-c", str(EXPERIMENTS / "addition/feature_distance.yaml")]


@pytest.mark.parametrize("words", [OWN_TERM, ADDITION], ids=lambda words: words[0])
def test_a_resumed_run_still_compares_with_the_published_encoder(
    words: list[str], published: list[str], camvid: Path, tmp_path: Path
) -> None:
    method, *flags = words
    assert main(fit_command(method, camvid, tmp_path / "whole", 4, *flags, *published)) == 0
    broken = fit_command(method, camvid, tmp_path / "broken", 4, *flags, *published)
    break_off([*broken, "--checkpoint_every", "1"], 2)
    assert main([*broken, "--checkpoint_every", "1", "--ckpt_path", "last"]) == 0
    whole, resumed = only_run(tmp_path / "whole"), only_run(tmp_path / "broken")
    assert same(weights(whole), weights(resumed))
    assert [row["train/loss/feature_distance"] for row in rows(whole)] == [
        row["train/loss/feature_distance"] for row in rows(resumed)
    ]


def test_checkpoints_do_not_carry_the_frozen_encoder(published: list[str], camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("daformer", camvid, tmp_path / "runs", 2, *published)) == 0
    run = only_run(tmp_path / "runs")
    assert {key.partition(".")[0] for key in weights(run)} == {"student", "teacher", "pseudo_quality"}
    (tmp_path / "encoder.pt").unlink()
    assert main(["validate", str(run)]) == 0


@pytest.mark.parametrize("method", ["daformer", "cluda"])
def test_on_its_own_network_with_masked_images(method: str, camvid: Path, tmp_path: Path) -> None:
    network = ["--network", str(EXPERIMENTS / "network/daformer_mitb0.yaml"), "--network.weights", "none"]
    small = ["--network.width", "8", "-c", str(EXPERIMENTS / "addition/mic.yaml")]
    assert main(fit_command(method, camvid, tmp_path, 2, *network, *small)) == 0
    assert {"train/loss/masked", "train/loss/mixed"} <= rows(only_run(tmp_path))[0].keys()
