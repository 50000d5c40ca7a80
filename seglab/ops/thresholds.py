"""Thresholds that follow the distribution of what they are compared with."""

import torch
from torch import Tensor


def masked_quantile(value: Tensor, mask: Tensor, share: float) -> Tensor:
    """Quantile of the values where the mask is True, linear between neighbours, without a wait for the device.

    Args:
        value: any shape, float.
        mask: the same shape, bool.
        share: in [0, 1]; 0.5 is the median.

    Returns:
        Scalar; infinity if the mask is True nowhere.
    """
    ordered = torch.where(mask, value, torch.inf).flatten().sort().values
    place = share * (mask.sum() - 1).clamp(min=0)
    low, high = ordered[torch.stack([place.floor(), place.ceil()]).long()]
    return torch.where(high > low, torch.lerp(low, high, (place - place.floor()).to(low.dtype)), low)
