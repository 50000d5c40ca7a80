"""DSSN against its equations, on a network of two 1x1 convolutions."""

from typing import Any

import pointwise
import pytest
import torch
from pointwise import OFF, Decoded, Everywhere, batch
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.methods import DSSN
from seglab.ops.boxes import AreaBox
from seglab.ops.losses import standardised
from seglab.ops.mixing import one_hot
from seglab.ops.pseudo import class_aware_selection
from seglab.ops.teacher import Teacher
from seglab.ops.views import NoView, View
from seglab.types import SeglabError

CALM: dict[str, Any] = {"strong": OFF, "second": NoView(), "boxes": AreaBox(probability=0.0), "dropout": 0.0}


class Darker(View):
    """Half the brightness, then a quarter, and so on: no two views alike."""

    def __init__(self) -> None:
        self.factor = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        self.factor /= 2
        return image * self.factor


def dssn(**arguments: Any) -> DSSN:
    return pointwise.method(DSSN, network=Decoded, **CALM | {"teacher_from": 0} | arguments)


@torch.no_grad()
def sharpen(network: nn.Module, image: Tensor, largest: float) -> None:
    """The difference of the two logits lies between -|largest| and |largest| then; a negative one swaps classes."""
    logits = network(image).logits
    difference = logits[:, 0] - logits[:, 1]
    middle, half = (difference.max() + difference.min()) / 2, (difference.max() - difference.min()) / 2
    network.decoder.bias[0] -= middle  # type: ignore[index]
    for parameter in network.decoder.parameters():  # type: ignore[union-attr]
        parameter.mul_(largest / half)


@pytest.mark.parametrize(
    ("probabilities", "kept"),
    [
        ([0.99, 0.94], [True, False]),  # threshold 0.9504
        ([0.99, 0.951], [True, True]),
        ([0.92, 0.92], [False, False]),  # not above 0.92
        ([0.90, 0.10], [False, False]),  # nor is class 1
        ([0.93, 0.01], [True, True]),  # class 1 at 0.99 selects the second pixel
    ],
)
def test_a_class_selects_pixels_near_its_highest_probability(probabilities: list[float], kept: list[bool]) -> None:
    first = torch.tensor(probabilities).view(1, 1, 1, 2)
    chosen = class_aware_selection(torch.cat([first, 1 - first], 1), 0.96, 0.92)
    assert chosen.flatten().tolist() == kept


def test_thresholds_are_of_each_image() -> None:
    first = torch.tensor([[0.99, 0.94], [0.94, 0.93]]).view(2, 1, 1, 2)
    chosen = class_aware_selection(torch.cat([first, 1 - first], 1), 0.96, 0.92)
    assert chosen.flatten(1).tolist() == [[True, False], [True, True]]  # 0.96 x 0.94 = 0.9024


def test_standardised_logits_have_mean_0_and_deviation_1_whatever_is_added_to_a_pixel() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, 5, 4, 4)
    z = standardised(logits)
    torch.testing.assert_close(z.mean(1), torch.zeros(2, 4, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std(1), torch.ones(2, 4, 4))
    torch.testing.assert_close(standardised(2 * logits + torch.randn(2, 1, 4, 4)), z, atol=1e-5, rtol=1e-5)
    equal = torch.ones(1, 5, 1, 1, requires_grad=True)
    standardised(equal).sum().backward()
    assert equal.grad is not None
    assert equal.grad.isfinite().all()


def test_alignment_is_the_mean_squared_difference_of_standardised_logits() -> None:
    module, data = dssn(strong=Darker(), align_weight=1.0), batch()
    with torch.no_grad():
        module.student.decoder.bias.copy_(torch.tensor([0.05, -0.02]))
    loss = module.losses(data)["align"].item()
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    z = []
    for factor in (0.5, 0.25):
        logits = module.student(image * factor).logits
        z.append((logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True))
    expected = (z[0] - z[1]).square().mean(1)[valid].mean().item()  # both dropouts of 0 are equal: nothing from them
    assert expected > 0
    assert loss == pytest.approx(expected, rel=1e-4)


def test_the_image_level_learns_from_the_teacher_and_the_feature_level_from_the_student() -> None:
    module, data = dssn(weight=1.0, feature_weight=1.0), batch()
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    sharpen(module.teacher.network, image, -5.0)  # it says the opposite, more confidently
    sharpen(module.student, image, 4.0)
    terms = module.losses(data)
    logits = module.student(image).logits
    for name, teacher in (("image", module.teacher.network(image).logits), ("feature", logits)):
        p = teacher.softmax(1)
        highest = (p * valid.unsqueeze(1)).amax((2, 3), keepdim=True)
        threshold = torch.where(highest > 0.92, 0.96 * highest, highest)
        kept = valid & (p > threshold).any(1)
        assert 0 < kept.sum() < valid.sum()
        nll = nn.functional.cross_entropy(logits, teacher.argmax(1), reduction="none")
        assert terms[name].item() == pytest.approx(((nll * kept).sum() / valid.sum()).item(), rel=1e-4)


def test_without_classes_every_valid_pixel_counts() -> None:
    module, data = dssn(class_aware=False, weight=1.0), batch()
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    logits = module.student(image).logits
    nll = nn.functional.cross_entropy(logits, logits.argmax(1), reduction="none")
    assert module.losses(data)["image"].item() == pytest.approx(nll[valid].mean().item(), rel=1e-5)


def test_a_single_image_is_mixed_with_a_labeled_one_and_its_truth() -> None:
    module, data = dssn(class_aware=False, weight=1.0, boxes=Everywhere()), batch(1)
    labeled = data["labeled"]
    nll = nn.functional.cross_entropy(module.student(labeled["image"]).logits, labeled["mask"], ignore_index=IGNORE)
    assert module.losses(data)["image"].item() == pytest.approx(nll.item(), rel=1e-5)


def test_the_teacher_copies_the_student_and_the_image_level_waits() -> None:
    module = dssn(teacher_from=1)
    assert module.losses(batch())["image"].item() == 0.0
    torch.manual_seed(0)
    student, other = nn.Linear(2, 2), nn.Linear(2, 2)
    teacher = Teacher(other, 0.996, warmup=False, copies=2)
    teacher.update(student, 1)
    assert torch.equal(teacher.network.weight, student.weight)  # type: ignore[arg-type]
    before = student.weight.detach().clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    teacher.update(student, 2)
    torch.testing.assert_close(teacher.network.weight.detach(), before + 0.004)  # type: ignore[union-attr]


def test_truth_is_0_and_1_and_0_where_it_is_void() -> None:
    label = torch.tensor([[[0, 2, IGNORE]]])
    assert one_hot(label, 3)[0, :, 0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_gradients_reach_the_student_alone_and_nothing_waits_for_the_device(no_host_sync) -> None:
    module, data = dssn(dropout=0.5), batch()
    with no_host_sync:
        terms = module.losses(data)
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in module.student.parameters())
    assert all(p.grad is None for p in module.teacher.parameters())


@pytest.mark.parametrize(("setting", "value"), [("share", 1.2), ("dropout", 1.0), ("teacher_from", -1)])
def test_a_wrong_setting_is_named(setting: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"DSSN\.{setting}"):
        dssn(**{setting: value})
