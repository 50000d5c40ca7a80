"""CDAC on pixels: who minimises the clustering and who resists, its other terms, and a few labels of the target."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, Pointwise, batch, method
from probes import EXPERIMENTS
from torch import Tensor, nn

from seglab.cli import main
from seglab.labels import LabelSpace
from seglab.methods import CDAC
from seglab.types import Output, SeglabError


class Headed(Pointwise):
    """Six features of each pixel's colour, and a head."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, space.num_classes, 1)
        self.feature_channels = 6

    def decode(self, stages: Any, size: Any) -> Output:
        return self.output(self.head(stages[-1]), stages[-1], stages, size)


def cdac(**arguments: Any) -> Any:
    torch.manual_seed(0)
    return method(CDAC, network=Headed, ramp=1, **{"strong": OFF} | arguments)


def test_logits_are_scaled_cosines_of_the_features_alone() -> None:
    head = cdac().student.head
    x = torch.randn(1, 6, 2, 3)
    torch.testing.assert_close(head(7 * x), head(x))
    expected = (
        torch.einsum("bdhw,kd->bkhw", x / x.norm(dim=1, keepdim=True), head.convolution.weight[:, :, 0, 0]) / 0.05
    )
    torch.testing.assert_close(head(x), expected)


def test_the_classifier_raises_what_the_features_lower() -> None:
    """The reversed gradient: a step of one part alone changes the clustering loss in its own direction."""
    for part, sign in (("head", 1), ("encoder", -1)):
        module, data = cdac(cells=1000, least=1.0, temperature=1.0), batch()
        before = -module.losses(data)["clustering"]
        parameters = list(getattr(module.student, part).parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(-before, parameters), strict=True):
            parameter.data -= 0.05 * gradient
        after = -module.losses(data)["clustering"]
        assert sign * (after - before) > 0, part


def test_the_terms_pixel_by_pixel() -> None:
    module, data = cdac(consistency=30.0, threshold=0.7), batch()
    strong = iter([0.9, 0.8])
    module.strong = lambda image: image * next(strong)
    terms = module.losses(data)
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    weak, a, b = (module.student(image * factor).logits for factor in (1.0, 0.9, 0.8))
    confidence, label = weak.softmax(1).max(1)
    each = F.cross_entropy(b, label, reduction="none") * (confidence >= 0.7)
    torch.testing.assert_close(terms["pseudo"], each[valid].mean())
    unlike = (a.softmax(1) - b.softmax(1)).square().mean(1)
    ramp = torch.tensor(-5.0).exp()  # step 0 of 1
    torch.testing.assert_close(terms["consistency"], 30 * ramp * unlike[valid].mean())
    labeled = module.student(data["labeled"]["image"]).logits
    torch.testing.assert_close(terms["supervised"], F.cross_entropy(labeled, data["labeled"]["mask"], ignore_index=255))


def test_at_most_2048_cells_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = cdac(cells=1000), []

    def pairs(p: Tensor, *others: Tensor) -> Tensor:
        seen.append(p)
        return p.sum()

    monkeypatch.setattr("seglab.methods.adaptation.cdac.pair_cross_entropy", pairs)
    module.losses(batch(size=3, shape=(40, 40)))
    assert seen[0].shape == (2046, 2)


@pytest.mark.parametrize(("argument", "value"), [("cells", 0), ("weight", -1.0), ("least", 2.0), ("temperature", 0.0)])
def test_wrong_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"CDAC\.{argument}"):
        cdac(**{argument: value})


def test_a_few_labels_of_the_target(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    sides = [
        f"--data.{side}.{key}={value}"
        for side in ("source", "target")
        for key, value in {"workers": 0, "crop": "[32,48]", "scale": "[1,1]"}.items()
    ]
    few = ["--data.target_labeled_batch=1", "--data.target.labeled=2", "--data.source.labeled_batch=2"]
    roots = [
        f"--data.source.root={gta5}",
        f"--data.target.root={cityscapes}",
        f"--network={EXPERIMENTS}/network/tiny.yaml",
    ]
    short = ["--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu"]
    assert main(["fit", "streets_adaptation", "cdac", *sides, *few, *roots, *short, "--runs", str(tmp_path)]) == 0
