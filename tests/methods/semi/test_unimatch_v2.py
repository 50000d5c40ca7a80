"""UniMatch V2 against its formulas, and on the network it is made for: a vision transformer with fixed patches."""

from pathlib import Path

import pytest
import torch
from pointwise import CALM, batch, decoded, method, sharpen
from probes import column, fit_command, only_run, weights
from torch import Tensor

from seglab.cli import main
from seglab.methods import FixMatch, UniMatchV2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains_and_evaluates_a_transformer_with_a_dense_head(precision: str, camvid: Path, tmp_path: Path) -> None:
    network = ["--network", "DPT", "--network.encoder", "test_vit", "--network.weights", "none"]
    evaluation = ["--evaluation", "Whole", "--evaluation.multiple", "16"]
    optimizer = ["--optimizer.lr", "0.001", "--schedule.head_lr_mult", "40"]
    flags = [*network, *evaluation, *optimizer, "--data.crop", "[30,47]", "--trainer.precision", precision]
    assert main(fit_command("unimatch_v2", camvid, tmp_path, 4, *flags)) == 0
    run = only_run(tmp_path)
    assert all(torch.isfinite(torch.tensor(column(run, "train/loss"))))
    assert len(column(run, "val_teacher/mIoU")) == 2
    state = weights(run)
    assert not torch.equal(state["student.encoder.cls_token"], state["teacher.network.encoder.cls_token"])


@pytest.mark.parametrize("average", [True, False])
def test_running_statistics_of_the_teacher_are_averaged_or_copied(average: bool) -> None:
    module = method(UniMatchV2, average_buffers=average)
    assert module.teacher.average_buffers is average
    assert method(UniMatchV2).teacher.average_buffers


def test_with_equal_views_and_all_channels_is_fixmatch() -> None:
    one = decoded(FixMatch, decay=0.99, threshold=0.6, **CALM)
    two = decoded(UniMatchV2, decay=0.99, threshold=0.6, intact=1.0, **CALM)
    for module in (one, two):
        sharpen(module.teacher.network, 5.0)
    fixmatch, unimatch = one.losses(batch()), two.losses(batch())
    assert fixmatch["consistency"] > 0
    torch.testing.assert_close(unimatch["consistency"], fixmatch["consistency"])


def test_shows_each_view_the_channels_that_the_other_lacks() -> None:
    module, data = decoded(UniMatchV2, threshold=0.0, intact=0.0, **CALM), batch()
    seen: list[Tensor] = []
    module.student.decoder.register_forward_hook(lambda part, args, output: seen.append(args[0]))  # type: ignore[union-attr]
    module.losses(data)
    first, second = seen[-1][len(data["labeled"]["image"]) :].chunk(2)
    torch.testing.assert_close(first + second, 2 * module.student.encoder(data["unlabeled"]["image"]))  # type: ignore[operator]
    assert ((first == 0).all((2, 3)) | (second == 0).all((2, 3))).all()
