"""CutMix-Seg: what the teacher says of two images, mixed, is what the student says of the mixed image."""

from typing import Any, Literal

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.boxes import BoxSampler, FixedAreaBox
from seglab.ops.losses import CONSISTENCY, pixel_mean, sigmoid_rampup
from seglab.ops.mixing import Pixels, cutmix, cutmix_partner, ground_truth
from seglab.ops.pseudo import batch_ratio, pixel_threshold, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import NoView, View
from seglab.types import Batch, require_shares


class CutMixSeg(Method):
    """CutMix-Seg (French, Laine, Aila, Mackiewicz and Finlayson, BMVC 2020).

    A mean teacher predicts two unlabeled images; images and predictions are mixed by one box, and the student is drawn
    to the mixed predictions, as far as the teacher is sure: by the squared distance of the class probabilities, summed
    over classes, or by another of the official code's losses. With CutOut a single image is shown in part.

    Deviations:
        The second image comes from a loader of its own -> the neighbour in the batch; a labeled image at batch 1.
        Mixed images enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.
        Padding counts -> it does not.

    Args:
        loss: how far predictions are apart. ``var``: squared distance of probabilities. ``bce``: binary cross-entropy
            of each class. ``kld``: Kullback-Leibler divergence from the teacher's. ``logits_var``, ``logits_smoothl1``:
            of logits, divided by the square root of the number of classes.
        cutout: the student sees the boxes alone, the rest in the mean colour; only the boxes count. The code then draws
            their area from (0, 1]: ``boxes.proportion``.
        weight: of the consistency term.
        threshold: confidence from which the teacher is sure of a pixel, in [0, 1].
        per_pixel: count only the pixels where the teacher is sure; otherwise all, times the share of those pixels.
        ramp_up: steps over which the weight rises as exp(-5 (1 - t)^2); 0: no ramp.
        decay: share of the old teacher kept per step, also for its running statistics.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        strong: photometric perturbation of the student's images, off in the paper; that of its sequel (French and
            Mackiewicz, 2021) is jitter of 0.4, 0.4, 0.4, 0.1 and grayscale, without blur.
        boxes: how the boxes are drawn.
    """

    def __init__(
        self,
        loss: Literal["var", "bce", "kld", "logits_var", "logits_smoothl1"] = "var",
        cutout: bool = False,
        weight: float = 1.0,
        threshold: float = 0.97,
        per_pixel: bool = False,
        ramp_up: int = 0,
        decay: float = 0.99,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(NoView),
        boxes: BoxSampler = lazy_instance(FixedAreaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold)
        self.distance, self.cutout = CONSISTENCY[loss], cutout
        self.weight, self.ramp_up, self.decay = weight, ramp_up, decay
        self.threshold, self.trust = threshold, pixel_threshold if per_pixel else batch_ratio
        self.update_bn_on_strong = update_bn_on_strong
        self.strong, self.boxes = strong, boxes

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, warmup=False, average_buffers=True)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]

        # One labeled image: the partner of a batch of one.
        answers = self.teacher.split(unlabeled["image"], labeled["image"][:1])
        unlabeled["answer"] = answers[0]
        label, confidence = pseudo_label(answers[0].logits)
        self.log_pseudo_quality(label, pixel_threshold(confidence, self.threshold) > 0)

        view = ground_truth(self.strong(unlabeled["image"]), answers[0].logits, unlabeled["valid"])
        other = ground_truth(labeled["image"][:1], answers[1].logits, labeled["valid"][:1])
        mixed = self.cut_out(view) if self.cutout else cutmix(self.boxes, cutmix_partner(view, other), view)

        frozen = False, not self.update_bn_on_strong
        out_l, out_s = self.student.apart(labeled["image"], mixed.image, frozen=frozen)
        distance = self.distance(out_s.logits, mixed.label)
        sure = self.trust(pseudo_label(mixed.label).confidence, self.threshold)
        weight = self.weight * sigmoid_rampup(self.global_step, self.ramp_up)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "consistency": weight * pixel_mean(sure * distance, mixed.valid),
        }

    def cut_out(self, view: Pixels) -> Pixels:
        """Boxes of views; the rest has the mean colour and does not count."""
        blank = view._replace(image=self.student.mean.expand_as(view.image), valid=torch.zeros_like(view.valid))
        return cutmix(self.boxes, view, blank)
