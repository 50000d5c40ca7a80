"""Contrastive losses between embeddings, in float32 whatever the precision around them.

Embeddings are used as they are given: normalise them where a paper says cosine. No function here waits for the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seglab.labels import IGNORE
from seglab.ops.grid import at_cells, rows
from seglab.ops.losses import pixel_mean
from seglab.ops.memory import ClassQueue, choose, class_sums, draw, draw_rows
from seglab.ops.pseudo import likely_negatives, unreliable_negatives
from seglab.ops.ranks import total
from seglab.types import require

PAIRS = 1 << 22  # similarities held at once: 16 MB a tensor
LOW = -1e30  # a similarity whose exponential is 0


def info_nce(
    query: Tensor,
    positive: Tensor,
    negatives: Tensor,
    temperature: float,
    counted: Tensor | None = None,
    index: Tensor | None = None,
    labels: tuple[Tensor, Tensor] | None = None,
    pairs: int = PAIRS,
) -> Tensor:
    """-log(e^s+ / (e^s+ + sum of e^s- over the negatives)), s = dot product / temperature (Oord et al., 2018).

    Args:
        query: N D.
        positive: N D, one of each query.
        negatives: M D, common to all queries, or N M D.
        temperature: positive.
        counted: N M bool, the negatives that count; all by default. A query without any has a loss of 0.
        index: N M, which rows of ``negatives`` R D are those of each query; then ``counted`` has its shape.
        labels: classes of the queries N and of common negatives M: only those of other classes count, and none of 255.
        pairs: similarities held at once, which bounds the memory; the value does not depend on it. With ``index``,
            the gathered numbers of embeddings, D to a similarity.

    Returns:
        Loss N of each query, float32 (float64 if ``query`` is).
    """

    def chunk(query: Tensor, positive: Tensor, *own: Tensor) -> Tensor:
        if labels is not None:
            *own, label = own  # type: ignore[assignment]
        others = _wide(own[0] if negatives.ndim == 3 else negatives if index is None else negatives[own[0]])
        similar = (query * positive).sum(1) / temperature
        opposed = torch.einsum("nd,nmd->nm" if others.ndim == 3 else "nd,md->nm", query, others) / temperature
        if counted is not None:
            opposed = opposed.masked_fill(~own[-1], torch.finfo(opposed.dtype).min)
        if labels is not None:
            alike = (label.unsqueeze(1) == labels[1]) | (labels[1] == IGNORE)
            opposed = opposed.masked_fill(alike, torch.finfo(opposed.dtype).min)
        return F.softplus(opposed.logsumexp(1) - similar)

    own = [negatives] if negatives.ndim == 3 else []
    own += [x for x in (index, counted, labels and labels[0]) if x is not None]
    width = negatives.shape[-2] if index is None else index.shape[1] * negatives.shape[1]
    with torch.autocast(query.device.type, enabled=False):
        query, positive = _wide(query), _wide(positive)
        if index is not None and counted is None and not (positive.requires_grad or negatives.requires_grad):
            loss: Tensor = _Queries.apply(query, positive, negatives, index, temperature, max(1, pairs // width))
            return loss
        return _by_rows(chunk, [query, positive, *own], width, pairs)


class _Queries(torch.autograd.Function):
    """``info_nce`` where queries alone learn: their gradient comes along with the loss, and no embedding is kept."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, positive: Tensor, negatives: Tensor, index: Tensor, temperature: float, size: int
    ) -> Tensor:
        losses, gradients = [], []
        for q, p, places in zip(query.split(size), positive.split(size), index.split(size), strict=True):
            others = _wide(negatives[places])  # n M D
            opposed = torch.bmm(others, q.unsqueeze(2)).squeeze(2) / temperature
            margin = opposed.logsumexp(1) - (q * p).sum(1) / temperature
            losses.append(F.softplus(margin))
            drawn = torch.bmm(opposed.softmax(1).unsqueeze(1), others).squeeze(1) - p
            gradients.append(drawn * (margin.sigmoid() / temperature).unsqueeze(1))
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.unsqueeze(1), *[None] * 5


