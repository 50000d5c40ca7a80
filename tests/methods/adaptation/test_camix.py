"""CAMix's prior, contextual masks and mixed losses against their formulas."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, batch, method
from torch import Tensor

from seglab.labels import CITYSCAPES
from seglab.methods import CAMix
from seglab.methods.adaptation.camix import TOGETHER
from seglab.ops import mixing
from seglab.ops.context import SpatialPrior, companions, with_companions
from seglab.ops.losses import entropy, sigmoid_rampup
from seglab.ops.mixing import IDS
from seglab.types import Batch, Output, SeglabError

NAMES = CITYSCAPES.names


def camix(step: int = 50, **arguments: Any) -> Any:
    """Of three classes, at step ``step`` of 100, in the second half of which context mixes."""
    options = {"warm_up": 0.5, "ramp_up": 0.5, "grid": (2, 2), "passes": 2, "strong": OFF, "classes": ["a", "b", "c"]}
    module = method(CAMix, **options | arguments)
    module._trainer = SimpleNamespace(global_step=step, max_steps=100, fit_loop=SimpleNamespace(global_step=step))
    return module


def placed(shape: tuple[int, int] = (4, 6)) -> Batch:
    data = batch(shape=shape)
    whole = torch.tensor([[0, 0, *shape]]).expand(2, -1)
    data["unlabeled"] |= {"box": whole, "flip": torch.tensor([False, True]), "size": whole[:, 2:]}
    return data


def chosen(*names: str) -> Tensor:
    return torch.isin(torch.arange(IDS), torch.tensor([NAMES.index(name) for name in names]))[None]


@pytest.mark.parametrize(
    ("progress", "threshold"), [(0.0, 2.213289), (0.5, 2.419228), (1.0, 2.944439), (1.7, 2.944439)]
)
def test_the_threshold_of_the_entropy_rises_to_its_largest_value(progress: float, threshold: float) -> None:
    """The numbers of the card, for 19 classes."""
    assert (0.75 + 0.25 * sigmoid_rampup(progress, 1.0)) * math.log(19) == pytest.approx(threshold, abs=1e-6)


def test_a_pixel_of_which_nothing_is_known_never_counts() -> None:
    uniform = torch.full((1, 19, 1, 1), 1 / 19)
    assert entropy(uniform.log()).item() * math.log(19) == pytest.approx(2.944439, abs=1e-6)
    module = camix(step=100, noise=0.0)
    module.teacher.network.forward = lambda image: Output(torch.zeros(2, 3, 4, 6), image)
    assert not module.significant(torch.rand(2, 3, 4, 6)).any()
    module.teacher.network.forward = lambda image: Output(torch.eye(3)[0].view(1, 3, 1, 1).expand(2, 3, 4, 6), image)
    assert module.significant(torch.rand(2, 3, 4, 6)).all()


@pytest.mark.parametrize(
    ("drawn", "present", "pasted"),
    [
        (["pole"], ["pole", "traffic light", "traffic sign", "car"], ["pole", "traffic light", "traffic sign"]),
        (["traffic light"], ["pole", "traffic light", "traffic sign"], ["pole", "traffic light", "traffic sign"]),
        (["traffic light"], ["traffic light", "traffic sign"], ["traffic light"]),
        (["rider"], ["rider", "bicycle"], ["rider", "bicycle"]),
        (["bicycle"], ["rider", "bicycle"], ["bicycle"]),
    ],
)
def test_what_belongs_together_is_pasted_together(drawn: list[str], present: list[str], pasted: list[str]) -> None:
    table = companions(NAMES, TOGETHER)
    assert torch.equal(with_companions(chosen(*drawn), chosen(*present), table), chosen(*pasted))


def test_the_prior_is_the_share_of_each_class_at_a_place() -> None:
    prior = SpatialPrior(2, (2, 2))
    prior.add(torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 0], [255, 255, 1, 1], [255, 255, 1, 1]]]))
    prior.add(torch.tensor([[[0, 1], [255, 1]]]))  # of another size, with the same weight
    prior.finish()
    torch.testing.assert_close(prior.count * 16, torch.tensor([[[8.0, 1], [0, 0]], [[0.0, 7], [0, 8]]]))
    whole, no = torch.tensor([[0, 0, 40, 80]]), torch.tensor([False])
    share = prior(whole, no, whole[:, 2:], (2, 2))[0]
    expected = torch.tensor([[[1.0, 1 / 8], [0.5, 0]], [[0.0, 7 / 8], [0.5, 1]]])
    torch.testing.assert_close(share, expected)
    mirrored = prior(whole, ~no, whole[:, 2:], (2, 2))[0]
    torch.testing.assert_close(mirrored, expected.flip(-1))
    corner = prior(torch.tensor([[0, 40, 20, 40]]), no, whole[:, 2:], (1, 1))[0]
    torch.testing.assert_close(corner.flatten(), expected[:, 0, 1])


def test_the_prior_is_counted_before_the_first_step() -> None:
    module = camix()
    masks = [torch.tensor([[[0, 1], [2, 255]]]), torch.tensor([[[0, 0], [0, 0]]])]
    module.one_pass = lambda stream: [{"mask": mask} for mask in masks] if stream == "labeled" else []
    module.before_first_step()
    expected = torch.tensor([[[2.0, 1], [1, 1]], [[0.0, 1], [0, 0]], [[0.0, 0], [1, 0]]])
    torch.testing.assert_close(module.prior.count, expected / 4)
    assert "prior.count" in module.state_dict()


@pytest.mark.parametrize("significance", [True, False])
def test_the_loss_after_the_warm_up(significance: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = camix(significance=significance, noise=0.0, threshold=0.45, ramp_up=1.0), placed()
    module.teacher.network.encoder.weight.data *= 4
    module.prior.count.copy_(torch.rand(3, 2, 2))
    picked = torch.isin(torch.arange(IDS), torch.tensor([0, 1]))
    monkeypatch.setattr("seglab.methods.adaptation.camix.half", lambda present: present & picked)
    source, target = data["labeled"], data["unlabeled"]
    terms = module.losses(data)

    probability = module.teacher.network(target["image"]).logits.softmax(1)
    confidence, label = probability.max(1)
    valid = target["valid"]
    trust = (confidence >= 0.45)[valid].float().mean()
    prior = module.prior(target["box"], target["flip"], target["size"], (4, 6))
    context = (prior * probability).argmax(1)
    pasted = (context < 2) & valid
    known = -(probability * probability.log()).sum(1) < (0.75 + 0.25 * math.exp(-1.25)) * math.log(3)
    assert known[pasted].any()
    assert not known[pasted].all()
    image = torch.where(pasted[:, None], target["image"], source["image"])
    mixed_label = torch.where(pasted, label, source["mask"])
    weight = torch.where(pasted, trust, 1.0)
    counted = known | ~pasted if significance else torch.ones_like(pasted)
    loss = F.cross_entropy(module.student(image).logits, mixed_label, ignore_index=255, reduction="none")
    torch.testing.assert_close(terms["mixed"], (weight * loss)[counted].sum() / counted.sum())


def test_classmix_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    picked = torch.isin(torch.arange(IDS), torch.tensor([1]))
    monkeypatch.setattr(mixing, "half", lambda present: present & picked)
    module, data = camix(step=49, significance=False, threshold=0.0), placed()
    source, target = data["labeled"], data["unlabeled"]
    term = module.losses(data)["mixed"]
    pasted = source["mask"] == 1
    label = torch.where(pasted, 1, module.teacher(target["image"]).logits.argmax(1))
    image = torch.where(pasted[:, None], source["image"], target["image"])
    valid = target["valid"] | pasted
    loss = F.cross_entropy(module.student(image).logits, label, reduction="none")
    torch.testing.assert_close(term, loss[valid].mean())


def test_what_is_refused() -> None:
    for wrong in ({"warm_up": 1.2}, {"ramp_up": -1}, {"passes": 0}, {"grid": (0, 4)}):
        with pytest.raises(SeglabError, match="give"):
            camix(**wrong)
