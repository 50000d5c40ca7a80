"""Contrast between two views of the same images: each pixel, or class, is found again in the other view."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seglab.ops.domain_prototypes import class_means

PAIRS = 1 << 22  # similarities held at once


def two_view_contrast(
    first: Tensor, second: Tensor, temperature: float, present: Tensor | None = None, pairs: int = PAIRS
) -> Tensor:
    """NT-Xent (Chen et al., ICML 2020) of embeddings as they are given, one image at a time: B.

    Row i of one view is to be told from all other rows of both views, itself aside, by its dot product with row i of
    the other view: the mean over the rows of both views of -log softmax.

    Args:
        first: B N D.
        second: B N D.
        temperature: divides the dot products.
        present: B N bool, the rows that are there in either view; all by default. An image without any has 0.
        pairs: similarities held at once, which bounds the memory; the value does not depend on it.
    """
    batch, number, _ = first.shape
    with torch.autocast(first.device.type, enabled=False):
        both = torch.cat([first, second], 1)
        both = both if both.dtype == torch.float64 else both.float()
        there = torch.ones_like(both[..., 0], dtype=torch.bool) if present is None else present.repeat(1, 2)
        row = torch.arange(2 * number, device=first.device)

        def chunk(part: Tensor) -> Tensor:
            similarity = both[:, part] @ both.transpose(1, 2) / temperature  # B n 2N
            similarity = similarity.masked_fill(~there.unsqueeze(1), torch.finfo(similarity.dtype).min)
            similarity = similarity.masked_fill(part.unsqueeze(1) == row, torch.finfo(similarity.dtype).min)
            other = ((part + number) % (2 * number)).view(1, -1, 1).expand(batch, -1, 1)
            return similarity.logsumexp(2) - similarity.gather(2, other).squeeze(2)

        size = max(1, pairs // max(1, batch * 2 * number))
        parts = row.split(size)
        if len(parts) == 1:
            loss = chunk(row)
        else:
            loss = torch.cat([checkpoint(chunk, part, use_reentrant=False) for part in parts], 1)
        return torch.where(there, loss, 0.0).sum(1) / there.sum(1).clamp(min=1)


def multi_level_contrast(
    first: Tensor, second: Tensor, label: Tensor, class_temperature: float = 1 / 7, cell_temperature: float = 1 / 20
) -> tuple[Tensor, Tensor]:
    """Contrast between two views by class probabilities, of classes and of cells (EHTDI): two scalars.

    Args:
        first: logits B K h w of one view.
        second: of the other.
        label: B h w, the class of each cell, 255 where it is not sure.
        class_temperature: divides the dot products of classes: softmax of the mean logits of each.
        cell_temperature: divides those of cells.
    """
    (one, present), (other, _) = (class_means(logits, label, logits.shape[1]) for logits in (first, second))
    classes = two_view_contrast(one.softmax(2), other.softmax(2), class_temperature, present)
    ours, theirs = (logits.float().softmax(1).flatten(2).transpose(1, 2) for logits in (first, second))
    return classes.mean(), two_view_contrast(ours, theirs, cell_temperature).mean()