def supervised_info_nce(
    anchors: Tensor,
    keys: Tensor,
    anchor_label: Tensor,
    key_label: Tensor,
    temperature: float,
    key_weight: Tensor | None = None,
    same_rows: bool = False,
    pairs: int = PAIRS,
) -> Tensor:
    """InfoNCE with the keys of the anchor's class as positives and those of other classes as negatives.

    -1/|P| times the sum over positives p of log(e^s_p / (e^s_p + sum of e^s_n over all negatives)): each positive
    stands against the negatives alone, not against the other positives (Wang et al., ICCV 2021). Chunks of anchors are
    computed one after the other, and again in the backward pass where keys learn: memory grows with N + M, not with
    N x M.

    Args:
        anchors: N D.
        keys: M D.
        anchor_label: N class indices; 255: the anchor's loss is 0.
        key_label: M class indices; 255: the key is neither positive nor negative.
        temperature: positive.
        key_weight: M, multiplies the term of each positive (|P| still counts them as 1), or M R for R weightings at
            once; it may carry a gradient.
        same_rows: row i of ``keys`` is the pixel of row i of ``anchors``: such a pair does not count.
        pairs: similarities held at once, which bounds the memory; the value does not depend on it.

    Returns:
        Loss N of each anchor, or N R, float32 (float64 if ``anchors`` is); 0 for an anchor without positives. Their
        mean over all anchors or over those with positives is the caller's choice.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        anchors, keys = _wide(anchors), _wide(keys)
        weight = torch.ones_like(keys[:, 0]) if key_weight is None else _wide(key_weight)
        weights = weight if weight.ndim == 2 else weight.unsqueeze(1)  # M R
        size = max(1, pairs // max(1, len(keys)))
        loss: Tensor = _Pairs.apply(anchors, keys, weights, anchor_label, key_label, temperature, same_rows, size)
        return loss if weight.ndim == 2 else loss.squeeze(1)


class _Pairs(torch.autograd.Function):
    """``supervised_info_nce`` on chunks of anchors.

    With one weighting the gradient of the anchors is computed along with the loss, so that similarities are computed
    twice only where keys or weights learn.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        keys: Tensor,
        weights: Tensor,
        anchor_label: Tensor,
        key_label: Tensor,
        temperature: float,
        same_rows: bool,
        size: int,
    ) -> Tensor:
        ctx.save_for_backward(anchors, keys, weights, anchor_label, key_label)
        ctx.temperature, ctx.same_rows, ctx.size = temperature, same_rows, size
        at_once = ctx.needs_input_grad[0] and weights.shape[1] == 1
        losses, gradients = [], []
        for begin in range(0, max(1, len(anchors)), size):
            part = slice(begin, begin + size)
            chunk = _chunk(anchors[part], keys, anchor_label[part], key_label, temperature, begin if same_rows else -1)
            losses.append(chunk.loss @ weights / chunk.number)
            if at_once:
                gradients.append(chunk.slope(weights.T) @ keys / (temperature * chunk.number))
        ctx.gradient = torch.cat(gradients) if at_once else None
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        anchors, keys, weights, anchor_label, key_label = ctx.saved_tensors
        of_anchors = None if ctx.gradient is None else ctx.gradient * upstream
        later, need_keys, need_weights = ctx.needs_input_grad[:3]
        later = later and of_anchors is None
        if not (later or need_keys or need_weights):
            return of_anchors, *[None] * 7
        of_keys, of_weights, parts = torch.zeros_like(keys), torch.zeros_like(weights), []
        with torch.autocast(anchors.device.type, enabled=False):
            for begin in range(0, max(1, len(anchors)), ctx.size):
                part, row = slice(begin, begin + ctx.size), begin if ctx.same_rows else -1
                chunk = _chunk(anchors[part], keys, anchor_label[part], key_label, ctx.temperature, row)
                share = upstream[part] / chunk.number  # n R
                if need_weights:
                    of_weights.addmm_(chunk.loss.T, share)
                if later or need_keys:
                    slope = chunk.slope(share @ weights.T) / ctx.temperature
                    of_keys.addmm_(slope.T, anchors[part])
                    parts.append(slope @ keys if later else slope[:, :0])
        of_anchors = torch.cat(parts) if later else of_anchors
        return of_anchors, of_keys if need_keys else None, of_weights if need_weights else None, *[None] * 5


