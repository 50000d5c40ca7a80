"""MGD: a light student learns from two frozen teachers, a deep one and a wide one, at three granularities."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.networks import NetworkFactory
from seglab.ops.boxes import BoxSampler, FixedAreaBox
from seglab.ops.losses import self_similarity
from seglab.ops.mixing import cutmix_partner, ground_truth, mix
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import hard_label
from seglab.ops.teacher import Frozen
from seglab.types import Batch, Output, require_least


class MGD(Method):
    """MGD (Qin, Wu, Li, Xiao, Zheng and Wang, ECCV 2022): multi-granularity distillation for light networks.

    Two networks of earlier runs (CPS with CutMix in the paper) teach the student on mixed unlabeled images: their
    labels every pixel, the deep one the mean of the logits over an image, the wide one how alike its regions are. On
    labeled images their labels join the truth. ``seglab chain`` with ``chain/mgd_streets.yaml`` trains all three. The
    teachers are in no checkpoint: their runs have to be there to resume, score or load a student, too.

    Deviations:
        Teachers normalise with their batch, and their running statistics drift -> they stay as trained.
        Terms of the teachers' own logits, which move nothing -> left out.
        The wide teacher is a ResNet-34 of double width, whose ImageNet weights are no library's -> any run's network:
            in the chains a wide ResNet-50; the paper's is ``network/deeplabv3plus_wideresnet34_cps.yaml``.
        Boxes come from another crop of the same image -> from the neighbour in the batch; from a labeled image at batch
            1.
        A region of zeros makes the loss NaN -> it is like no other.
        Padding counts in labels and means -> it does not.
        Mixed images enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.
        The code divides losses by the number of processes and multiplies the learning rate by it -> recipes have the
            effective values.

    Args:
        deep, wide: the teachers, ``NetworkOfRun`` with ``run`` (or any network, which then has no training).
        weight: of the cross-entropy with the teachers' labels.
        image_weight: of the image level: 0.002 on VOC, 0.001 on Cityscapes. Summed over images and classes, so it goes
            with the batch of a process.
        region_weight: of the region level: 100, and 50 for MobileNetV2.
        grid: rows and columns of regions.
        on_labeled: teachers label labeled images too.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        boxes: how the CutMix boxes are drawn.
    """

    def __init__(
        self,
        deep: NetworkFactory,
        wide: NetworkFactory,
        weight: float = 1.0,
        image_weight: float = 0.002,
        region_weight: float = 100.0,
        grid: int = 7,
        on_labeled: bool = True,
        update_bn_on_strong: bool = False,
        boxes: BoxSampler = lazy_instance(FixedAreaBox, boxes=3, proportion=(0.25, 0.5)),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_least(self, 0, weight=weight, image_weight=image_weight, region_weight=region_weight)
        require_least(self, 1, grid=grid)
        self.make_deep, self.make_wide = deep, wide
        self.weight, self.image_weight, self.region_weight = weight, image_weight, region_weight
        self.grid, self.on_labeled = grid, on_labeled
        self.update_bn_on_strong, self.boxes = update_bn_on_strong, boxes

    def build(self) -> None:
        super().build()
        self.deep, self.wide = Frozen(self.make_deep(self.space)), Frozen(self.make_wide(self.space))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        mask, valid = labeled["mask"], unlabeled["valid"]

        answer = unlabeled["answer"] = self.deep(unlabeled["image"])
        labels = hard_label(answer.logits), hard_label(self.wide(unlabeled["image"]).logits)
        self.log_pseudo_quality(labels[0], valid & (labels[0] == labels[1]))
        truth = ground_truth(labeled["image"], mask, labeled["valid"])
        size, height, width = valid.shape
        box = self.boxes(size, height, width, valid.device)
        views = [ground_truth(unlabeled["image"], label, valid) for label in labels]
        mixed, other = (mix(box, cutmix_partner(view, truth), view) for view in views)

        out_l = self.student(labeled["image"])
        with frozen_statistics(self.student, not self.update_bn_on_strong):
            out_u = self.student(mixed.image)
        deep, wide = self.deep(mixed.image), self.wide(mixed.image)

        pixel = self.taught(out_u, mixed.label, other.label, mixed.valid)
        if self.on_labeled:
            first, second = (hard_label(teacher(labeled["image"]).logits) for teacher in (self.deep, self.wide))
            pixel = pixel + self.taught(out_l, first, second, labeled["valid"])
        image = (image_mean(out_u, mixed.valid) - image_mean(deep, mixed.valid)).abs().sum()
        alike, target = (self_similarity(out.features, self.grid) for out in (out_u, wide))
        return {
            "supervised": self.supervised(out_l, mask),
            "pixel": self.weight * pixel,
            "image": self.image_weight * image,
            "region": self.region_weight * F.mse_loss(alike, target),
        }

    def taught(self, out: Output, deep: Tensor, wide: Tensor, valid: Tensor) -> Tensor:
        """Cross-entropy with the labels B H W of both teachers, mean over ``valid`` pixels each."""
        one = torch.ones_like(valid, dtype=torch.float32)
        return self.pixel_loss(out, deep, one, valid) + self.pixel_loss(out, wide, one, valid)


def image_mean(out: Output, valid: Tensor) -> Tensor:
    """Mean of the logits over the valid pixels of each image: B K."""
    shown = valid.unsqueeze(1)
    return (out.logits.float() * shown).sum((2, 3)) / shown.sum((2, 3)).clamp(min=1)
