"""BARM: its card's numbers, what learns and what stays, and a chain of three steps through the command line."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import Pointwise, batch, method
from probes import EXPERIMENTS, column, config, rows, weights
from torch import Tensor

from seglab.cli import main
from seglab.labels import LabelSpace, label_space
from seglab.methods import BARM
from seglab.networks.incremental import unified_background
from seglab.ops.criteria import BinaryCrossEntropy
from seglab.ops.losses import sigmoid_distillation
from seglab.types import Output, SeglabError

SPACE = replace(label_space(["background", "a", "b", "c"]), steps=(2, 1, 1))


class Headed(Pointwise):
    """Features are a linear function of each pixel's colour, and a head makes logits of them."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder = torch.nn.Conv2d(3, 4, 1)
        self.feature_channels = 4

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return self.output(self.head(stages[-1]), stages[-1], stages, size)


def barm(space: LabelSpace = SPACE, residual: float | None = None, **arguments: Any) -> Any:
    module = method(BARM, space=space, network=Headed, **arguments)
    if residual is not None:
        last = module.student.head.outputs[-1]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.constant_(last.bias, residual)
    return module


def test_the_background_of_the_card() -> None:
    """b_0 1.5, past residuals +2 and -1, now +0.5: 1.0 in training, 0.5 in evaluation."""
    logits = [torch.full((1, 2, 1, 1), value, requires_grad=True) for value in (1.5, 2.0, -1.0, 0.5)]
    train = unified_background(logits, training=True)
    assert train.item() == pytest.approx(1.0)
    assert unified_background(logits, training=False).item() == pytest.approx(0.5)
    train.sum().backward()
    assert [x.grad is not None for x in logits] == [False, False, False, True]


def test_the_binary_cross_entropy_of_the_card() -> None:
    """Sum over classes, mean over the labelled pixels."""
    logits = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    assert BinaryCrossEntropy()(logits, torch.tensor([[[0, 255]]])).item() == pytest.approx(1.319671, abs=1e-6)
    assert BinaryCrossEntropy()(logits, torch.full((1, 1, 2), 255)).item() == 0


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (1.0, 0.0), (-1.0, 0.462117)])
def test_the_triplet_of_the_card(value: float, expected: float) -> None:
    data = batch()
    data["labeled"]["mask"] = torch.zeros_like(data["labeled"]["mask"])
    terms = barm(residual=value).losses(data)
    assert terms["triplet"].item() == pytest.approx(5 * expected, abs=1e-5)
    assert terms["residual"].item() == 0, "no pixel shows a new class"


def test_the_residual_of_the_card() -> None:
    data = batch()
    data["labeled"]["mask"] = torch.full_like(data["labeled"]["mask"], 3)
    terms = barm(residual=0.5).losses(data)
    assert terms["residual"].item() == pytest.approx(0.974077, abs=1e-6)
    assert terms["triplet"].item() == terms["feature"].item() == 0, "no pixel is background"


def test_distillation_is_a_sum_over_channels_of_means_and_is_least_at_the_answers_of_before() -> None:
    logits, before = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    p = before.sigmoid()
    expected = -(p * F.logsigmoid(logits) + (1 - p) * F.logsigmoid(-logits)).sum(1).mean()
    torch.testing.assert_close(sigmoid_distillation(logits, before), expected)
    assert sigmoid_distillation(before, before) < expected


def test_the_terms_pixel_by_pixel() -> None:
    module, data = barm(), batch(shape=(3, 5))
    image, mask = data["labeled"]["image"], data["labeled"]["mask"].where(data["labeled"]["mask"] != 1, 3)
    data["labeled"]["mask"] = mask
    for parameter in module.student.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    first = module.before.network.head.outputs[0]
    first.bias.data[0] = -2.0
    first.bias.data[1] += 0.847 - module.before(image).logits[:, 1].median()  # surely an old class, here and there
    terms = module.losses(data)

    before, student = module.before(image), module.student(image)
    score, old = before.logits.sigmoid().max(1)
    sure = (mask == 0) & (old > 0) & (score >= 0.7)
    assert 0 < sure.sum() < (mask == 0).sum()
    label = torch.where(sure, old, mask)
    torch.testing.assert_close(terms["supervised"], BinaryCrossEntropy()(student.logits, label))

    ours = module.student.head.steps(student.features)
    theirs = module.before.network.head.steps(before.features)
    shown = (mask == 0).unsqueeze(1)
    squares = [((x.features - y.features) * shown).square().mean() for x, y in zip(ours, theirs, strict=False)]
    torch.testing.assert_close(terms["feature"], 4 * (squares[0] + squares[1]))
    kept = [sigmoid_distillation(x.logits, y.logits) for x, y in zip(ours, theirs, strict=False)]
    torch.testing.assert_close(terms["group"], kept[0] + kept[1])