class _Chunk(NamedTuple):
    """Some anchors against all keys, n M each. With e = exp of a similarity and S the sum of e over the negatives:"""

    loss: Tensor  # log((e + S) / e), 0 where the key is no positive
    positive: Tensor  # bool
    negative: Tensor  # e, 0 where the key is no negative
    both: Tensor  # e + S
    number: Tensor  # n 1, positives of an anchor, at least 1

    def slope(self, weight: Tensor) -> Tensor:
        """Derivative of the sum of weight x loss with respect to each similarity: n M, weights n M or 1 M."""
        share = torch.where(self.positive, weight / self.both, 0.0)
        total = self.negative.sum(1, keepdim=True)
        return (self.negative * share.sum(1, keepdim=True)).sub_(share.mul_(total))


def _chunk(
    anchors: Tensor, keys: Tensor, anchor_label: Tensor, key_label: Tensor, temperature: float, first: int
) -> _Chunk:
    """Anchors n D and keys M D; ``first``: the key that is the pixel of the first anchor, or -1."""
    ignored = torch.where(key_label == IGNORE, LOW, 0.0).to(keys.dtype)
    similarity = torch.addmm(ignored, anchors, keys.T, alpha=1 / temperature)
    positive = anchor_label.masked_fill(anchor_label == IGNORE, -1).unsqueeze(1) == key_label  # n M
    own = torch.arange(len(anchors), device=keys.device)
    if first >= 0:
        positive[own, first + own] = True  # for now: no negative either
    # Relative to the largest negative: their sum is 1 or more, and what overflows is a positive without any loss. A
    # positive so far below them that its exponential would be 0 has a loss of 80.
    similarity -= similarity.masked_fill(positive, LOW).amax(1, keepdim=True)
    both = similarity.clamp_(min=-80.0).exp_()
    negative = both.masked_fill(positive, 0.0)
    total = negative.sum(1, keepdim=True)
    if first >= 0:
        positive[own, first + own] = False
    loss = torch.where(positive, torch.log1p(total / both), 0.0)
    return _Chunk(loss, positive, negative, both.add_(total), positive.sum(1, keepdim=True).clamp(min=1))


