"""Counts on the device."""

import torch
from torch import Tensor


def counted(index: Tensor, size: int) -> Tensor:
    """Occurrences of 0 ... size - 1 in B H W int64, without a wait for the device.

    Not by ``torch.bincount``, which reads the largest value back to size its result. Each image is counted by itself:
    on a GPU, additions to one place are made one after the other.
    """
    index = index.flatten(1)
    counts = torch.zeros(len(index), size, dtype=torch.int64, device=index.device)
    return counts.scatter_add_(1, index, torch.ones_like(index)).sum(0)
