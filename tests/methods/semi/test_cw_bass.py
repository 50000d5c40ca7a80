"""CW-BASS: its two terms against their formulas, on a network whose predictions a test can set."""

from typing import Any

import pointwise
import pytest
import torch
from pointwise import batch

from seglab.methods import CWBASS
from seglab.types import SeglabError


def cw_bass(**arguments: Any) -> Any:
    torch.manual_seed(0)
    return pointwise.method(CWBASS, **{"boundary_weight": 0.5} | arguments)


def make(network: Any, *logits: float) -> None:
    """Predict these logits everywhere."""
    with torch.no_grad():
        network.encoder.weight.zero_()
        network.encoder.bias.copy_(torch.tensor(logits))


def test_certain_and_without_boundary_the_loss_is_plain_cross_entropy() -> None:
    module, data = cw_bass(boundary_weight=0.0), batch()
    make(module.teacher.network, 200.0, 0.0)
    losses = module.losses(data)
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    each = -module.student(image).logits.log_softmax(1)[:, 0]
    assert losses["consistency"].item() == pytest.approx(each[valid].mean().item(), rel=1e-5)
    assert losses["boundary"].item() == 0.0


def test_confidences_weigh_by_their_power_and_their_decay() -> None:
    data, q = batch(), 0.8
    values = []
    for arguments in ({}, {"gamma": 2.0}, {"confidence_decay": 0.9}, {"gamma": 2.0, "confidence_decay": 0.9}):
        module = cw_bass(**arguments)
        make(module.teacher.network, torch.tensor(q / (1 - q)).log().item(), 0.0)
        make(module.student, 0.3, 0.0)
        values.append(module.losses(data)["consistency"].item())
    each = -torch.tensor([0.3, 0.0]).log_softmax(0)[0].item()
    assert values == pytest.approx([q * each, q**2 * each, 0.9 * q * each, (0.9 * q) ** 2 * each], rel=1e-5)


def test_boundary_pixels_count_without_their_confidence_and_with_half_the_weight() -> None:
    module, data = cw_bass(), batch(1, (5, 7))
    data["unlabeled"]["valid"].fill_(True)
    image = data["unlabeled"]["image"]
    image[:] = 0.0
    image[..., 4:] = 1.0
    with torch.no_grad():
        module.teacher.network.encoder.weight.zero_()
        module.teacher.network.encoder.weight[1, 0] = 4.0
        module.teacher.network.encoder.bias.copy_(torch.tensor([2.0, 0.0]))
    losses = module.losses(data)
    label = (image[:, 0] > 0).long()
    loss = torch.nn.functional.cross_entropy(module.student(image).logits, label, reduction="none")
    boundary = torch.ones(1, 5, 7, dtype=torch.bool)
    boundary[:, 1:-1, [1, 2, 5]] = False  # columns 3 and 4 are the edge
    assert losses["boundary"].item() == pytest.approx(0.5 * loss[boundary].mean().item(), rel=1e-5)


def test_pixels_at_or_below_the_threshold_do_not_count() -> None:
    module, data = cw_bass(limits=(0.6, 0.6)), batch()
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    with torch.no_grad():
        module.teacher.network.encoder.weight.mul_(3.0)
    losses = module.losses(data)
    confidence, label = module.teacher.network(image).logits.softmax(1).max(1)
    counted = (confidence > 0.6) & valid
    assert 0 < counted.sum() < valid.sum()
    loss = torch.nn.functional.cross_entropy(module.student(image).logits, label, reduction="none")
    assert losses["consistency"].item() == pytest.approx((confidence * loss)[counted].mean().item(), rel=1e-5)

    make(module.teacher.network, 0.0, 0.0)  # nothing is trusted: 0, not NaN
    losses = module.losses(data)
    assert (losses["consistency"].item(), losses["boundary"].item()) == (0.0, 0.0)


def test_the_weight_rises_from_0() -> None:
    losses = cw_bass(ramp_up=10).losses(batch())
    assert (losses["consistency"].item(), losses["boundary"].item()) == (0.0, 0.0)


def test_wrong_limits_are_named() -> None:
    with pytest.raises(SeglabError, match=r"CWBASS.limits is \(0.8, 0.3\)"):
        cw_bass(limits=(0.8, 0.3))
