"""CutMix-Seg against its formulas, on a network of two 1x1 convolutions."""

import pytest
import torch
from pointwise import NO_BOX, Halves, Normed, batch, constant, decoded, sharpen
from torch import Tensor

from seglab.methods import CutMixSeg
from seglab.ops.losses import CONSISTENCY


def test_sums_over_classes() -> None:
    module = decoded(CutMixSeg)
    constant(module.student, 1.0, 0.0)
    constant(module.teacher.network, 0.0, 1.0)
    assert module.losses(batch())["consistency"].item() == pytest.approx(2.0)


def test_agrees_at_the_start_whatever_is_mixed() -> None:
    assert decoded(CutMixSeg, threshold=0.0).losses(batch())["consistency"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("per_pixel", [True, False])
def test_trusts_by_pixel_or_by_the_share_of_sure_pixels(per_pixel: bool) -> None:
    module, data = decoded(CutMixSeg, threshold=0.8, per_pixel=per_pixel, boxes=NO_BOX), batch()
    sharpen(module.teacher.network, 10.0)
    consistency = module.losses(data)["consistency"].item()
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    p, q = module.student(image).logits.softmax(1), module.teacher.network(image).logits.softmax(1)
    distance, sure = (p - q).square().sum(1), (q.amax(1) >= 0.8).float()
    assert 0 < sure.mean() < 1
    weight = sure if per_pixel else sure.mean()
    assert consistency == pytest.approx(((weight * distance)[valid].sum() / valid.sum()).item(), rel=1e-5)


def test_mixes_probabilities_as_it_mixes_images() -> None:
    module, data = decoded(CutMixSeg, threshold=0.0, boxes=Halves()), batch()
    sharpen(module.teacher.network, 3.0)
    consistency = module.losses(data)["consistency"].item()
    weak, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    mixed = torch.cat([weak.flip(0)[..., :3], weak[..., 3:]], -1)
    counted = torch.cat([valid.flip(0)[..., :3], valid[..., 3:]], -1)
    q = module.teacher.network(weak).logits.softmax(1)
    target = torch.cat([q.flip(0)[..., :3], q[..., 3:]], -1)
    distance = (module.student(mixed).logits.softmax(1) - target).square().sum(1)
    assert consistency == pytest.approx(distance[counted].mean().item(), rel=1e-5)


@pytest.mark.parametrize("loss", CONSISTENCY)
def test_has_the_losses_of_its_code(loss: str) -> None:
    """Of known predictions, (0.8, 0.2) by the student and (0.6, 0.4) by the teacher, at most 0.6 sure."""
    module = decoded(CutMixSeg, loss=loss, threshold=0.5)
    constant(module.student, 0.8, 0.2)
    constant(module.teacher.network, 0.6, 0.4)
    logits = torch.tensor([[0.8, 0.2], [0.6, 0.4]]).log()
    expected = {
        "var": 2 * 0.2**2,
        "bce": -2 * (0.6 * logits[0, 0] + 0.4 * logits[0, 1]),
        "kld": (logits[1].exp() * (logits[1] - logits[0])).sum(),
        "logits_var": (logits[1] - logits[0]).square().sum() / 2**0.5,
        "logits_smoothl1": 0.5 * (logits[1] - logits[0]).square().sum() / 2**0.5,
    }
    assert module.losses(batch())["consistency"].item() == pytest.approx(float(expected[loss]), rel=1e-4)


def test_with_cutout_shows_boxes_and_counts_them_alone() -> None:
    module, data = decoded(CutMixSeg, threshold=0.0, cutout=True, boxes=Halves()), batch()
    module.student.mean.fill_(0.5)
    sharpen(module.teacher.network, 3.0)
    seen: list[Tensor] = []
    module.student.register_forward_pre_hook(lambda part, args: seen.append(args[0]))
    consistency = module.losses(data)["consistency"].item()
    weak, view = data["unlabeled"]["image"], seen[-1][2:]  # behind the labeled images
    assert torch.equal(view, torch.cat([weak[..., :3], torch.full_like(weak[..., 3:], 0.5)], -1))
    p, q = (net(x).logits.softmax(1) for net, x in ((module.student, view), (module.teacher.network, weak)))
    expected = (p - q).square().sum(1)[..., :3][data["unlabeled"]["valid"][..., :3]].mean()
    assert consistency == pytest.approx(expected.item(), rel=1e-5)


def test_averages_running_statistics() -> None:
    module = decoded(CutMixSeg, Normed)
    norms = [net.encoder[1] for net in (module.student, module.teacher.network)]  # type: ignore[index]
    norms[0].running_mean.fill_(1.0)
    module.teacher.update(module.student, 0)
    assert norms[1].running_mean.tolist() == pytest.approx([0.01] * 8)