def test_old_classes_are_constants_of_the_binary_cross_entropy() -> None:
    module = barm()
    module.losses(batch())["supervised"].backward()
    head = module.student.head
    old = [x for part in (*head.outputs[:-1], *head.ears[:-1]) for x in part.parameters() if x.requires_grad]
    assert not any(x.grad.any() for x in old)
    assert all(x.grad.any() for x in head.outputs[-1].parameters())


def test_all_learns_but_the_norms_and_the_network_of_before() -> None:
    module = barm()
    torch.stack(list(module.losses(batch()).values())).sum().backward()
    assert all((x.grad is not None) == x.requires_grad for x in module.student.parameters())
    assert all(not x.requires_grad for x in module.before.parameters())
    norms = [part for part in module.student.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert len(norms) == 3
    module.train()
    assert not any(norm.training for norm in norms)
    assert module.student.head.training


def test_the_first_step_is_one_head() -> None:
    module = barm(SPACE.after_step(0))
    assert list(module.losses(batch())) == ["supervised"]
    assert not hasattr(module, "before")


@pytest.mark.parametrize(("argument", "value"), [("threshold", 1.5), ("triplet", -1.0)])
def test_wrong_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(SeglabError, match="BARM"):
        barm(**{argument: value})


def flags(root: Path, folder: Path) -> list[str]:
    return [
        *(f"--data.root={root}", "--data.workers=0", "--data.crop=[32,48]", "--data.scale=[1,1]"),
        *(f"--data.counts={folder / 'counts'}", f"--network={EXPERIMENTS / 'network/tiny.yaml'}"),
        *("--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu"),
    ]


def test_the_chain_of_streets(cityscapes: Path, tmp_path: Path) -> None:
    """Each step begins as the one before it, has a part more, and is scored on the classes so far."""
    file = str(EXPERIMENTS / "chain/barm_streets.yaml")
    assert main(["chain", file, *flags(cityscapes, tmp_path), "--runs", str(tmp_path)]) == 0
    (folder,) = tmp_path.glob("streets/barm/*")
    runs = [folder / f"{number + 1}_step{number}" for number in range(3)]
    assert config(runs[2])["init_from"] == str(runs[1])
    states = [weights(run) for run in runs]
    parts = [{key.split(".")[3] for key in state if key.startswith("student.head.outputs.")} for state in states]
    assert parts == [{"0"}, {"0", "1"}, {"0", "1", "2"}]
    for before, after in itertools.pairwise(states):
        kept = {key.removeprefix("student."): value for key, value in before.items() if key.startswith("student.")}
        assert all(torch.equal(after[f"before.network.{key}"], value) for key, value in kept.items())
    sizes = [len([key for key in rows(run)[-1] if key.startswith("val/IoU/")]) for run in runs]
    assert sizes == [13, 16, 19]
    assert "val/mIoU_old" not in rows(runs[0])[-1]
    assert column(runs[2], "val/mIoU_old")
    assert column(runs[2], "val/mIoU_new")
    assert main(["validate", str(runs[2]), "--trainer.accelerator", "cpu"]) == 0


def test_a_later_step_says_what_it_goes_on_from(
    cityscapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = ["--data.class_steps.steps=12-3", "--data.class_steps.background=road", "--data.class_steps.step=1"]
    words = [
        "fit",
        "streets",
        "barm",
        *flags(cityscapes, tmp_path),
        *step,
        "--data.labeled=all",
        "--runs",
        str(tmp_path),
    ]
    assert main(words) == 1
    assert "step 1 goes on from the one before: give --init_from its run" in capsys.readouterr().err
    assert main([*words, "--data.class_steps.step=7"]) == 1
    assert "class_steps.step is 7: give 0 to 2" in capsys.readouterr().err
