"""CLAN against its formulas."""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import Pointwise, batch, method
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.methods import CLAN
from seglab.methods.adaptation.clan import disagreement, similarity
from seglab.networks.discriminator import SOURCE, TARGET, domain_loss
from seglab.networks.heads import TwoClassifiers
from seglab.ops.losses import FocalCrossEntropy
from seglab.types import Output

CROP = (32, 48)


class Headed(Pointwise):
    """A classifier on the colours."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder = nn.Conv2d(3, 5, 1)
        self.head = nn.Conv2d(5, space.num_classes, 1)
        self.feature_channels = 5

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return self.output(self.head(stages[-1]), stages[-1], stages, size)


def clan(step: int = 0, steps: int = 100, **arguments: Any) -> Any:
    module = method(CLAN, network=Headed, criterion=FocalCrossEntropy(), **arguments)
    loop = SimpleNamespace(global_step=step)
    module._trainer = SimpleNamespace(global_step=step, max_steps=steps, fit_loop=loop)
    return module


def test_disagreement_of_the_card() -> None:
    def of(p: tuple[float, float], q: tuple[float, float]) -> float:
        first, second = (torch.tensor(x).clamp(min=1e-12).log().view(1, 2, 1, 1) for x in (p, q))
        return disagreement(first, second).item()

    assert of((1, 0), (0, 1)) == pytest.approx(1)
    assert of((0.3, 0.7), (0.3, 0.7)) == pytest.approx(0, abs=1e-6)
    assert of((0.8, 0.2), (0.2, 0.8)) == pytest.approx(0.529412, abs=1e-6)


@pytest.mark.parametrize(("w", "expected"), [(0.0, 0.277259), (0.5, 14.140202), (1.0, 28.003146)])
def test_weighted_domain_loss_of_the_card(w: float, expected: float) -> None:
    weight = torch.full((2, 64, 64), 0.4 + 40 * w)
    for domain in (SOURCE, TARGET):
        assert domain_loss(torch.zeros(2, 1, 2, 2), domain, weight).item() == pytest.approx(expected, rel=1e-5)


def test_weights_act_at_the_resolution_of_the_image() -> None:
    logits, weight = torch.randn(1, 1, 2, 3), torch.rand(1, 64, 96)
    up = F.interpolate(logits, (64, 96), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(domain_loss(logits, SOURCE, weight), (weight * up.exp().log1p()).mean())


def test_focal_loss_of_the_card() -> None:
    logits, label = torch.zeros(1, 2, 2, 2), torch.tensor([[[0, 1], [255, 0]]])
    assert FocalCrossEntropy()(logits, label).item() == pytest.approx(0.173287, abs=1e-6)
    assert FocalCrossEntropy(0.0)(logits, label).item() == pytest.approx(math.log(2))
    assert FocalCrossEntropy()(logits, torch.full_like(label, 255)).item() == 0


def test_weights_of_equal_classifiers_cost_two_of_opposed_ones_nothing() -> None:
    pair = TwoClassifiers(nn.Conv2d(4, 3, 1))
    pair.second.load_state_dict(pair.first.state_dict())
    assert similarity(pair).item() == pytest.approx(2)
    for parameter in pair.second.parameters():
        parameter.data.neg_()
    assert similarity(pair).item() == pytest.approx(0, abs=1e-6)


def test_the_student_answers_with_the_sum_of_two_different_classifiers() -> None:
    module, image = clan(), torch.rand(2, 3, 4, 6)
    head = module.student.head
    assert not torch.equal(head.first.weight, head.second.weight)
    assert not head.second.bias.any()
    output = module.student(image)
    first, second = module.classify(output)
    torch.testing.assert_close(output.logits, first + second)


@pytest.mark.parametrize(("step", "heated"), [(10, False), (11, True), (75, True)])
def test_the_terms_of_a_step(step: int, heated: bool) -> None:
    module, data = clan(step, preheat=10, weight=2.0, discrepancy_weight=3.0), batch(2, CROP)
    terms = module.losses(data)
    source, target = data["labeled"], data["unlabeled"]
    first_s, second_s = module.classify(module.student(source["image"]))
    first_t, second_t = module.classify(module.student(target["image"]))

    fading = 1 - step / 100
    weight = target["valid"].float()
    if heated:
        p, q = first_t.softmax(1), second_t.softmax(1)
        weight = weight * (0.4 + 40 * (1 - (p * q).sum(1) / (p.norm(dim=1) * q.norm(dim=1))))
    maps_s, maps_t = (first_s + second_s).softmax(1), (first_t + second_t).softmax(1) * target["valid"][:, None]
    discriminator, criterion = module.discriminator, FocalCrossEntropy()
    expected = {
        "supervised": criterion(first_s, source["mask"]),
        "second": criterion(second_s, source["mask"]),
        "fooling": fading * 2 * domain_loss(discriminator(maps_t), SOURCE, weight),
        "discrepancy": fading * 3 * similarity(module.student.head),
        "discriminator": domain_loss(discriminator(maps_s), SOURCE)
        + domain_loss(discriminator(maps_t), TARGET, weight),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)


def test_each_side_learns_from_its_own_terms() -> None:
    module = clan(50, preheat=10)
    for term, side in (("fooling", "student"), ("discriminator", "discriminator"), ("discrepancy", "student")):
        module.zero_grad(set_to_none=True)
        module.losses(batch(2, CROP))[term].backward()
        learned = {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}
        assert learned == {side}
