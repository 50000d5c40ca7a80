"""U2PL: pixels too uncertain to be labelled still tell which classes they are not."""

from typing import Any, Literal, cast

import torch
from jsonargparse import lazy_instance
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.networks.heads import representation_head
from seglab.ops.contrast import Cells, QueueContrast
from seglab.ops.grid import at_cells, rows
from seglab.ops.losses import pixel_cross_entropy, pixel_mean
from seglab.ops.mixing import BoxSampler, HalfBox, Pixels, class_mask, cutmix_partner, ground_truth, mix
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import hard_label, likely_negatives, lowest_entropy, unreliable_negatives
from seglab.ops.teacher import Teacher
from seglab.types import Batch, Output, require


class U2PL(Method):
    """U2PL (Wang et al., CVPR 2022): semi-supervised segmentation using unreliable pseudo-labels.

    The teacher labels unlabeled images, which are then mixed. Pixels of low entropy supervise the student. Embeddings
    of pixels are drawn to the centre of their class and away from a queue of embeddings that the class surely is not:
    unlabeled pixels of high entropy that rank it neither among the likely nor the hopeless classes, and labeled pixels
    of another class that take it for likely.

    Deviations: negatives and pairs are those of the paper; the official code leaves labeled negatives out, pairs the
    anchors of a class with the queue of the next one after an absent class, and drops the pixel of largest entropy at
    the end. Its contrastive weight is 1, divided by the number of GPUs in the gradient; here it is the paper's 0.1.
    The centre of a class is taken over all ranks. ``enqueued`` bounds what a class adds to its queue in a step. The
    representation head sees the network's features (official: those that enter the segmentation head). The teacher is
    an average from step 0 (official: a copy until ``sup_only_steps``). Labeled and mixed images go through the networks
    apart, and mixed ones enter running statistics only with ``update_bn_on_strong``.

    Args:
        unreliable: share of the unlabeled pixels dropped as uncertain at step 0; falls linearly to 0.
        weight: of the unlabeled cross-entropy, which is divided by the share of pixels kept.
        contrast_weight: of the contrastive term.
        aux_supervised_weight: of the supervised loss of an auxiliary head, where the network has one (``aux``).
        sup_only_steps: steps before both terms begin.
        low_rank: classes that a pixel ranks before this place are likely, the first being 0.
        high_rank: classes that a pixel ranks from this place on are hopeless.
        anchor_confidence: probability of its class from which a pixel may be an anchor.
        anchors: per class and process in a step, at most.
        negatives: per anchor.
        queue: embeddings kept of each class.
        first_queue: of class 0, the background of Pascal VOC.
        enqueued: embeddings that a class may add to its queue, per process in a step.
        temperature: of the cosine similarities.
        dim: width of the embedding.
        decay: share of the old teacher kept per step, after a warm-up.
        batch_statistics: the teacher's BatchNorm normalises with its own batch where it makes embeddings and
            entropies; pseudo-labels always come from its running statistics.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        mix: what is pasted into unlabeled images: boxes of another (``cutmix``), half of its classes (``classmix``) or
            boxes without content (``cutout``).
        mix_probability: share of the batches that are mixed.
        boxes: law of the boxes.
    """

    def __init__(
        self,
        unreliable: float = 0.2,
        weight: float = 1.0,
        contrast_weight: float = 0.1,
        aux_supervised_weight: float = 0.4,
        sup_only_steps: int = 0,
        low_rank: int = 3,
        high_rank: int = 20,
        anchor_confidence: float = 0.3,
        anchors: int = 256,
        negatives: int = 50,
        queue: int = 30_000,
        first_queue: int = 50_000,
        enqueued: int = 4096,
        temperature: float = 0.5,
        dim: int = 256,
        decay: float = 0.99,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = False,
        mix: Literal["cutmix", "classmix", "cutout"] = "cutmix",
        mix_probability: float = 0.5,
        boxes: BoxSampler = lazy_instance(HalfBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        shares = {"unreliable": unreliable, "anchor_confidence": anchor_confidence, "mix_probability": mix_probability}
        for name, share in shares.items():
            require(0 <= share <= 1, f"U2PL.{name}", share, "give a number in [0, 1]")
        for name, number in {"anchors": anchors, "negatives": negatives, "enqueued": enqueued, "dim": dim}.items():
            require(number >= 1, f"U2PL.{name}", number, "give 1 or more")
        require(0 <= low_rank < high_rank, "U2PL.low_rank and high_rank", (low_rank, high_rank), "give 0 <= low < high")
        require(aux_supervised_weight >= 0, "U2PL.aux_supervised_weight", aux_supervised_weight, "give 0 or more")
        require(temperature > 0, "U2PL.temperature", temperature, "give a positive number")
        self.unreliable, self.weight, self.contrast_weight = unreliable, weight, contrast_weight
        self.aux_supervised_weight = aux_supervised_weight
        self.sup_only_steps = sup_only_steps
        self.low_rank, self.high_rank = low_rank, high_rank
        sizes = [first_queue] + [queue] * (self.num_classes - 1)
        self.contrast = QueueContrast(dim, sizes, anchors, negatives, enqueued, anchor_confidence, temperature)
        self.decay, self.batch_statistics, self.update_bn_on_strong = decay, batch_statistics, update_bn_on_strong
        self.mix, self.mix_probability, self.boxes = mix, mix_probability, boxes

    def build(self) -> None:
        super().build()
        # A part of the student, so that the teacher averages it too.
        self.student.representation = representation_head(self.student.feature_channels, self.contrast.dim)
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        share = self.unreliable * (1 - self.progress)
        active = self.global_step >= self.sup_only_steps

        self.teacher.eval()
        logits = self.teacher(unlabeled["image"]).logits
        self.teacher.train(self.training)
        own = ground_truth(unlabeled["image"], hard_label(logits), unlabeled["valid"])
        self.log_pseudo_quality(own.label, lowest_entropy(logits, own.valid, 1 - share))
        mixed = self._mixed(own, ground_truth(labeled["image"], labeled["mask"], labeled["valid"]))
        known = mixed.valid & (mixed.label != IGNORE)

        out_l, target_l = self.student(labeled["image"]), self.teacher(labeled["image"])
        cells_l = self._cells(out_l, target_l, labeled["mask"])
        frozen = not self.update_bn_on_strong
        with frozen_statistics(self.student, frozen), frozen_statistics(self.teacher, frozen):
            out_u, target_u = self.student(mixed.image), self.teacher(mixed.image)
            reliable = lowest_entropy(target_u.logits, known, 1 - share)
            sure = lowest_entropy(target_u.logits, known, share)
            cells_u = self._cells(out_u, target_u, torch.where(sure, mixed.label, IGNORE), known & ~reliable)

        kept = reliable.sum() / known.sum().clamp(min=1)
        unsupervised = pixel_mean(pixel_cross_entropy(out_u.logits, mixed.label), reliable) / kept.clamp(min=1e-6)
        cells = Cells(*(torch.cat(parts) for parts in zip(cells_l, cells_u, strict=True)))
        return self.supervised(out_l, labeled["mask"]) | {
            "unsupervised": active * self.weight * unsupervised,
            "contrast": active * self.contrast_weight * self.contrast(cells, active),
        }

    def _mixed(self, own: Pixels, labeled: Pixels) -> Pixels:
        """The unlabeled images, mixed or not: one draw for the batch, as in the official code."""
        batch, _, height, width = own.image.shape
        other = cutmix_partner(own, labeled)
        if self.mix == "cutout":
            blank = self.student.mean.to(own.image.dtype).expand_as(own.image)
            other = own._replace(image=blank, label=torch.full_like(own.label, IGNORE))
        mask = class_mask(other.label) if self.mix == "classmix" else self.boxes(batch, height, width, own.image.device)
        return mix(mask & (torch.rand((), device=mask.device) < self.mix_probability), other, own)

    def _cells(self, out: Output, target: Output, label: Tensor, unreliable: Tensor | None = None) -> Cells:
        """What the contrast reads of a batch: labels B H W, 255 on pixels that are not sure; ``unreliable`` B H W."""
        grid, extent = out.features.shape[-2:], self.student.extent(label.shape[-2:])
        with torch.no_grad():
            key = self._embedding(self.teacher.network, target)
        probability = rows(at_cells(target.logits, grid, extent, 0.0)).float().softmax(1)
        label = at_cells(label, grid, extent, IGNORE).flatten()
        if unreliable is None:
            negative = likely_negatives(probability, label, self.low_rank)
        else:
            doubtful = at_cells(unreliable, grid, extent, False).flatten()
            negative = unreliable_negatives(probability, doubtful, self.low_rank, self.high_rank)
        return Cells(self._embedding(self.student, out), key, probability, label, negative)

    def _embedding(self, network: nn.Module, out: Output) -> Tensor:
        return rows(cast(nn.Module, network.representation)(out.features).float())
