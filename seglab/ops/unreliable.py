"""How U2PL (Wang et al., CVPR 2022) divides pixels into reliable and unreliable, and what the latter surely are not."""

import torch
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.entropy import entropy
from seglab.ops.thresholds import masked_quantile


def lowest_entropy(logits: Tensor, known: Tensor, share: float) -> Tensor:
    """The share of the known pixels (B H W bool) whose prediction is the most certain: B H W bool (section 3.2)."""
    uncertainty = entropy(logits)
    return known & (uncertainty <= masked_quantile(uncertainty, known, share))


def class_rank(probability: Tensor) -> Tensor:
    """Place of each class when the classes of a pixel are sorted by probability, 0 for the first: N K -> N K."""
    return probability.argsort(1, descending=True).argsort(1)


def likely_negatives(probability: Tensor, label: Tensor, low_rank: int) -> Tensor:
    """N K bool: labeled pixels of another class that rank class K before ``low_rank`` (section 3.3)."""
    other = (label.unsqueeze(1) != torch.arange(probability.shape[1], device=label.device)) & (label != IGNORE)[:, None]
    return other & (class_rank(probability) < low_rank)


def unreliable_negatives(probability: Tensor, unreliable: Tensor, low_rank: int, high_rank: int) -> Tensor:
    """N K bool: unreliable pixels that rank class K from ``low_rank`` on and before ``high_rank`` (section 3.3)."""
    rank = class_rank(probability)
    return unreliable.unsqueeze(1) & (rank >= low_rank) & (rank < high_rank)
