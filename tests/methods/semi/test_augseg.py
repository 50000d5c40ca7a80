"""AugSeg: which pixels the student sees, with which labels, written down by hand."""

from typing import Any

import pointwise
import pytest
import torch
from pointwise import OFF, batch
from torch import Tensor

from seglab.methods import AugSeg
from seglab.ops.boxes import AreaBox, BoxSampler


class Columns(BoxSampler):
    """A box of all rows and some columns."""

    def __init__(self, first: int, end: int) -> None:
        self.first, self.end = first, end

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        column = torch.arange(width, device=device)
        return ((column >= self.first) & (column < self.end)).expand(batch, height, width)


def augseg(**arguments: Any) -> Any:
    module = pointwise.method(AugSeg, **{"strong": OFF, "threshold": 0.0} | arguments)
    module.student.eval()
    return module


def make(network: Any, *logits: float) -> None:
    """Predict these logits everywhere."""
    with torch.no_grad():
        network.encoder.weight.zero_()
        network.encoder.bias.copy_(torch.tensor(logits))


def seen(module: Any, data: Any) -> Tensor:
    """The mixed images that the student gets."""
    images: list[Tensor] = []
    hook = module.student.register_forward_pre_hook(lambda part, args: images.append(args[0]))
    module.losses(data)
    hook.remove()
    return images[-1][-len(data["unlabeled"]["image"]) :]  # behind the labeled ones


def test_a_labeled_box_shows_in_the_partner_alone_and_only_where_both_boxes_meet() -> None:
    module, data = augseg(labeled_boxes=Columns(1, 3), boxes=Columns(2, 5)), batch(3)
    make(module.teacher.network, 0.0, 0.0)  # undecided: confidence 0, always injected
    weak, labels = data["unlabeled"]["image"], data["labeled"]["image"]
    mixed = seen(module, data)
    for i in range(3):
        partner, theirs = (i - 1) % 3, (i - 2) % 3
        assert torch.equal(mixed[i, ..., :2], weak[i, ..., :2])  # column 1 was injected into i's own clone alone
        assert torch.equal(mixed[i, ..., 2], labels[theirs, ..., 2])  # where the boxes meet
        assert torch.equal(mixed[i, ..., 3:5], weak[partner, ..., 3:5])
        assert torch.equal(mixed[i, ..., 5:], weak[i, ..., 5:])


def test_a_certain_teacher_injects_nothing() -> None:
    module, data = augseg(labeled_boxes=Columns(1, 3), boxes=Columns(2, 5)), batch(3)
    make(module.teacher.network, 200.0, 0.0)  # confidence 1
    weak = data["unlabeled"]["image"]
    expected = torch.cat([weak[..., :2], weak.roll(1, 0)[..., 2:5], weak[..., 5:]], -1)
    assert torch.equal(seen(module, data), expected)
    make(module.teacher.network, 0.0, 0.0)
    module.inject = False
    assert torch.equal(seen(module, data), expected)


def test_images_are_injected_with_one_minus_their_confidence() -> None:
    module, data = augseg(labeled_boxes=Columns(0, 6), boxes=Columns(0, 6)), batch(2)
    q = 0.9
    make(module.teacher.network, torch.tensor(q / (1 - q)).log().item(), 0.0)
    entropy = -(q * torch.tensor(q).log2() + (1 - q) * torch.tensor(1 - q).log2()).item()
    torch.manual_seed(0)
    injected = torch.stack([(seen(module, data) == data["labeled"]["image"]).flatten(1).all(1) for _ in range(400)])
    assert injected.float().mean().item() == pytest.approx(1 - (1 - entropy) * q, abs=0.05)


def test_labels_and_trust_move_with_the_pixels_and_void_adds_nothing() -> None:
    module, data = augseg(labeled_boxes=Columns(0, 6), boxes=Columns(0, 3), threshold=0.8), batch(2)
    make(module.teacher.network, 0.0, 0.0)  # below the threshold: nothing but the labeled box is trusted
    losses = module.losses(data)
    mask = data["labeled"]["mask"]
    image = torch.cat([data["labeled"]["image"][..., :3], data["unlabeled"]["image"][..., 3:]], -1)
    loss = torch.nn.functional.cross_entropy(module.student(image).logits, mask, ignore_index=255, reduction="none")
    valid = torch.cat([data["labeled"]["valid"][..., :3], data["unlabeled"]["valid"][..., 3:]], -1)
    assert losses["consistency"].item() == pytest.approx(loss[..., :3].sum().item() / valid.sum().item())


def test_without_a_trusted_pixel_the_loss_is_zero() -> None:
    module, data = augseg(threshold=0.95, inject=False), batch(2)
    make(module.teacher.network, 0.0, 0.0)
    assert module.losses(data)["consistency"].item() == 0.0


def test_a_single_image_gets_pixels_of_the_labeled_one() -> None:
    module, data = augseg(labeled_boxes=AreaBox(probability=0.0), boxes=Columns(0, 6)), batch(1)
    assert torch.equal(seen(module, data), data["labeled"]["image"])
