"""RCCR's regional contrast against its formulas."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, batch, method
from torch import Tensor

from seglab.methods import RCCR
from seglab.ops.boxes import UniformBox
from seglab.ops.contrast import info_nce
from seglab.ops.memory import RecentSteps


def rccr(step: int = 0, steps: int = 100, **arguments: Any) -> Any:
    module = method(RCCR, strong=OFF, **{"cells": 24, "dim": 4, **arguments})
    module._trainer = SimpleNamespace(global_step=step, max_steps=steps, fit_loop=SimpleNamespace(global_step=step))
    return module


def test_negatives_of_the_anchors_class_do_not_count() -> None:
    """The numbers of the card: the same class masked; a similarity of 0.6 against one of 0.8."""
    e1, e2 = torch.eye(2)
    labels = torch.tensor([0]), torch.tensor([0, 1, 255])
    loss = info_nce(e1[None], e1[None], torch.stack([e1, e2, e1]), 0.1, labels=labels)
    assert loss.item() == pytest.approx(4.5399e-5, rel=1e-4)
    positive, negative = torch.tensor([[0.6, 0.8]]), torch.tensor([[0.8, 0.6]])
    labels = torch.tensor([0]), torch.tensor([3])
    assert info_nce(e1[None], positive, negative, 0.1, labels=labels).item() == pytest.approx(2.126928, abs=1e-5)


def test_labels_and_chunks_give_the_same_as_a_mask() -> None:
    torch.manual_seed(0)
    query, positive, negatives = (torch.randn(n, 3).requires_grad_() for n in (7, 7, 5))
    labels = torch.randint(0, 3, (7,)), torch.randint(0, 3, (5,))
    mask = labels[0][:, None] != labels[1]
    whole = info_nce(query, positive, negatives, 0.5, mask)
    for pairs in (1000, 10):
        torch.testing.assert_close(info_nce(query, positive, negatives, 0.5, labels=labels, pairs=pairs), whole)
    both = info_nce(query, positive, negatives, 0.5, mask, labels=labels, pairs=10)
    torch.testing.assert_close(both, whole)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 6.738e-5), (0.25, 8.2085e-4), (1.0, 0.01)])
def test_the_weight_grows_with_the_root_of_the_progress(progress: float, weight: float) -> None:
    data = batch()
    module = rccr(step=int(100 * progress), sure=0.0)
    module.strong = lambda image: image
    torch.manual_seed(1)
    term = module.losses(data)["contrast"].item()
    end = rccr(step=100, sure=0.0)
    end.load_state_dict(module.state_dict())
    end.recent.load_state_dict(rccr().recent.state_dict())
    torch.manual_seed(1)
    assert term / end.losses(data)["contrast"].item() == pytest.approx(weight / 0.01, rel=1e-3)


def test_after_five_steps_the_last_three_are_left() -> None:
    memory = RecentSteps(3, 4, 2)
    for step in range(5):
        memory.push(torch.full((6, 2), float(step)), torch.full((6,), step))
    embedding, label = memory.all()
    assert label.tolist() == [4] * 4 + [3] * 4 + [2] * 4
    assert torch.equal(embedding, label.float()[:, None].expand(-1, 2))
    memory.push(torch.ones(1, 2), torch.tensor([7]))
    assert memory.all()[1].tolist() == [7, 255, 255, 255] + [4] * 4 + [3] * 4


def test_a_square_has_a_uniform_share_of_the_area() -> None:
    torch.manual_seed(0)
    masks = torch.cat([UniformBox()(1, 64, 32, torch.device("cpu")) for _ in range(400)])
    share = masks.float().mean((1, 2))
    assert share.mean().item() == pytest.approx(0.5, abs=0.05)
    assert share.min() < 0.05 < 0.95 < share.max()
    for mask in masks[:20]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)
        assert rows.sum() == pytest.approx(2 * columns.sum().item(), abs=2)


def test_the_region_shows_the_target_in_the_source_and_its_cells_meet_the_teachers() -> None:
    region = torch.zeros(4, 6, dtype=torch.bool)
    region[1:3, 2:5] = True
    module, data = rccr(step=100, sure=0.6, kept=1, cells=96, contrast_weight=2.0), batch()
    module.region = lambda *_: region[None]
    for network in (module.student, module.teacher.network):
        network.heads["region"][0].bias.data.fill_(2.0)  # above the rectifier
    for parameter in module.teacher.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    seen = []
    encode = module.student.encode
    module.student.encode = lambda image: seen.append(image) or encode(image)
    term = module.losses(data)["contrast"]

    source, target = data["labeled"], data["unlabeled"]
    pasted = torch.where(region, target["image"], source["image"])
    torch.testing.assert_close(seen[-1], pasted)

    def embedded(network: Any, image: Tensor) -> Tensor:
        return F.normalize(network.heads["region"](network(image).features), dim=1).permute(0, 2, 3, 1)

    ours, theirs = embedded(module.student, pasted), embedded(module.teacher.network, target["image"])
    probability = module.teacher(target["image"]).logits.softmax(1)
    confidence, label = probability.max(1)
    label_t = torch.where(target["valid"], label, 255)
    label_o = torch.where(region, label_t, source["mask"])
    keys = torch.cat([ours.detach().flatten(0, 2), theirs.flatten(0, 2)])
    key_label = torch.cat([label_o.flatten(), label_t.flatten()])
    losses = []
    for place in (region & target["valid"] & (confidence > 0.6)).nonzero():
        b, i, j = place.tolist()
        anchor = ours[b, i, j]
        others = keys[(key_label != label_t[b, i, j]) & (key_label != 255)]
        positive = (anchor @ theirs[b, i, j] / 0.1).exp()
        losses.append(-(positive / (positive + (others @ anchor / 0.1).exp().sum())).log())
    torch.testing.assert_close(term, 2 * torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)
    term.backward()
    assert module.student.heads["region"][0].weight.grad.any()
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    assert math.isfinite(term.item())
