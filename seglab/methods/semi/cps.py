"""CPS: two networks are each other's teacher."""

from typing import Any

import torch
from torch import Tensor, nn

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.boxes import BoxSampler, FixedAreaBox
from seglab.ops.mixing import cutmix_partner, ground_truth, mix
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, Output, require_least


class CPS(Method):
    """Cross pseudo supervision (Chen et al., CVPR 2021).

    Two networks of one architecture start from the same pre-trained encoder and different random heads; the most
    probable class of each is the label of the other, on labeled and unlabeled images, with no threshold. The second
    network is scored as ``val_other``; predictions are the student's, as in the paper.

    Deviations:
        Two optimisers of equal settings -> one for both networks.
        The code's CutMix takes the box from a second, equally seeded stream, in effect from another crop of the same
            image -> from the neighbour in the batch; from a labeled image with its ground truth at batch 1.
        Mixed views enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.
        Padding counts in the cross term -> it does not.
        The code divides losses by the number of processes and multiplies the learning rate by it, which leaves a weight
            decay that many times the written one -> recipes have the effective values.

    Args:
        weight: of the cross term: the paper's 1.5 on VOC and 6 on Cityscapes; with CutMix 1 and 5 in its code.
        on_labeled: cross term on labeled images too. The code has it without CutMix and not with.
        cutmix: both networks label the unmixed unlabeled images, without a gradient, and learn on mixed ones.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        boxes: how the CutMix boxes are drawn.
    """

    def __init__(
        self,
        weight: float = 1.5,
        on_labeled: bool = True,
        cutmix: bool = False,
        update_bn_on_strong: bool = False,
        boxes: BoxSampler = lazy_instance(FixedAreaBox, boxes=3, proportion=(0.25, 0.5)),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_least(self, 0, weight=weight)
        self.weight, self.on_labeled = weight, on_labeled
        self.cutmix, self.update_bn_on_strong, self.boxes = cutmix, update_bn_on_strong, boxes

    def build(self) -> None:
        super().build()
        self.other = self.network(self.space)

    def evaluated(self) -> dict[str, nn.Module]:
        return {"student": self.student, "other": self.other}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        mask, valid = labeled["mask"], unlabeled["valid"]

        if self.cutmix:
            with torch.no_grad():
                out_u, other_u = self.student(unlabeled["image"]), self.other(unlabeled["image"])
        else:
            out_u, out_l = self.student.apart(unlabeled["image"], labeled["image"])
            other_u, other_l = self.other.apart(unlabeled["image"], labeled["image"])
        label, other_label = hard_label(out_u.logits), hard_label(other_u.logits)
        self.log_pseudo_quality(label, valid)

        if self.cutmix:
            truth = ground_truth(labeled["image"], mask, labeled["valid"])
            view, other_view = (ground_truth(unlabeled["image"], of, valid) for of in (label, other_label))
            size, height, width = valid.shape
            box = self.boxes(size, height, width, valid.device)
            mixed, other_mixed = (mix(box, cutmix_partner(part, truth), part) for part in (view, other_view))
            label, other_label, valid = mixed.label, other_mixed.label, mixed.valid
            frozen = False, not self.update_bn_on_strong
            out_l, out_u = self.student.apart(labeled["image"], mixed.image, frozen=frozen)
            other_l, other_u = self.other.apart(labeled["image"], mixed.image, frozen=frozen)

        cross = self.agreement(out_u, other_u, label, other_label, valid)
        if self.on_labeled:
            labels = hard_label(out_l.logits), hard_label(other_l.logits)
            cross_l = self.agreement(out_l, other_l, *labels, labeled["valid"])
            share = labeled["valid"].sum() / (labeled["valid"].sum() + valid.sum()).clamp(min=1)
            cross = share * cross_l + (1 - share) * cross  # the mean over the pixels of both
        return {
            "supervised": self.supervised(out_l, mask),
            "supervised_other": self.supervised(other_l, mask),
            "cross": self.weight * cross,
        }

    def agreement(self, out: Output, other: Output, label: Tensor, other_label: Tensor, valid: Tensor) -> Tensor:
        """How far each network is from the labels B H W of the other, mean over ``valid`` pixels."""
        one = torch.ones_like(valid, dtype=torch.float32)
        return self.pixel_loss(out, other_label, one, valid) + self.pixel_loss(other, label, one, valid)
