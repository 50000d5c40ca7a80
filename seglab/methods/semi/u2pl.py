"""U2PL: pixels too uncertain to be labelled still tell which classes they are not."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.networks.heads import representation_head
from seglab.ops.losses import pixel_cross_entropy, pixel_mean
from seglab.ops.mixing import CutMix, Mixing, cutmix_partner, ground_truth
from seglab.ops.norm import frozen_statistics
from seglab.ops.perturb import evaluation_mode
from seglab.ops.pseudo import hard_label, lowest_entropy
from seglab.ops.regional_contrast import Cells, QueueContrast, QueueSettings
from seglab.ops.teacher import Teacher
from seglab.types import Batch, require_shares


class U2PL(Method):
    """U2PL (Wang et al., CVPR 2022): semi-supervised segmentation using unreliable pseudo-labels.

    The teacher labels unlabeled images, which are then mixed. Pixels of low entropy supervise the student. Embeddings
    are drawn to the centre of their class and away from a queue of what it is not: unlabeled pixels of high entropy
    that rank it in the middle, and labeled pixels of another class that take it for likely.

    Deviations:
        Negatives: no labeled ones -> those of the paper, labeled ones included.
        Pairs: after an absent class, anchors of a class meet the queue of the next one -> each its own.
        Weight: all pixels / those kept, padding included -> known pixels / those kept.
        ClassMix keeps floor(n / 2) of an image's own n classes -> it pastes ceil(n / 2) of those of the other.
        The pixel of largest entropy drops out at the end -> it stays.
        Contrastive weight 1, divided by the GPUs in the gradient -> the paper's 0.1; centres are over all ranks.
        A class adds all its negatives to its queue -> at most ``contrast.enqueued`` per step.
        The representation head sees what enters the segmentation head -> the network's features.
        The teacher copies the student until ``sup_only_steps`` -> it is an average from step 0.
        Labeled and mixed images form one batch -> they go apart; of mixed ones see ``update_bn_on_strong``.

    Args:
        unreliable: share of the unlabeled pixels dropped as uncertain at step 0; falls linearly to 0.
        weight: of the unlabeled cross-entropy, which is divided by the share of pixels kept.
        contrast_weight: of the contrastive term.
        contrast: which embeddings it compares.
        sup_only_steps: steps before both terms begin.
        decay: share of the old teacher kept per step, after a warm-up.
        batch_statistics: the teacher's BatchNorm normalises its own batch, except where it makes pseudo-labels.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        mixing: what is pasted into unlabeled images: ``CutMix``, ``ClassMix`` or ``CutOut``.
    """

    def __init__(
        self,
        unreliable: float = 0.2,
        weight: float = 1.0,
        contrast_weight: float = 0.1,
        contrast: QueueSettings = QueueSettings(),
        sup_only_steps: int = 0,
        decay: float = 0.99,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = False,
        mixing: Mixing = lazy_instance(CutMix, probability=0.5),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, unreliable=unreliable)
        self.unreliable, self.weight, self.contrast_weight = unreliable, weight, contrast_weight
        self.sup_only_steps, self.decay = sup_only_steps, decay
        self.batch_statistics, self.update_bn_on_strong, self.mixing = batch_statistics, update_bn_on_strong, mixing
        self.contrast = QueueContrast(contrast, self.num_classes)

    def build(self) -> None:
        super().build()
        head = representation_head(self.student.feature_channels, self.contrast.settings.dim)
        self.student.heads["representation"] = head  # a part of the student, so that the teacher averages it too
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        share = self.unreliable * (1 - self.progress)
        active = self.global_step >= self.sup_only_steps

        with evaluation_mode(self.teacher):
            answer = unlabeled["answer"] = self.teacher(unlabeled["image"])
        own = ground_truth(unlabeled["image"], hard_label(answer.logits), unlabeled["valid"])
        self.log_pseudo_quality(own.label, lowest_entropy(answer.logits, own.valid, 1 - share))
        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        mixed = self.mixing(own, cutmix_partner(own, truth))
        known = mixed.valid & (mixed.label != IGNORE)

        images, frozen = (labeled["image"], mixed.image), not self.update_bn_on_strong
        out_l, out_u = self.student.apart(*images, frozen=(False, frozen))
        target_l, target_u = self.teacher.apart(*images, frozen=(False, frozen))
        embedding, key = self.embeddings(out_l.features, target_l.features)
        extent = self.student.extent(truth.label.shape[-2:])
        cells_l = self.contrast.cells(embedding, key, target_l.logits, truth.label, extent)
        reliable = lowest_entropy(target_u.logits, known, 1 - share)
        sure = torch.where(lowest_entropy(target_u.logits, known, share), mixed.label, IGNORE)
        with frozen_statistics(self.student, frozen), frozen_statistics(self.teacher, frozen):
            embedding, key = self.embeddings(out_u.features, target_u.features)
        extent = self.student.extent(known.shape[-2:])
        cells_u = self.contrast.cells(embedding, key, target_u.logits, sure, extent, known & ~reliable)

        kept = reliable.sum() / known.sum().clamp(min=1)
        unsupervised = pixel_mean(pixel_cross_entropy(out_u.logits, mixed.label), reliable) / kept.clamp(min=1e-6)
        cells = Cells(*(torch.cat(parts) for parts in zip(cells_l, cells_u, strict=True)))
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "unsupervised": active * self.weight * unsupervised,
            "contrast": active * self.contrast_weight * self.contrast(cells, active),
        }

    def embeddings(self, features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Of the student, with gradient, and of the teacher, from their features: B D h w each."""
        return self.student.heads["representation"](features), self.teacher.head("representation", target)
