"""AugSeg: a mean teacher whose unlabeled images get random colours and, where it is unsure, labeled pixels."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.boxes import BetaBox, BoxSampler
from seglab.ops.mixing import Pixels, cutmix, cutmix_partner, cycled, ground_truth, mix
from seglab.ops.pseudo import image_confidence, pixel_threshold, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import RandomIntensityView, View
from seglab.types import Batch, require_least, require_shares


class AugSeg(Method):
    """AugSeg (Zhao, Yang, Long, Pi, Zhou and Wang, CVPR 2023): two augmentations on top of a plain mean teacher.

    The teacher labels the weak view of an unlabeled image u_i; pixels above a threshold supervise the student on a
    view whose colours a random number of operations changed. With c_i the teacher's mean (1 - entropy) x confidence on
    u_i and j the partner of i, the boxes M and M' cut

        v_i = a box M_i of the labeled image l_j pasted into u_i with probability 1 - c_i, else u_i
        x_i = the box M'_i of v_j pasted into u_i

    and x_i is what the student sees. An image's own labeled box shows only in the image whose partner it is.

    Deviations:
        The partner is drawn at random and may be the image itself -> the neighbour in the batch, whose labeled box is
            from that neighbour's labeled partner; a labeled image at batch 1.
        Mean over all pixels, also in the confidence -> over those that are not padding.
        Labeled and mixed images form one batch -> they go apart; mixed ones enter the running statistics of batch
            normalisation only with ``update_bn_on_strong``.
        The teacher copies the student throughout the first epoch -> it is an average from step 0.

    Args:
        threshold: confidence from which a pixel is trusted, in [0, 1]; 0 on Cityscapes.
        weight: of the consistency term.
        inject: paste labeled pixels into images of which the teacher is unsure; without it, plain CutMix.
        decay: share of the old teacher kept per step, also for its running statistics; after a warm-up.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        strong: photometric perturbation of the student's view.
        labeled_boxes: how the boxes of labeled images are drawn.
        boxes: how the boxes of unlabeled images are drawn.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        weight: float = 1.0,
        inject: bool = True,
        decay: float = 0.999,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(RandomIntensityView),
        labeled_boxes: BoxSampler = lazy_instance(BetaBox, alpha=8.0, beta=2.0),
        boxes: BoxSampler = lazy_instance(BetaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold)
        require_least(self, 0, weight=weight)
        self.threshold, self.weight = threshold, weight
        self.inject, self.decay = inject, decay
        self.update_bn_on_strong = update_bn_on_strong
        self.strong, self.labeled_boxes, self.boxes = strong, labeled_boxes, boxes

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, average_buffers=True)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid = unlabeled["image"], unlabeled["valid"]

        answer = unlabeled["answer"] = self.teacher(weak)
        label, confidence = pseudo_label(answer.logits)
        trusted = pixel_threshold(confidence, self.threshold)
        self.log_pseudo_quality(label, trusted > 0)

        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        view = Pixels(self.strong(weak), label, trusted, valid)
        injected = self.injected(view, truth, image_confidence(answer.logits, valid)) if self.inject else view
        mixed = cutmix(self.boxes, cutmix_partner(injected, truth), view)

        frozen = False, not self.update_bn_on_strong
        out_l, out_s = self.student.apart(labeled["image"], mixed.image, frozen=frozen)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "consistency": self.weight * self.pixel_loss(out_s, mixed.label, mixed.weight, mixed.valid),
        }

    def injected(self, view: Pixels, truth: Pixels, confidence: Tensor) -> Pixels:
        """Views with a box of a labeled image, each with probability 1 - its confidence (B,)."""
        batch, height, width = view.valid.shape
        other = Pixels(*(x.roll(1, 0) for x in cycled(truth, batch, view.image.shape[-2:])))
        unsure = torch.rand_like(confidence) > confidence
        box = self.labeled_boxes(batch, height, width, view.valid.device)
        return mix(box & unsure.view(-1, 1, 1), other, view)
