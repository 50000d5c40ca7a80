"""Contrast in which each anchor has positives and negatives of its own, which weigh the same (PNE)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_contrast(
    embedding: Tensor,
    anchor: Tensor,
    valid: Tensor,
    keys: Sequence[tuple[Tensor, Tensor]],
    classes: Sequence[Tensor],
    temperature: float,
    form: Literal["pairs", "inside"] = "pairs",
) -> Tensor:
    """Mean loss of the anchors that have a positive and a negative; 0, with a gradient of 0, where none has both.

    Args:
        embedding: N D of length 1.
        anchor: A rows.
        valid: A bool; others do not count.
        keys: positives, then negatives by class: K n rows, and K n bool where there is one.
        classes: A each: the class whose positives, and that whose negatives an anchor has; 255 where not ``valid``.
        temperature: positive.
        form: as in ``equal_contrast``.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        found = []
        for (rows, there), of in zip(keys, classes, strict=True):
            of = of.clamp(max=len(rows) - 1)
            similarity = embedding[anchor] @ embedding[rows.flatten()].T  # A K*n
            place = torch.arange(len(anchor), device=anchor.device)
            found.append((similarity.view(len(anchor), *rows.shape)[place, of], there[of]))
        (positive, is_positive), (negative, is_negative) = found
        loss = equal_contrast(positive, is_positive, negative, is_negative, temperature, form)
    counted = valid & is_positive.any(1) & is_negative.any(1)
    return torch.where(counted, loss, 0.0).sum() / counted.sum().clamp(min=1)


def equal_contrast(
    positive: Tensor,
    is_positive: Tensor,
    negative: Tensor,
    is_negative: Tensor,
    temperature: float,
    form: Literal["pairs", "inside"] = "pairs",
) -> Tensor:
    """Loss A of each anchor, from similarities A n and A m, of which those count that a mask (bool) marks.

    ``pairs``: mean over all pairs of softplus((negative - positive) / temperature). ``inside``: -log(P / (P + N)), P
    and N the sums of exp(similarity / temperature). Without a positive or a negative it is 0.
    """
    if form == "pairs":
        both = is_positive.unsqueeze(2) & is_negative.unsqueeze(1)
        distance = F.softplus((negative.unsqueeze(1) - positive.unsqueeze(2)) / temperature)
        return torch.where(both, distance, 0.0).sum((1, 2)) / both.sum((1, 2)).clamp(min=1)
    least = torch.finfo(positive.dtype).min / 4
    ours = torch.where(is_positive, positive / temperature, least).logsumexp(1)
    theirs = torch.where(is_negative, negative / temperature, least).logsumexp(1)
    return torch.where(is_positive.any(1) & is_negative.any(1), F.softplus(theirs - ours), 0.0)
