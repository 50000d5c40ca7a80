"""Contrast between the pixels that a network is unsure of and the regions of the other classes: ReCo's and U2PL's.

Queries are embeddings of a class, their positive is the mean of the class, and their negatives are pixels of what it is
not: of the same batch in ReCo, of a queue in U2PL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.ops.contrast import PAIRS, info_nce, wide
from seglab.ops.grid import at_cells, rows
from seglab.ops.memory import ClassQueue, choose, class_sums, draw, draw_rows
from seglab.ops.pseudo import likely_negatives, unreliable_negatives
from seglab.ops.ranks import total
from seglab.types import require, require_least, require_positive, require_shares


def labelled_cells(
    embedding: Tensor, logits: Tensor, label: Tensor, extent: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Cells of a feature grid as rows: embeddings N D, class indices or 255 N, class probabilities N K.

    Args:
        embedding: B D h w.
        logits: B K H W; probabilities have no gradient.
        label: B H W.
        extent: height and width in pixels that the grid h w covers (``Network.extent``).
    """
    grid = embedding.shape[-2:]
    probability = rows(at_cells(logits.detach(), grid, extent, 0.0)).float().softmax(1)
    return rows(embedding), at_cells(label, grid, extent, IGNORE).flatten(), probability


@dataclass(frozen=True)
class RegionalContrast:
    """ReCo: hard pixels against the mean of their class and pixels of the classes like it (Liu et al., ICLR 2022).

    Similarities are cosines, keys have no gradient, and means of classes are taken over all ranks. Queries are drawn
    uniformly among the hard pixels of a class; a key is a pixel of another class, which is drawn from the softmax of
    the similarities between means. All draws are with replacement.

    Attributes:
        dim: D of the embeddings.
        queries: pixels of each class that are compared.
        keys: pixels of other classes for each of them.
        active_keys: prefer classes that resemble the query's; else all alike.
        temperature: of the loss and of the choice of classes.

    Raises:
        SeglabError: an attribute is outside its range.
    """

    dim: int = 256
    queries: int = 256
    keys: int = 512
    active_keys: bool = True
    temperature: float = 0.5

    def __post_init__(self) -> None:
        require_least(self, 1, dim=self.dim, queries=self.queries, keys=self.keys)
        require_positive(self, temperature=self.temperature)

    def __call__(self, embedding: Tensor, label: Tensor, probability: Tensor, easy: float) -> Tensor:
        """The loss of embeddings N D.

        Args:
            label: N class indices; 255 belongs to no class.
            probability: N K, of the network that learns.
            easy: probability of its own class from which a pixel is no query, in [0, 1].

        Returns:
            Mean over the classes present on this rank, where one without a query counts as 0; 0, with a gradient of 0,
            if fewer than two are present.
        """
        num_classes = probability.shape[1]
        classes = torch.arange(num_classes, device=label.device)
        number = (label == classes.unsqueeze(1)).sum(1)  # K
        own = probability.gather(1, label.clamp(max=num_classes - 1).unsqueeze(1)).squeeze(1)
        hard = torch.where(own < easy, label, IGNORE)
        embedding = wide(embedding)
        mean = F.normalize(total(class_sums(embedding, label, num_classes))[:, :-1], dim=1)
        with torch.autocast(embedding.device.type, enabled=False):
            likeness = mean @ mean.T / self.temperature if self.active_keys else torch.zeros_like(mean @ mean.T)
            others = (number > 0) & (classes.unsqueeze(1) != classes)  # K K
            of_class = likeness.masked_fill(~others, torch.finfo(likeness.dtype).min).softmax(1)
        negative = draw_rows(label, draw(of_class, self.queries * self.keys), num_classes)  # K queries*keys
        query = draw_rows(hard, classes.unsqueeze(1).expand(-1, self.queries), num_classes)  # K queries

        loss = info_nce(
            F.normalize(embedding[query.flatten()], dim=1),
            mean.repeat_interleave(self.queries, 0),
            F.normalize(embedding.detach(), dim=1),
            self.temperature,
            index=negative.view(-1, self.keys),
            pairs=16 * PAIRS,
        )
        counted = (hard == classes.unsqueeze(1)).any(1) & ((number > 0).sum() > 1)
        by_class = torch.where(counted, loss.view(num_classes, self.queries).mean(1), 0.0)
        return by_class.sum() / (number > 0).sum().clamp(min=1)


class Cells(NamedTuple):
    """Feature cells of a batch, as rows."""

    embedding: Tensor  # N D, the student's, with gradient
    key: Tensor  # N D, the teacher's
    probability: Tensor  # N K, the teacher's
    label: Tensor  # N class indices, 255 where not sure
    negative: Tensor  # N K bool: surely not of this class


