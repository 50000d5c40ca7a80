"""How uncertain a prediction is, in float32 and in shares of the largest possible entropy."""

import math

from torch import Tensor


def self_information(logits: Tensor) -> Tensor:
    """Weighted self-information of each class, -p log p / log K: B K H W, its sum over classes in [0, 1].

    What AdvEnt shows its discriminators (Vu et al., CVPR 2019, section 3.2).

    Args:
        logits: B K H W with K of 2 or more.
    """
    log_p = logits.float().log_softmax(1)
    return log_p.exp() * log_p / -math.log(logits.shape[1])


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the class probabilities, in [0, 1]: B H W from logits B K H W (Vu et al., CVPR 2019, equation 2)."""
    return self_information(logits).sum(1)
