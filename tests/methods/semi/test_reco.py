"""ReCo against its equations, on a network that is one 1x1 convolution."""

import math

import pytest
import torch
from pointwise import OFF, batch, method
from torch import nn

from seglab.labels import IGNORE
from seglab.methods import ReCo
from seglab.ops.memory import draw, draw_rows
from seglab.ops.mixing import ClassMix, CutMix, CutOut
from seglab.ops.regional_contrast import RegionalContrast
from seglab.ops.views import FlipView
from seglab.types import SeglabError

CALM = {"strong": OFF, "flip": FlipView(0.0), "mixing": CutMix(probability=0.0)}
SMALL = RegionalContrast(dim=4, queries=5, keys=7)


def reco(**arguments) -> ReCo:
    return method(ReCo, **{"batch_statistics": False} | CALM | {"contrast": SMALL} | arguments)


def two_classes(count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each class at a unit vector of its own, and pixels that the network is undecided about."""
    embedding = torch.eye(2).repeat_interleave(count, 0).requires_grad_()
    return embedding, torch.arange(2).repeat_interleave(count), torch.full((2 * count, 2), 0.5)


@pytest.mark.parametrize("active_keys", [True, False])
def test_contrast_of_queries_at_the_mean_of_their_class_and_512_orthogonal_keys(active_keys: bool) -> None:
    loss = RegionalContrast(active_keys=active_keys)(*two_classes(), 0.97)
    assert loss.item() == pytest.approx(math.log(1 + 512 * math.exp(-2)), rel=1e-5) == pytest.approx(4.25265, rel=1e-5)


def test_keys_have_no_gradient_and_easy_pixels_are_no_queries() -> None:
    embedding, label, probability = two_classes()
    probability[0, 0] = 0.97
    probability[1, 0] = 0.96999
    embedding.data += torch.tensor([[0.1, 0.0], [0.0, 0.3], [0.2, 0.2], [0.3, 0.0], [0.0, 0.1], [0.2, 0.1]])
    RegionalContrast()(embedding, label, probability, 0.97).backward()
    assert not embedding.grad[0].any()
    assert embedding.grad[1:].any(1).all()


def test_a_class_without_a_hard_pixel_counts_in_the_mean_as_0() -> None:
    embedding, label, probability = two_classes()
    probability[:3] = torch.tensor([1.0, 0.0])
    loss = RegionalContrast()(embedding, label, probability, 0.97)
    assert loss.item() == pytest.approx(4.25265 / 2, rel=1e-5)


@pytest.mark.parametrize("label", [[0] * 6, [IGNORE] * 6])
def test_fewer_than_two_classes_are_a_loss_of_0_with_a_gradient(label: list[int]) -> None:
    embedding, _, probability = two_classes()
    loss = RegionalContrast()(embedding, torch.tensor(label), probability, 0.97)
    loss.backward()
    assert loss.item() == 0.0
    assert not embedding.grad.any()


def test_negatives_are_of_classes_like_the_querys_mean() -> None:
    """Class 0 at cosine 0.8 to class 1 and -0.6 to class 2: softmax of (1.6, -1.2), 0.94267 and 0.05733.

    With one negative the loss of class 0, whose queries are at its mean, is log(1 + e^((cos - 1) / 0.5)): 0.51301 for
    class 1 and 0.03995 for class 2, whose mean over the choice is 0.48589.
    """
    torch.manual_seed(0)
    embedding = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-0.6, 0.8]])
    probability = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # classes 1 and 2 are easy
    label = torch.arange(3)
    active = RegionalContrast(queries=40_000, keys=1)(embedding, label, probability, 0.97)
    assert 3 * active.item() == pytest.approx(0.48589, abs=0.003)
    alike = RegionalContrast(queries=40_000, keys=1, active_keys=False)(embedding, label, probability, 0.97)
    assert 3 * alike.item() == pytest.approx((0.51301 + 0.03995) / 2, abs=0.006)


def test_the_mean_of_a_class_is_that_of_its_embeddings_as_they_are() -> None:
    """Not of the normalised ones: (4, 0) and (0, 1) have their mean at (2, 0.5)."""
    torch.manual_seed(0)
    embedding = torch.tensor([[4.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    probability = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])  # the query is the first pixel
    loss = RegionalContrast(queries=4, keys=6)(embedding, torch.tensor([0, 0, 1]), probability, 0.97)
    positive = 4.0 / math.sqrt(4 * 4 + 1)
    assert 2 * loss.item() == pytest.approx(math.log(1 + 6 * math.exp(-positive / 0.5)), rel=1e-5)


def test_rows_are_drawn_uniformly_within_their_class() -> None:
    torch.manual_seed(0)
    label = torch.tensor([2, 0, 2, IGNORE, 2, 0])
    rows = draw_rows(label, torch.tensor([[0], [2]]).expand(2, 60_000), 3)
    shares = [[(of == row).float().mean().item() for row in range(6)] for of in rows]
    assert shares[0] == pytest.approx([0, 1 / 2, 0, 0, 0, 1 / 2], abs=0.01)
    assert shares[1] == pytest.approx([1 / 3, 0, 1 / 3, 0, 1 / 3, 0], abs=0.01)


def test_columns_are_drawn_with_their_probabilities() -> None:
    torch.manual_seed(0)
    probability = torch.tensor([[0.2, 0.5, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0]])
    drawn = draw(probability, 60_000)
    shares = [[(of == column).float().mean().item() for column in range(4)] for of in drawn]
    assert shares[0] == pytest.approx([0.2, 0.5, 0.3, 0.0], abs=0.01)
    assert shares[1] == [0.0, 0.0, 1.0, 0.0]


def test_the_unlabeled_loss_weighs_an_image_by_its_share_of_confident_pixels() -> None:
    module, data = reco(strong_threshold=0.6), batch()
    with torch.no_grad():
        module.teacher.network.encoder.weight.mul_(3.0)
    loss = module.losses(data)["unsupervised"].item()

    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    confidence, label = module.teacher.network(image).logits.softmax(1).max(1)
    nll = nn.functional.cross_entropy(module.student(image).logits, label, reduction="none")
    shares = [(confidence[i][valid[i]] >= 0.6).float().mean() for i in range(2)]
    assert 0 < shares[0] < 1
    expected = sum(share * nll[i][valid[i]].sum() for i, share in enumerate(shares)) / valid.sum()
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_labeled_pixels_and_sure_unlabeled_ones_are_compared() -> None:
    seen = []
    module, data = reco(weak_threshold=0.6), batch()
    module.contrast = lambda *x, **_: seen.extend(x) or x[0].sum() * 0
    with torch.no_grad():
        module.teacher.network.encoder.weight.mul_(3.0)
    module.losses(data)
    confidence, label = module.teacher.network(data["unlabeled"]["image"]).logits.softmax(1).max(1)
    sure = torch.where(data["unlabeled"]["valid"] & (confidence >= 0.6), label, IGNORE)
    assert (sure == IGNORE).any()
    assert torch.equal(seen[1], torch.cat([data["labeled"]["mask"].flatten(), sure.flatten()]))
    student = module.student(torch.cat([data[name]["image"] for name in ("labeled", "unlabeled")])).logits.softmax(1)
    torch.testing.assert_close(seen[2], student.permute(0, 2, 3, 1).flatten(0, 2))


@pytest.mark.parametrize("mixing", [ClassMix(), CutMix(), CutOut()])
def test_no_gradient_reaches_the_teacher_and_every_parameter_of_the_student_has_one(mixing, no_host_sync) -> None:
    module, data = reco(mixing=mixing, flip=FlipView(), weak_threshold=0.0), batch()
    with no_host_sync:
        terms = module.losses(data)
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in module.student.parameters())
    assert not any(parameter.requires_grad for parameter in module.teacher.parameters())


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(SeglabError, match=r"ReCo\.weak_threshold"):
        reco(weak_threshold=1.5)
