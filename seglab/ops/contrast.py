"""Contrastive losses between embeddings, in float32 whatever the precision around them.

Embeddings are used as they are given: normalise them where a paper says cosine. No function here waits for the device.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seglab.labels import IGNORE
from seglab.ops.losses import pixel_mean

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
        others = wide(own[0] if negatives.ndim == 3 else negatives if index is None else negatives[own[0]])
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
        query, positive = wide(query), wide(positive)
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
            others = wide(negatives[places])  # n M D
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
        anchors, keys = wide(anchors), wide(keys)
        weight = torch.ones_like(keys[:, 0]) if key_weight is None else wide(key_weight)
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
        logits = torch.einsum("bdhw,kd->bkhw", wide(features), wide(prototypes)) / temperature
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


def wide(x: Tensor) -> Tensor:
    """In float32, or in float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()