@dataclass(frozen=True)
class QueueSettings:
    """Which embeddings U2PL compares (Wang et al., CVPR 2022, section 3.3).

    Attributes:
        dim: D of the embeddings.
        queue: embeddings kept of each class.
        first_queue: of class 0, the background of Pascal VOC.
        enqueued: embeddings that a class may add to its queue, per process in a step.
        anchors: per class and process in a step, at most.
        negatives: per anchor.
        anchor_confidence: probability of its class from which a pixel may be an anchor, in [0, 1].
        temperature: of the cosine similarities.
        low_rank: classes that a pixel ranks before this place are likely, the first being 0.
        high_rank: classes that a pixel ranks from this place on are hopeless.

    Raises:
        SeglabError: an attribute is outside its range.
    """

    dim: int = 256
    queue: int = 30_000
    first_queue: int = 50_000
    enqueued: int = 4096
    anchors: int = 256
    negatives: int = 50
    anchor_confidence: float = 0.3
    temperature: float = 0.5
    low_rank: int = 3
    high_rank: int = 20

    def __post_init__(self) -> None:
        require_least(self, 1, dim=self.dim, queue=self.queue, first_queue=self.first_queue, enqueued=self.enqueued)
        require_least(self, 1, anchors=self.anchors, negatives=self.negatives)
        require_shares(self, anchor_confidence=self.anchor_confidence)
        require_positive(self, temperature=self.temperature)
        ranks = self.low_rank, self.high_rank
        require(0 <= ranks[0] < ranks[1], "QueueSettings.low_rank and high_rank", ranks, "give 0 <= low < high")


class QueueContrast(nn.Module):
    """InfoNCE of sure cells against the centre of their class and its queue of negatives (Wang et al., CVPR 2022).

    Args:
        settings: which embeddings are compared.
        num_classes: K.
    """

    def __init__(self, settings: QueueSettings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        sizes = [settings.first_queue] + [settings.queue] * (num_classes - 1)
        self.queue = ClassQueue(settings.dim, sizes, torch.float16)

    def cells(
        self,
        embedding: Tensor,
        key: Tensor,
        logits: Tensor,
        label: Tensor,
        extent: Sequence[int],
        unreliable: Tensor | None = None,
    ) -> Cells:
        """The cells of a batch.

        Args:
            embedding: B D h w, the student's.
            key: B D h w, the teacher's.
            logits: B K H W, the teacher's.
            label: B H W, 255 on pixels that are not sure.
            extent: height and width in pixels that the grid h w covers (``Network.extent``).
            unreliable: B H W bool: pixels whose unlikely classes are negatives. None: labeled images, whose negatives
                are the likely classes that they are not.
        """
        settings = self.settings
        of_cells, label, probability = labelled_cells(embedding.float(), logits, label, extent)
        if unreliable is None:
            negative = likely_negatives(probability, label, settings.low_rank)
        else:
            doubtful = at_cells(unreliable, embedding.shape[-2:], extent, False).flatten()
            negative = unreliable_negatives(probability, doubtful, settings.low_rank, settings.high_rank)
        return Cells(of_cells, rows(key.float()), probability, label, negative)

    def forward(self, cells: Cells, active: bool) -> Tensor:
        """Mean over classes with anchors, a centre and negatives; only an ``active`` call adds to the queue."""
        num_classes = cells.probability.shape[1]
        classes = torch.arange(num_classes, device=cells.label.device)
        sums = total(class_sums(cells.key, cells.label, num_classes))
        sums, number = sums[:, :-1], sums[:, -1]
        confident = cells.probability > self.settings.anchor_confidence  # N K
        candidates = (cells.label.unsqueeze(1) == classes) & confident
        anchor, valid = choose(candidates.T, self.settings.anchors)  # K n
        negative, present = choose(cells.negative.T, self.settings.enqueued)
        self.queue.enqueue(F.normalize(cells.key, dim=1).half()[negative], present & active)
        row, filled = self.queue.draw(anchor.shape[1] * self.settings.negatives)

        loss = info_nce(
            F.normalize(cells.embedding[anchor.flatten()], dim=1),
            F.normalize(sums, dim=1).repeat_interleave(anchor.shape[1], 0),
            self.queue.storage,
            self.settings.temperature,
            index=row.view(anchor.numel(), self.settings.negatives),
            pairs=16 * PAIRS if row.is_cuda else PAIRS // 4,  # few kernels there, what a cache holds here
        ).view_as(anchor)
        valid = valid & (filled & (number > 0)).unsqueeze(1)
        by_class = torch.where(valid, loss, 0.0).sum(1) / valid.sum(1).clamp(min=1)
        return by_class.sum() / valid.any(1).sum().clamp(min=1)
