"""Cells of features as members of clusters: pairs of them, and several modes per class."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.losses import pixel_mean
from seglab.ops.memory import draw_rows


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def reverse_gradient(x: Tensor) -> Tensor:
    """``x``, whose gradient has the other sign: what comes before minimises what comes after it maximises."""
    reversed: Tensor = _Reversed.apply(x)
    return reversed


def balanced_cells(label: Tensor, number: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """A random choice of cells of each image in which its classes are equally probable, each cell at most once.

    Args:
        label: B P class indices; 255 is never chosen.
        number: n, at most P are returned.
        num_classes: K.

    Returns:
        Indices B n, and B n bool: False where an image had fewer.
    """
    classes = torch.arange(num_classes, device=label.device)
    count = (label.unsqueeze(1) == classes.unsqueeze(1)).sum(2)  # B K
    known = label != IGNORE
    each = count.gather(1, torch.where(known, label, 0)).float()
    key = torch.empty(label.shape, device=label.device).exponential_() * each  # a race: 1 / count is the speed
    value, index = key.masked_fill(~known, torch.inf).topk(min(number, label.shape[1]), largest=False)
    return index, value.isfinite()


def same_top_channels(features: Tensor, number: int) -> Tensor:
    """Whether the sets of the ``number`` largest channels of two vectors are equal: N D -> N N bool (CDAC)."""
    top = features.topk(min(number, features.shape[1])).indices.sort().values
    return (top.unsqueeze(1) == top).all(2)


def similar_pairs(features: Tensor, number: int, least: float, cosine: float) -> tuple[Tensor, Tensor]:
    """Pairs that should be of one class: N D -> N N bool, and which share of the pairs i, j with i != j they are.

    By ``same_top_channels``; where fewer than ``least`` of the pairs agree, by a cosine above ``cosine``.
    """
    features = features.float()
    same = same_top_channels(features, number)
    pairs = max(1, len(features) * (len(features) - 1))
    rate = (same.sum() - len(features)) / pairs
    unit = F.normalize(features, dim=1)
    with torch.autocast(features.device.type, enabled=False):
        near = unit @ unit.T > cosine
    near = near | torch.eye(len(near), dtype=torch.bool, device=near.device)
    return torch.where(rate < least, near, same), rate


def pair_cross_entropy(p: Tensor, q: Tensor, same: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy of p_i . q_j, the probability that two cells are of one class; mean over all pairs (CDAC).

    Args:
        p: N K class probabilities of the cells in one view.
        q: N K, in another one.
        same: N N bool, what the products should say.
        valid: N bool: pairs of others do not count.
    """
    with torch.autocast(p.device.type, enabled=False):
        product = p.float() @ q.float().T
    loss = -torch.where(same, product.clamp(min=1e-7).log(), (1 - product + 1e-7).clamp(min=1e-7).log())
    counted = valid.unsqueeze(1) & valid
    return torch.where(counted, loss, 0.0).sum() / counted.sum().clamp(min=1)


def mode_distances(features: Tensor, modes: Tensor) -> Tensor:
    """Squared distances of cells N D to the modes K M D of all classes: N K M float32 (DRSL)."""
    with torch.autocast(features.device.type, enabled=False):
        x, v = features.float(), modes.float().flatten(0, 1)
        distance = x.square().sum(1, keepdim=True) - 2 * x @ v.T + v.square().sum(1)
    return distance.clamp(min=0).unflatten(1, modes.shape[:2])


def mode_cross_entropy(distance: Tensor, label: Tensor) -> Tensor:
    """-log of the share of the label's class in a mixture of Gaussians of variance 1 around all modes; mean.

    Args:
        distance: N K M squared distances.
        label: N class indices or 255.
    """
    known = label != IGNORE
    share = torch.logsumexp(-distance / 2, 2) - torch.logsumexp(-distance.flatten(1) / 2, 1, keepdim=True)  # N K
    return pixel_mean(-share.gather(1, torch.where(known, label, 0).unsqueeze(1)).squeeze(1), known)


def nearest_mode(distance: Tensor, label: Tensor) -> Tensor:
    """K M numbers of modes: the nearest one of each cell's class, N; K times M where there is no label (255)."""
    known = label != IGNORE
    classes, modes = distance.shape[1:]
    row = torch.where(known, label, 0)
    own = distance.gather(1, row.view(-1, 1, 1).expand(-1, 1, modes)).squeeze(1)  # N M
    return torch.where(known, row * modes + own.argmin(1), classes * modes)


def mode_alignment(
    source: Tensor, target: Tensor, source_mode: Tensor, target_mode: Tensor, modes: int, number: int, least: int
) -> Tensor:
    """Squared distance of random pairs of a source and a target cell of the same mode (DRSL); scalar.

    Half of it moves the source cell, half the target one. Mean over ``number`` pairs, then over the modes that have
    ``least`` cells in either domain; 0 where none has.

    Args:
        source: N D.
        target: N' D.
        source_mode: N numbers of modes; ``modes`` for none.
        target_mode: N' likewise.
        modes: how many there are.
        number: of pairs of a mode.
        least: cells of a mode that each domain must have.
    """
    every = torch.arange(modes, device=source.device).unsqueeze(1)
    enough = ((source_mode == every).sum(1) >= least) & ((target_mode == every).sum(1) >= least)
    wanted = every.expand(modes, number)
    x, y = source[draw_rows(source_mode, wanted, modes)], target[draw_rows(target_mode, wanted, modes)]
    distance = (x - y.detach()).square().sum(2) / 2 + (x.detach() - y).square().sum(2) / 2  # modes number
    return pixel_mean(distance.mean(1), enough)


def k_means(features: Tensor, number: int, rounds: int = 10) -> Tensor:
    """Centres of features N D, from the first ones on: ``number`` D; with fewer features some repeat."""
    centres = features[torch.arange(number) % len(features)].clone()
    for _ in range(rounds):
        nearest = torch.cdist(features, centres).argmin(1)
        for index in nearest.unique().tolist():
            centres[index] = features[nearest == index].mean(0)
    return centres
