"""How unsure a network is of each pixel, from its class probabilities; higher is less sure."""

from collections.abc import Callable

import torch
from torch import Tensor


def least_confidence(probability: Tensor) -> Tensor:
    """1 - the largest probability: B H W of B K H W."""
    return 1 - probability.amax(1)


def narrow_margin(probability: Tensor) -> Tensor:
    """1 - the distance of the two largest probabilities: B H W of B K H W with K of 2 or more."""
    first, second = probability.topk(2, 1).values.unbind(1)
    return 1 - (first - second)


def shannon_entropy(probability: Tensor) -> Tensor:
    """-sum of p ln p over the classes: B H W of B K H W; a class of probability 0 adds nothing."""
    return torch.special.entr(probability).sum(1)


UNCERTAINTY: dict[str, Callable[[Tensor], Tensor]] = {
    "margin": narrow_margin,
    "least_confidence": least_confidence,
    "entropy": shannon_entropy,
}
"""The scores of PixelPick (Shin et al., ICCV workshop 2021) by name, beside drawing at random."""
