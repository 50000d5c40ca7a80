"""Thresholds that follow the distribution of what they are compared with."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seglab.ops.check import check

LEVELS = 50_000  # confidences are counted in steps of 1 / LEVELS


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


@dataclass(frozen=True)
class ClassBalanced:
    """A class keeps the most confident share of the pixels that are predicted as it (SPCL, ProCA, CBST).

    Its threshold is the quantile of their confidences, but at most ``cap``: from there on every pixel is kept.

    Attributes:
        quantile: share of the pixels below the threshold, in [0, 1]: 0.5 in SPCL, 0.6 in ProCA.
        cap: largest threshold, in [0, 1].

    Raises:
        SeglabError: an attribute is outside its range.
    """

    quantile: float = 0.5
    cap: float = 0.9

    def __post_init__(self) -> None:
        for name in ("quantile", "cap"):
            check(0.0 <= getattr(self, name) <= 1.0, name, getattr(self, name), "give a number in [0, 1]")

    def __call__(self, counts: Tensor) -> Tensor:
        """Thresholds K of counts K (LEVELS + 1): pixels predicted as a class, by level of confidence.

        The value of rank round(quantile n), as in the published code of SPCL; ``cap`` for a class never predicted.
        """
        number = counts.sum(1, keepdim=True)
        rank = (self.quantile * number.double()).round().clamp(max=number - 1)
        level = (counts.cumsum(1) <= rank).sum(1)
        return torch.where(number[:, 0] > 0, level / LEVELS, self.cap).clamp(max=self.cap)


@dataclass(frozen=True)
class Fixed:
    """One threshold for all classes (ProDA: 0.95).

    Attributes:
        threshold: in [0, 1].

    Raises:
        SeglabError: it is not.
    """

    threshold: float = 0.95

    def __post_init__(self) -> None:
        check(0.0 <= self.threshold <= 1.0, "threshold", self.threshold, "give a number in [0, 1]")

    def __call__(self, counts: Tensor) -> Tensor:
        """Thresholds K, whatever the counts K (LEVELS + 1)."""
        return torch.full((len(counts),), self.threshold)
