"""CPS: two networks are each other's teacher."""

from typing import Any

import torch
from jsonargparse import lazy_instance
from torch import Tensor, nn

from seglab.methods.base import Method
from seglab.ops.losses import pixel_cross_entropy, pixel_mean
from seglab.ops.mixing import BoxSampler, FixedAreaBox, cutmix_partner, ground_truth, mix
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, require


class CPS(Method):
    """Cross pseudo supervision (Chen et al., CVPR 2021).

    Two networks of one architecture start from the same pre-trained encoder and different random heads; the most
    probable class of each is the label of the other, on labeled and unlabeled images, with no threshold. The second
    network is scored as ``val_other``; predictions are the student's, as in the paper.

    Deviations: one optimiser for both networks, where the code has two of equal settings. Its CutMix takes the box from
    a second, equally seeded stream, in effect from another crop of the same image; here from the neighbour in the
    batch, and from a labeled image with its ground truth at batch size 1. Its mixed views enter the running statistics
    of batch normalisation; here only with ``update_bn_on_strong``. Padding does not count in the cross term. The code
    divides losses by the number of processes and multiplies the learning rate by it, which leaves a weight decay that
    many times the written one: ``experiments/published/cps_*.yaml`` have the effective values.

    Args:
        weight: of the cross term: the paper's 1.5 on VOC and 6 on Cityscapes; with CutMix 1 and 5 in its code.
        on_labeled: cross term on labeled images too. The code has it without CutMix and not with.
        cutmix: both networks label the unmixed unlabeled images, without a gradient, and learn on mixed ones.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        boxes: law of the CutMix boxes.
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
        require(weight >= 0, "CPS.weight", weight, "give a weight of 0 or more")
        self.weight, self.on_labeled = weight, on_labeled
        self.cutmix, self.update_bn_on_strong, self.boxes = cutmix, update_bn_on_strong, boxes

    def build(self) -> None:
        super().build()
        self.other = self.network(self.num_classes)

    def evaluated(self) -> dict[str, nn.Module]:
        return {"student": self.student, "other": self.other}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]

        logits_l = self.both(labeled["image"])
        labels_l = [hard_label(logits) for logits in logits_l]
        with torch.set_grad_enabled(not self.cutmix):
            logits_u = self.both(unlabeled["image"])
        labels_u = [hard_label(logits) for logits in logits_u]
        self.log_pseudo_quality(labels_u[0], unlabeled["valid"])

        valid = unlabeled["valid"]
        if self.cutmix:
            size, height, width = valid.shape
            box = self.boxes(size, height, width, valid.device)
            truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
            views = [ground_truth(unlabeled["image"], label, valid) for label in labels_u]
            mixed = [mix(box, cutmix_partner(view, truth), view) for view in views]
            labels_u, valid = [view.label for view in mixed], mixed[0].valid
            with frozen_statistics(self, not self.update_bn_on_strong):
                logits_u = self.both(mixed[0].image)

        parts = [(logits_u, labels_u, valid)]
        if self.on_labeled:
            parts.append((logits_l, labels_l, labeled["valid"]))
        cross = torch.cat(
            [
                (pixel_cross_entropy(z[0], label[1]) + pixel_cross_entropy(z[1], label[0])).flatten()
                for z, label, _ in parts
            ]
        )
        counted = torch.cat([valid.flatten() for _, _, valid in parts])
        return {
            "supervised": self.criterion(logits_l[0], labeled["mask"]),
            "supervised_other": self.criterion(logits_l[1], labeled["mask"]),
            "cross": self.weight * pixel_mean(cross, counted),
        }

    def both(self, image: Tensor) -> list[Tensor]:
        """Logits B K H W of the student and of the other network."""
        return [self.student(image).logits, self.other(image).logits]
