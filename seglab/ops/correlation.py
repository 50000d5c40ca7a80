"""Correlation of every position of a feature map with every other, and what pseudo-labels gain from it (CorrMatch)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from seglab.labels import IGNORE


def correlation_map(query: Tensor, key: Tensor) -> Tensor:
    """How far each position i correlates with each position j: softmax over j of query_i . key_j / sqrt(D).

    CorrMatch (Sun et al., CVPR 2024).

    Args:
        query: B D h w.
        key: B D h w.

    Returns:
        B h*w h*w float32; each row sums to 1.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, key = query.float().flatten(2), key.float().flatten(2)
        return (query.transpose(1, 2) @ key / query.shape[1] ** 0.5).softmax(2)


def propagate(values: Tensor, correlation: Tensor) -> Tensor:
    """Values of each position handed to those that it correlates with: at j, the sum over i of values_i A_ij.

    Args:
        values: B K h w.
        correlation: B h*w h*w, A.

    Returns:
        B K h w float32. Columns of A do not sum to 1, so neither do probabilities: give logits.
    """
    with torch.autocast(values.device.type, enabled=False):
        return (values.float().flatten(2) @ correlation).view_as(values)


@torch.no_grad()
def random_rows(correlation: Tensor, number: int, grid: Sequence[int]) -> Tensor:
    """Maps of how random positions, the same in each image, correlate with all others: B number h w.

    Args:
        correlation: B h*w h*w.
        number: of positions.
        grid: h and w.
    """
    position = torch.randint(correlation.shape[1], (number,), device=correlation.device)
    return correlation[:, position].unflatten(2, tuple(grid))


def regions(maps: Tensor, level: float = 0.5) -> Tensor:
    """The part of each map that is above ``level`` of the way from its least to its largest value.

    Args:
        maps: B R H W, rows of a correlation map at the size of the image.
        level: in [0, 1].

    Returns:
        B R H W bool; False everywhere on a map of one value.
    """
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return maps - low > level * (high - low)


@torch.no_grad()
def fill_regions(label: Tensor, trusted: Tensor, region: Tensor, share: Tensor | float) -> tuple[Tensor, Tensor]:
    """Region propagation: a region that is mostly trusted, and mostly of one class there, becomes that class.

    Regions come one after the other, and see the labels that those before them changed, as in the published code of
    CorrMatch. One is filled if at least ``share`` of its pixels are trusted, and more than ``share`` of the trusted
    ones are of one class. No step waits for the device.

    Args:
        label: B H W class indices; 255 outside all regions alone.
        trusted: B H W bool.
        region: B R H W bool.
        share: in [0, 1].

    Returns:
        labels B H W with regions filled, and B H W bool: ``trusted`` or in a filled region.
    """
    kept, sure = trusted, region & trusted.unsqueeze(1)
    number, size = sure.sum((2, 3)), region.sum((2, 3))  # B R
    reliable = (number > 0) & (number >= share * size)
    for r in range(region.shape[1]):
        votes = torch.zeros(len(label), IGNORE + 1, device=label.device)
        votes.scatter_add_(1, label.flatten(1), sure[:, r].flatten(1).float())
        most, winner = votes.max(1)
        filled = reliable[:, r] & (most > share * number[:, r])
        part = region[:, r] & filled.view(-1, 1, 1)
        label = torch.where(part, winner.view(-1, 1, 1), label)
        kept = kept | part
    return label, kept
