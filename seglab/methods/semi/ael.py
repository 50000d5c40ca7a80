"""AEL: classes that are learned badly are pasted, cut and sampled more often."""

from typing import Any

import torch
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.adaptive_mixing import AdaptiveCopyPaste, AdaptiveCutMix
from seglab.ops.losses import pixel_mean
from seglab.ops.memory import ConfidenceBank
from seglab.ops.mixing import Pixels, ground_truth
from seglab.ops.pseudo import hard_label, pixel_threshold, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.types import Batch, Output, require, require_least, require_shares


class AEL(Method):
    """AEL (Hu, Wei, Hu, Ye, Cui and Wang, NeurIPS 2021): adaptive equalization learning, on top of a mean teacher.

    A bank has the confidence b_c of each class, a running mean of the student's probability of the true class.

        Copy-Paste: classes drawn with softmax((1 - b_c)^(1/2)) are pasted from one labeled image into another.
        CutMix: for each image a class is drawn with softmax(1 - b_c), a partner that shows it, and of that the bounding
            box of one of its components of the class.
        Sampling: a pixel that the student predicts as c counts with probability ((1 - b_c) / max_k (1 - b_k))^s.
        Re-weighting: pixels weigh q^gamma, q the teacher's confidence: sum(w CE) / sum(w), on labeled images too.

    Deviations:
        Those of ``AdaptiveCopyPaste`` and ``AdaptiveCutMix``: partners come from the batch.
        Confidences begin at random and are each process's own -> at 0, then at those of the first batch with the class,
            over all ranks. Those of absent classes shrink -> they stay, unless ``shrink_absent``.
        Padding counts in sum(w), and is labeled as class 0 -> it does not count.
        The code divides losses by the number of processes -> recipes have the effective learning rate.
        Mixed images enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.

    Args:
        threshold: confidence from which a pixel has a pseudo-label, in [0, 1]; 0 on Cityscapes.
        weight: of the consistency terms of labeled and of mixed images.
        copy_paste: what labeled images get of each other.
        cutmix: what unlabeled images get of each other.
        gamma: exponent of the confidence that weighs a pixel; 0: all alike.
        sampling: exponent s of the share of pixels that count; 0: all do.
        momentum: share of the old confidence kept per step.
        shrink_absent: let the confidence of a class shrink in a step whose labeled images do not show it.
        decay: share of the old teacher kept per step, after a warm-up.
        batch_statistics: the teacher's BatchNorm normalises its own batch.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.

    Raises:
        SeglabError: a setting is outside its range, or no class may be pasted.
    """

    pasted: Tensor  # K bool

    def __init__(
        self,
        threshold: float = 0.7,
        weight: float = 1.0,
        copy_paste: AdaptiveCopyPaste = AdaptiveCopyPaste(),
        cutmix: AdaptiveCutMix = AdaptiveCutMix(),
        gamma: float = 2.0,
        sampling: float = 1.0,
        momentum: float = 0.999,
        shrink_absent: bool = False,
        decay: float = 0.99,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold)
        require_least(self, 0, weight=weight, gamma=gamma, sampling=sampling)
        pasted = copy_paste.allowed(self.class_names)
        require(bool(pasted.any()), "AEL.copy_paste.never", list(copy_paste.never), "leave a class that may be pasted")
        self.register_buffer("pasted", pasted, persistent=False)
        self.threshold, self.weight, self.copy_paste, self.cutmix = threshold, weight, copy_paste, cutmix
        self.gamma, self.sampling, self.decay = gamma, sampling, decay
        self.batch_statistics, self.update_bn_on_strong = batch_statistics, update_bn_on_strong
        self.bank = ConfidenceBank(self.num_classes, momentum, shrink_absent)

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        truth = self.copy_paste(truth, self.bank, self.pasted)

        answer_l, answer = self.teacher.apart(truth.image, unlabeled["image"])
        unlabeled["answer"] = answer
        label, confidence = pseudo_label(answer.logits)
        self.log_pseudo_quality(label, pixel_threshold(confidence, self.threshold) > 0)
        pool = Pixels(unlabeled["image"], label, confidence, unlabeled["valid"])
        mixed = self.cutmix(pool, truth, self.bank)

        frozen = False, not self.update_bn_on_strong
        out_l, out_m = self.student.apart(truth.image, mixed.image, frozen=frozen)
        self.bank.follow(out_l.logits, truth.label)
        return {
            "supervised": self.supervised(out_l, truth.label),
            "consistency_labeled": self.weight * self.consistency(out_l, *pseudo_label(answer_l.logits), truth.valid),
            "consistency": self.weight * self.consistency(out_m, mixed.label, mixed.weight, mixed.valid),
        }

    def consistency(self, out: Output, label: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
        """sum(w CE) / sum(w) over valid pixels with confidence^gamma on those that are sampled; all B H W."""
        chance = self.bank.weakness(self.sampling)[hard_label(out.logits)]
        weight = confidence**self.gamma * (torch.rand_like(chance) < chance)
        mean = pixel_mean(weight, valid).clamp(min=1e-12)
        sure = torch.where(confidence >= self.threshold, label, IGNORE)
        return self.pixel_loss(out, sure, weight / mean, valid)
