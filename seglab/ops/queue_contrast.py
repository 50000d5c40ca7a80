"""Contrast of each class with its centre and with a queue of embeddings that it surely is not (U2PL, section 3.3)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.ops.bank import ClassQueue, choose, class_sums
from seglab.ops.contrast import info_nce


class Cells(NamedTuple):
    """Feature cells of a batch, as rows."""

    embedding: Tensor  # N D, the student's, with gradient
    key: Tensor  # N D, the teacher's
    probability: Tensor  # N K, the teacher's
    label: Tensor  # N class indices, 255 where not sure
    negative: Tensor  # N K bool: surely not of this class


class QueueContrast(nn.Module):
    """InfoNCE of sure cells against the centre of their class and its queue of negatives (Wang et al., CVPR 2022).

    Args:
        dim: D of the embeddings.
        sizes: embeddings that the queue of each class keeps.
        anchors: per class and process in a step, at most.
        negatives: per anchor.
        enqueued: embeddings that a class may add to its queue, per process in a step.
        confidence: probability of its class from which a cell may be an anchor, in [0, 1].
        temperature: of the cosine similarities.
    """

    def __init__(
        self,
        dim: int,
        sizes: Sequence[int],
        anchors: int,
        negatives: int,
        enqueued: int,
        confidence: float,
        temperature: float,
    ) -> None:
        super().__init__()
        self.dim, self.anchors, self.negatives, self.enqueued = dim, anchors, negatives, enqueued
        self.confidence, self.temperature = confidence, temperature
        self.queue = ClassQueue(dim, sizes, torch.float16)

    def forward(self, cells: Cells, active: bool) -> Tensor:
        """Mean over classes with anchors, a centre and negatives; only an ``active`` call adds to the queue."""
        num_classes = cells.probability.shape[1]
        classes = torch.arange(num_classes, device=cells.label.device)
        sums, number = class_sums(cells.key, cells.label, num_classes)
        candidates = (cells.label.unsqueeze(1) == classes) & (cells.probability > self.confidence)  # N K
        anchor, valid = choose(candidates.T, self.anchors)  # K n
        negative, present = choose(cells.negative.T, self.enqueued)
        self.queue.enqueue(F.normalize(cells.key, dim=1).half()[negative], present & active)
        negatives, filled = self.queue.sample(anchor.shape[1] * self.negatives)

        loss = info_nce(
            F.normalize(cells.embedding[anchor.flatten()], dim=1),
            F.normalize(sums, dim=1).repeat_interleave(anchor.shape[1], 0),
            negatives.view(anchor.numel(), self.negatives, self.dim),
            self.temperature,
        ).view_as(anchor)
        valid = valid & (filled & (number > 0)).unsqueeze(1)
        by_class = torch.where(valid, loss, 0.0).sum(1) / valid.sum(1).clamp(min=1)
        return by_class.sum() / valid.any(1).sum().clamp(min=1)