def regional_contrast(
    embedding: Tensor,
    label: Tensor,
    probability: Tensor,
    easy: float,
    temperature: float,
    queries: int = 256,
    negatives: int = 512,
    active_keys: bool = True,
) -> Tensor:
    """ReCo: hard pixels against the mean of their class and pixels of the classes like it (Liu et al., ICLR 2022).

    Similarities are cosines, keys have no gradient, and means of classes are taken over all ranks. Queries are drawn
    uniformly among the pixels of a class with a probability of it below ``easy``; a negative is a pixel of another
    class, which is drawn from the softmax of the similarities between means. All draws are with replacement.

    Args:
        embedding: N D.
        label: N class indices; 255 belongs to no class.
        probability: N K, of the network that learns.
        easy: probability of its own class from which a pixel is no query, in [0, 1].
        temperature: of the loss and of the choice of classes.
        queries: per class.
        negatives: per query.
        active_keys: False: all classes alike.

    Returns:
        Mean over the classes present on this rank, where one without a query counts as 0; 0, with a gradient of 0, if
        fewer than two are present.
    """
    num_classes = probability.shape[1]
    classes = torch.arange(num_classes, device=label.device)
    number = (label == classes.unsqueeze(1)).sum(1)  # K
    own = probability.gather(1, label.clamp(max=num_classes - 1).unsqueeze(1)).squeeze(1)
    hard = torch.where(own < easy, label, IGNORE)
    embedding = _wide(embedding)
    mean = F.normalize(total(class_sums(embedding, label, num_classes))[:, :-1], dim=1)
    with torch.autocast(embedding.device.type, enabled=False):
        likeness = mean @ mean.T / temperature if active_keys else torch.zeros_like(mean @ mean.T)
        others = (number > 0) & (classes.unsqueeze(1) != classes)  # K K
        of_class = likeness.masked_fill(~others, torch.finfo(likeness.dtype).min).softmax(1)
    negative = draw_rows(label, draw(of_class, queries * negatives), num_classes)  # K queries*negatives
    query = draw_rows(hard, classes.unsqueeze(1).expand(-1, queries), num_classes)  # K queries

    loss = info_nce(
        F.normalize(embedding[query.flatten()], dim=1),
        mean.repeat_interleave(queries, 0),
        F.normalize(embedding.detach(), dim=1),
        temperature,
        index=negative.view(-1, negatives),
        pairs=16 * PAIRS,
    )
    counted = (hard == classes.unsqueeze(1)).any(1) & ((number > 0).sum() > 1)
    by_class = torch.where(counted, loss.view(num_classes, queries).mean(1), 0.0)
    return by_class.sum() / (number > 0).sum().clamp(min=1)


def prototype_cross_entropy(features: Tensor, label: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of pixels that are classified by their similarity with one prototype per class.

    Args:
        features: B D h w.
        label: B h w class indices; 255 does not count.
        prototypes: K D.
        temperature: divides the dot products.

    Returns:
        Mean over the pixels that count; 0, with a gradient of 0, when there is none.
    """
    with torch.autocast(features.device.type, enabled=False):
        logits = torch.einsum("bdhw,kd->bkhw", _wide(features), _wide(prototypes)) / temperature
        loss = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
        return pixel_mean(loss, label != IGNORE)


def _by_rows(
    function: Callable[..., Tensor], rows: list[Tensor], width: int, pairs: int, common: list[Tensor] | None = None
) -> Tensor:
    """``function`` on chunks of rows of at most ``pairs`` / ``width``; each chunk is recomputed for its gradient."""
    common = common or []
    size = max(1, pairs // max(1, width))
    if len(rows[0]) <= size:
        return function(*rows, *common)
    chunks = zip(*(x.split(size) for x in rows), strict=True)
    return torch.cat([checkpoint(function, *chunk, *common, use_reentrant=False) for chunk in chunks])


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


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
        for name in ("dim", "queue", "first_queue", "enqueued", "anchors", "negatives"):
            require(getattr(self, name) >= 1, f"contrast.{name}", getattr(self, name), "give 1 or more")
        confidence, ranks = self.anchor_confidence, (self.low_rank, self.high_rank)
        require(0 <= confidence <= 1, "contrast.anchor_confidence", confidence, "give a number in [0, 1]")
        require(self.temperature > 0, "contrast.temperature", self.temperature, "give a positive number")
        require(0 <= ranks[0] < ranks[1], "contrast.low_rank and high_rank", ranks, "give 0 <= low < high")


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
        settings, grid = self.settings, embedding.shape[-2:]
        probability = rows(at_cells(logits, grid, extent, 0.0)).float().softmax(1)
        label = at_cells(label, grid, extent, IGNORE).flatten()
        if unreliable is None:
            negative = likely_negatives(probability, label, settings.low_rank)
        else:
            doubtful = at_cells(unreliable, grid, extent, False).flatten()
            negative = unreliable_negatives(probability, doubtful, settings.low_rank, settings.high_rank)
        return Cells(rows(embedding.float()), rows(key.float()), probability, label, negative)

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
