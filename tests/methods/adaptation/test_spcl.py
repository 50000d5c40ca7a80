"""SPCL against its formulas, on a network that is one 1x1 convolution."""

import math

import pytest
import torch
import torch.nn.functional as F
from pointwise import Pointwise, batch, method

from seglab.labels import IGNORE, LabelSpace
from seglab.methods import SPCL
from seglab.types import Batch


def with_pseudo_labels() -> Batch:
    data = batch()
    data["unlabeled"]["pseudo"] = torch.randint(0, 2, (2, 4, 6))
    data["unlabeled"]["pseudo"][:, 2:] = IGNORE
    return data


def test_contrast_is_the_cross_entropy_of_cosines_with_means_of_right_source_pixels() -> None:
    module, data = method(SPCL, weight=3.0, temperature=0.5), with_pseudo_labels()
    loss = module.losses(data)["contrast"].item()

    source, target = data["labeled"], data["unlabeled"]
    logits_s, logits_t = module.student(source["image"]).logits, module.student(target["image"]).logits
    right = logits_s.argmax(1) == source["mask"]
    unit_s, unit_t = (F.normalize(x, dim=1).permute(0, 2, 3, 1) for x in (logits_s, logits_t))
    prototypes = torch.stack([unit_s[right & (source["mask"] == index)].mean(0) for index in range(2)])
    labelled = target["pseudo"] != IGNORE
    expected = F.cross_entropy(unit_s[right] @ prototypes.T / 0.5, source["mask"][right])
    expected += F.cross_entropy(unit_t[labelled] @ prototypes.T / 0.5, target["pseudo"][labelled])
    torch.testing.assert_close(module.prototypes.mean, prototypes.detach())
    assert loss == pytest.approx(3 * expected.item(), rel=1e-5)


def test_at_temperature_100_the_contrast_is_almost_that_of_chance() -> None:
    loss = method(SPCL).losses(with_pseudo_labels())["contrast"].item()
    assert loss == pytest.approx(2 * math.log(2), abs=0.02)


def test_without_offline_labels_the_students_confident_pixels_are_used() -> None:
    module, data = method(SPCL, threshold=0.6, target_weight=1.0), batch()
    terms = module.losses(data)
    logits, valid = module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["valid"]
    confidence, label = logits.softmax(1).max(1)
    chosen = valid & (confidence >= 0.6)
    assert 0 < chosen.sum() < valid.sum()
    nll = F.cross_entropy(logits, label, reduction="none")
    assert terms["target"].item() == pytest.approx(nll[chosen].mean().item(), rel=1e-5)


def test_self_training_is_cross_entropy_on_offline_labels_alone() -> None:
    module, data = method(SPCL, weight=0.0, supervised_weight=0.0, target_weight=1.0), with_pseudo_labels()
    terms = module.losses(data)
    expected = F.cross_entropy(
        module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["pseudo"], ignore_index=IGNORE
    )
    assert sum(terms.values()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_logits_of_the_source_are_divided_by_their_temperature() -> None:
    module, data = method(SPCL, supervised_temperature=1.8), batch()
    logits = module.student(data["labeled"]["image"]).logits
    expected = F.cross_entropy(logits / 1.8, data["labeled"]["mask"], ignore_index=IGNORE)
    assert module.losses(data)["supervised"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_no_gradient_reaches_the_prototypes_and_they_stay_in_the_checkpoint() -> None:
    module, data = method(SPCL, temperature=0.1), with_pseudo_labels()
    for _ in range(2):
        terms = module.losses(data)
        sum(terms.values()).backward()
    assert not module.prototypes.mean.requires_grad
    assert {"prototypes.mean", "prototypes.seen"} <= set(module.state_dict())
    assert all(parameter.grad is not None for parameter in module.student.parameters())


def test_losses_do_not_wait_for_the_device(no_host_sync) -> None:
    module, data = method(SPCL), with_pseudo_labels()
    with no_host_sync:
        module.losses(data)


@pytest.mark.parametrize(("weight", "touched"), [(0.0, False), (1.0, True)])
def test_a_source_without_weight_leaves_running_statistics_alone(weight: float, touched: bool) -> None:
    class Normed(Pointwise):
        def __init__(self, space: LabelSpace) -> None:
            super().__init__(space)
            self.encoder = torch.nn.Sequential(self.encoder, torch.nn.BatchNorm2d(space.num_classes))

    means = []
    for shift in (0.0, 0.5):
        torch.manual_seed(0)
        module = method(SPCL, network=Normed, weight=0.0, supervised_weight=weight, target_weight=1.0)
        data = with_pseudo_labels()
        data["labeled"]["image"] = data["labeled"]["image"] + shift
        module.train().losses(data)
        means.append(module.student.encoder[1].running_mean)
    assert torch.equal(*means) != touched
    assert (means[0] != 0).all()
