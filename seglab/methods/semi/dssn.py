"""DSSN: pairs of strong views, of images and of features, taught by confident classes and aligned pixel by pixel."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.boxes import AreaBox, BoxSampler
from seglab.ops.losses import alignment
from seglab.ops.mixing import Pixels, cutmix, cutmix_partner, soft_truth
from seglab.ops.norm import frozen_statistics
from seglab.ops.perturb import drop_channels, without_dropout
from seglab.ops.pseudo import class_aware_selection, hard_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import RandomIntensityView, StrongView, View
from seglab.types import Batch, Output, require, require_least, require_shares


class DSSN(Method):
    """DSSN (Tian, Zhang, Zhang and Zhan, ACM MM 2023): dual-level Siamese structure network.

    Two strong views of an image learn from an EMA teacher's labels of the weak view, two channel dropouts of the weak
    view's features from the student's own. Of each image, a class keeps the pixels near its highest probability
    (class-aware pseudo-label selection). The logits of both views of a pair, standardised over the classes of a pixel,
    are drawn together.

    Deviations:
        Those of ``UniMatch``; the alignment on Cityscapes is halved once more -> it is not.
        The teacher normalises with its batch during the first epoch -> with running statistics.
        Padding counts in the alignment and in the highest probability of a class -> it does not.
        Logits of equal values make the alignment NaN -> they are 0 after it.

    Args:
        weight: of the image level, the mean over both strong views.
        feature_weight: of the feature level, the mean over both dropouts.
        align_weight: of the alignment, the sum over both levels.
        class_aware: select pixels by class; else all count, as on Cityscapes.
        share: of the highest probability of a class that a pixel must exceed, in [0, 1].
        least: highest probability that a class must exceed to be selected at all, in [0, 1].
        dropout: share of channels that a feature perturbation drops, in [0, 1).
        teacher_from: steps in which the teacher copies the student and the image level waits: 1 on VOC, 5 epochs on
            Cityscapes.
        decay: share of the old teacher kept per step, its running statistics included.
        update_bn_on_strong: let strong views and perturbed features enter the running statistics of batch norms.
        strong: photometric perturbation of the student's views.
        second: a further one behind it; ``NoView`` on Cityscapes.
        boxes: how the CutMix boxes are drawn.
    """

    def __init__(
        self,
        weight: float = 0.5,
        feature_weight: float = 0.5,
        align_weight: float = 0.01,
        class_aware: bool = True,
        share: float = 0.96,
        least: float = 0.92,
        dropout: float = 0.5,
        teacher_from: int = 1,
        decay: float = 0.996,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(StrongView),
        second: View = lazy_instance(RandomIntensityView),
        boxes: BoxSampler = lazy_instance(AreaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, share=share, least=least)
        require_least(self, 0, teacher_from=teacher_from)
        require(0 <= dropout < 1, "DSSN.dropout", dropout, "give a share in [0, 1)")
        self.weight, self.feature_weight, self.align_weight = weight, feature_weight, align_weight
        self.class_aware, self.share, self.least = class_aware, share, least
        self.dropout, self.teacher_from, self.decay = dropout, teacher_from, decay
        self.update_bn_on_strong, self.strong, self.second, self.boxes = update_bn_on_strong, strong, second, boxes

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, False, True, copies=self.teacher_from)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid, size = unlabeled["image"], unlabeled["valid"], unlabeled["image"].shape[-2:]

        answer = unlabeled["answer"] = self.teacher(weak)
        taught = answer.logits.float().softmax(1)  # B K H W
        self.log_pseudo_quality(hard_label(taught), self.selected(taught, valid))
        stages = self.student.encode(weak)
        with without_dropout(self.student):
            own = self.student.decode(stages, size).logits.detach().float().softmax(1)

        truth = soft_truth(labeled["image"], labeled["mask"], labeled["valid"], self.num_classes)
        views = [Pixels(self.second(self.strong(weak)), taught, valid.float(), valid) for _ in range(2)]
        mixed = [cutmix(self.boxes, cutmix_partner(view, truth), view) for view in views]

        out_l = self.student(labeled["image"])
        with frozen_statistics(self.student, not self.update_bn_on_strong):
            out_s = self.student.split(*(view.image for view in mixed))
            out_f = [self.student.decode(drop_channels(stages, self.dropout), size) for _ in range(2)]
        image = [self.learned(out, view.label, view.valid) for out, view in zip(out_s, mixed, strict=True)]
        feature = [self.learned(out, own, valid) for out in out_f]
        align = alignment(out_s[0].logits, out_s[1].logits, mixed[0].valid & mixed[1].valid)
        align = align + alignment(out_f[0].logits, out_f[1].logits, valid)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "image": self.weight * (self.global_step >= self.teacher_from) * torch.stack(image).mean(),
            "feature": self.feature_weight * torch.stack(feature).mean(),
            "align": self.align_weight * align,
        }

    def selected(self, probability: Tensor, valid: Tensor) -> Tensor:
        """B H W bool: the pixels whose labels the loss trusts."""
        if not self.class_aware:
            return valid
        return valid & class_aware_selection(probability * valid.unsqueeze(1), self.share, self.least)

    def learned(self, out: Output, probability: Tensor, valid: Tensor) -> Tensor:
        """Cross-entropy with the most probable classes of the selected pixels, over the number of valid ones."""
        return self.pixel_loss(out, hard_label(probability), self.selected(probability, valid).float(), valid)
