"""EHTDI's losses against their formulas, on a network of one 1x1 convolution."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, Pointwise, TwoHeads, batch, method

from seglab.methods import EHTDI
from seglab.ops.components import edge
from seglab.ops.two_views import multi_level_contrast
from seglab.ops.views import FlipView

NONE = FlipView(0.0)


def ehtdi(**arguments: Any) -> Any:
    options = {"classes": ["road", "car", "person"], "crop": NONE, "strong": OFF, "sure": 0.4}
    return method(EHTDI, **options | arguments)


@pytest.mark.parametrize("network", [Pointwise, TwoHeads])
@pytest.mark.parametrize("edges", [False, True])
def test_losses(network: type[Pointwise], edges: bool) -> None:
    module, data = ehtdi(network=network, edges=edges), batch()
    source, target = data["labeled"], data["unlabeled"]
    terms = module.losses(data)  # of road and car, car alone can be pasted

    objects, valid = source["mask"] == 1, target["valid"] | (source["mask"] == 1)
    label = torch.where(target["valid"], module.student(target["image"]).logits.argmax(1), 255)
    label = torch.where(objects, 1, label)
    view = torch.where(objects[:, None], source["image"], target["image"])
    out = module.student(view)
    pure = module.student(target["image"]) if edges else out
    confidence, found = pure.logits.softmax(1).max(1)
    certain = valid & (confidence > 0.4)
    assert certain.any()
    assert not certain.all()
    area = torch.where(objects, 1, torch.where(certain, found, 255))
    moved = certain | objects if edges else certain
    image = torch.where(moved[:, None], view, source["image"])
    mixed_label = torch.where(moved, area if edges else found, source["mask"])
    out_m = module.student(image)

    def loss(logits: torch.Tensor, label: torch.Tensor, region: Any = True) -> torch.Tensor:
        return F.cross_entropy(logits, torch.where(torch.as_tensor(region), label, 255), ignore_index=255)

    ring, ring_t = edge(objects), edge(certain) & ~objects
    pseudo, mixed = loss(out.logits, label), loss(out_m.logits, mixed_label)
    if edges:
        pseudo = pseudo + loss(out.logits, label, ring)
        mixed = mixed + 0.1 * loss(out_m.logits, mixed_label, ring_t)
    if network is TwoHeads:
        aux = out.side["aux"].logits
        both = torch.where(valid, (out.logits.softmax(1) + aux.softmax(1)).argmax(1), 255)
        pseudo = pseudo + 0.1 * (loss(aux, both) + (loss(aux, both, ring) if edges else 0))
    torch.testing.assert_close(terms["pseudo"], 0.1 * pseudo)
    torch.testing.assert_close(terms["mixed"], 0.1 * mixed)
    classes, pixels = multi_level_contrast(out.logits, out.logits, area)
    torch.testing.assert_close(terms["class_contrast"], 0.01 * classes)
    torch.testing.assert_close(terms["pixel_contrast"], 0.01 * pixels)
    assert set(terms) == {"supervised", "pseudo", "mixed", "class_contrast", "pixel_contrast"}


def test_stuff_is_never_pasted_and_the_teacher_is_a_plain_mean() -> None:
    module = ehtdi(classes=["road", "building", "sidewalk"])
    assert not module.objects.any()
    assert not module.teacher.warmup
    seen = []
    encode, data = module.student.encode, batch()
    module.student.encode = lambda image: seen.append(image) or encode(image)
    module.losses(data)
    torch.testing.assert_close(seen[1][2:4], data["unlabeled"]["image"])
