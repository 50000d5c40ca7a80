"""ReCo: hard pixels of each class are told apart from the classes that they resemble."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.networks.heads import representation_head
from seglab.ops.mixing import ClassMix, Mixing, Pixels, cutmix_partner, ground_truth
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import image_ratio, pseudo_label
from seglab.ops.regional_contrast import RegionalContrast, labelled_cells
from seglab.ops.teacher import Teacher
from seglab.ops.views import FlipView, GeometricView, StrongView, View
from seglab.types import Batch, Output, require_shares


class ReCo(Method):
    """ReCo (Liu, Zhi, Johns and Davison, ICLR 2022): regional contrast with active sampling of queries and keys.

    An EMA teacher labels unlabeled images, which are then mixed and recoloured. All their pixels supervise the student,
    as much as the image has confident ones. Embeddings of hard pixels (labeled, or labelled with some confidence) are
    drawn to the mean of their class and away from pixels of the classes whose means resemble it (equations 1 to 3).

    Deviations:
        The teacher sees a crop at the scale of the file, which is then rescaled -> the crop is rescaled already.
        ClassMix keeps floor(n / 2) of an image's own n classes -> it pastes ceil(n / 2) of those of the other.
        Padding is a reflection of the image without a label -> zeros without a label.
        The representation head sees what enters the decoder's convolutions -> the network's features.
        Means of classes are of one process -> over all ranks.
        Pixels whose loss is 0 to the last bit do not count in the mean -> all pixels with a label do.
        Mixed images enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.

    Args:
        weight: of the unlabeled cross-entropy.
        contrast_weight: of the contrastive term.
        weak_threshold: confidence from which an unlabeled pixel is a query or a key, in [0, 1].
        strong_threshold: confidence from which a pixel counts in the weight of its image, and the student's from which
            it is too easy for a query, in [0, 1].
        contrast: which embeddings it compares.
        decay: share of the old teacher kept per step, after a warm-up.
        batch_statistics: the teacher's BatchNorm normalises with its own batch, not with running statistics.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        mixing: what is pasted into unlabeled images: ``ClassMix``, ``CutMix`` or ``CutOut``.
        strong: colours of the mixed images.
        flip: mirrors them together with their labels.
    """

    def __init__(
        self,
        weight: float = 1.0,
        contrast_weight: float = 1.0,
        weak_threshold: float = 0.7,
        strong_threshold: float = 0.97,
        contrast: RegionalContrast = RegionalContrast(),
        decay: float = 0.99,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = False,
        mixing: Mixing = lazy_instance(ClassMix),
        strong: View = lazy_instance(
            StrongView,
            brightness=0.25,
            contrast=0.25,
            saturation=0.25,
            grayscale_probability=0.0,
            blur_sigma=(0.15, 1.15),
        ),
        flip: GeometricView = lazy_instance(FlipView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, weak_threshold=weak_threshold, strong_threshold=strong_threshold)
        self.weight, self.contrast_weight, self.contrast = weight, contrast_weight, contrast
        self.weak_threshold, self.strong_threshold = weak_threshold, strong_threshold
        self.decay, self.batch_statistics, self.update_bn_on_strong = decay, batch_statistics, update_bn_on_strong
        self.mixing, self.strong, self.flip = mixing, strong, flip

    def build(self) -> None:
        super().build()
        head = representation_head(self.student.feature_channels, self.contrast.dim, depth=1, dropout=0.0)
        self.student.add_head("representation", head)  # a part of the student, so that the teacher averages it too
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]

        answer = unlabeled["answer"] = self.teacher(unlabeled["image"])
        label, confidence = pseudo_label(answer.logits)
        self.log_pseudo_quality(label, confidence >= self.weak_threshold)
        own = Pixels(unlabeled["image"], label, confidence, unlabeled["valid"])
        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        mixed = self.flip(self.mixing(own, cutmix_partner(own, truth)))
        known = mixed.valid & (mixed.label != IGNORE)

        frozen = not self.update_bn_on_strong
        out_l, out_u = self.student.apart(labeled["image"], self.strong(mixed.image), frozen=(False, frozen))
        cells_l = self.cells(out_l, labeled["mask"])
        sure = known & (mixed.weight >= self.weak_threshold)
        with frozen_statistics(self.student, frozen):
            cells_u = self.cells(out_u, torch.where(sure, mixed.label, IGNORE))

        trust = image_ratio(mixed.weight, self.strong_threshold, known)
        embedding, target, probability = (torch.cat(parts) for parts in zip(cells_l, cells_u, strict=True))
        contrast = self.contrast(embedding, target, probability, easy=self.strong_threshold)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "unsupervised": self.weight * self.pixel_loss(out_u, mixed.label, trust, known),
            "contrast": self.contrast_weight * contrast,
        }

    def cells(self, out: Output, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each feature cell: embedding N D, label N or 255, and class probabilities N K without gradient."""
        embedding = self.student.heads["representation"](out.features)
        return labelled_cells(embedding, out.logits, label, self.student.extent(label.shape[-2:]))
