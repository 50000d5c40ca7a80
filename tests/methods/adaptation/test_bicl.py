"""BiCL's contrast of pairs against its formulas, on a network of one 1x1 convolution."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import batch, method
from torch import Tensor

from seglab.methods import BiCL
from seglab.networks.deeplabv2 import ASPPL
from seglab.ops.domain_prototypes import class_weighted_cross_entropy, likeness, to_pixels
from seglab.types import Batch

NAMES = ["a", "b", "c"]


def bicl(**arguments: Any) -> Any:
    return method(BiCL, **{"classes": NAMES} | arguments)


def data() -> Batch:
    found = batch()
    found["unlabeled"]["pseudo"] = torch.randint(0, 3, (2, 4, 6)).masked_fill(torch.rand(2, 4, 6) < 0.4, 255)
    return found


def test_an_absent_class_is_as_unlike_as_can_be() -> None:
    """The numbers of the card: cosines (1, 0, absent), ten times."""
    prototypes = torch.tensor([[[2.0, 0], [0, 1], [0, 0]]])
    cosine = likeness(prototypes, torch.tensor([[True, True, False]]), torch.tensor([[3.0, 0]]).view(1, 2, 1, 1))
    logits = 10 * cosine
    assert logits.flatten().tolist() == [10, 0, -10]
    every = torch.ones(1, 3, dtype=torch.bool)
    losses = [class_weighted_cross_entropy(logits.double(), torch.full((1, 1, 1), k), every).item() for k in (0, 1)]
    assert losses == pytest.approx([4.5401e-5, 10.000045], rel=2e-3)


def test_only_classes_that_count_are_averaged() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    label[:, 0] = 255
    counted = torch.tensor([[True, False, False], [False] * 3])
    loss = class_weighted_cross_entropy(logits, label, counted)
    known = label[0] == 0
    torch.testing.assert_close(loss[0], F.cross_entropy(logits[0][:, known].T, label[0][known]))
    assert loss[1] == 0


def direction(prototypes: Tensor, shown: list[int], maps: Tensor, label: Tensor, common: list[int]) -> Tensor:
    """As the official code, for one image: maps D H W, labels H W."""
    similar = F.normalize(prototypes, dim=1) @ F.normalize(maps.flatten(1), dim=0)
    absent = [k for k in range(3) if k not in shown]
    similar[absent] = -1
    weight = torch.tensor([float(k in common) for k in range(3)])
    return F.cross_entropy(10 * similar[None], label.flatten()[None], weight, ignore_index=255)


def means(maps: Tensor, label: Tensor) -> tuple[Tensor, list[int]]:
    shown = [k for k in range(3) if (label == k).any()]
    return torch.stack([maps[:, label == k].mean(1) if k in shown else torch.zeros(3) for k in range(3)]), shown


def test_losses_of_the_official_code() -> None:
    module, found = bicl(transfer=False), data()
    source, target = found["labeled"], found["unlabeled"]
    terms = module.losses(found)
    out_s, out_t = module.student(source["image"]), module.student(target["image"])
    pairs = []
    for maps_s, label_s, maps_t, label_t in zip(
        out_s.features, source["mask"], out_t.features, target["pseudo"], strict=True
    ):
        (mean_s, shown_s), (mean_t, shown_t) = means(maps_s, label_s), means(maps_t, label_t)
        common = [k for k in shown_s if k in shown_t]
        forward = direction(mean_s, shown_s, maps_t, label_t, common)
        pairs.append(0.1 * forward + 0.1 * direction(mean_t, shown_t, maps_s, label_s, common))
    torch.testing.assert_close(terms["contrast"], torch.stack(pairs).mean())
    entropies = []
    for out, valid in ((out_s, source["valid"]), (out_t, target["valid"])):
        p = out.logits.softmax(1)
        entropies.append(-(p * p.log()).sum(1)[valid].mean())
    torch.testing.assert_close(terms["entropy"], 0.4 * (entropies[0] + 0.3 * entropies[1]))
    torch.testing.assert_close(terms["target"], 0.3 * F.cross_entropy(out_t.logits, target["pseudo"], ignore_index=255))
    torch.testing.assert_close(terms["supervised"], F.cross_entropy(out_s.logits, source["mask"], ignore_index=255))
    terms["contrast"].backward()
    assert module.student.encoder.weight.grad.any()
    assert not module.shift.seen.any()


def test_the_nearest_calibrated_prototype_labels_what_has_no_label() -> None:
    module, found = bicl(momentum=0.0, sure=0.5), data()
    source, target = found["labeled"], found["unlabeled"]
    maps_s, maps_t = (module.student(x["image"]).features for x in (source, target))
    term = module.losses(found)["contrast"]
    known = [(means(maps_s[i], source["mask"][i]), means(maps_t[i], target["pseudo"][i])) for i in range(2)]
    shift = torch.zeros(3, 3)
    for k in range(3):
        gaps = [t[0][k] - s[0][k] for s, t in known if k in s[1] and k in t[1]]
        shift[k] = torch.stack(gaps).mean(0) if gaps else 0
    torch.testing.assert_close(module.shift.mean, shift)
    pairs = []
    for i, ((mean_s, shown_s), _) in enumerate(known):
        similar = F.normalize(mean_s + shift, dim=1) @ F.normalize(maps_t[i].flatten(1), dim=0)
        similar[[k for k in range(3) if k not in shown_s]] = -1
        confidence, nearest = (10 * similar).softmax(0).max(0)
        free = (target["pseudo"][i] == 255) & target["valid"][i] & (confidence.view(4, 6) > 0.5)
        assert free.any()
        label_t = torch.where(free, nearest.view(4, 6), target["pseudo"][i])
        mean_t, shown_t = means(maps_t[i], label_t)
        common = [k for k in shown_s if k in shown_t]
        forward = direction(mean_s, shown_s, maps_t[i], label_t, common)
        pairs.append(0.1 * forward + 0.1 * direction(mean_t, shown_t, maps_s[i], source["mask"][i], common))
    torch.testing.assert_close(term, torch.stack(pairs).mean())


def test_features_are_the_parts_of_deeplabs_head() -> None:
    head, features = ASPPL(5, 3, (1, 2)), torch.randn(2, 5, 6, 7)
    parts = head.apart(features)
    assert parts.shape == (2, 6, 6, 7)
    torch.testing.assert_close(parts[:, :3] + parts[:, 3:], head(features))


def test_a_pixel_has_what_its_cell_says() -> None:
    cells = torch.arange(6.0).view(1, 1, 2, 3)
    pixels = to_pixels(cells, (4, 6), torch.Size((3, 5)))
    assert pixels[0, 0].tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]


def test_without_offline_labels_sure_predictions_are() -> None:
    module, found = bicl(threshold=0.0), batch()
    terms = module.losses(found)
    assert terms["target"] > 0
    assert math.isfinite(terms["contrast"].item())
