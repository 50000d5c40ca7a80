"""How near features are to the prototypes of classes, by which ProDA (Zhang et al., CVPR 2021) corrects labels."""

import torch
from torch import Tensor

from seglab.ops.grid import rows
from seglab.ops.memory import Prototypes, class_sums
from seglab.ops.pseudo import PseudoLabel

FEWEST = 10  # cells of a class in an image that make a mean, in the published code


def log_nearness(features: Tensor, prototypes: Prototypes, temperature: float) -> Tensor:
    """Log of softmax over classes of -distance from the prototypes / temperature (equation 5).

    Args:
        features: B D h w.
        prototypes: of K classes; one not seen yet is near to nothing.
        temperature: positive.

    Returns:
        B K h w float32.
    """
    mean = prototypes.mean.clone()  # they move before the backward pass
    with torch.autocast(features.device.type, enabled=False):
        distance = torch.cdist(rows(features.float()), mean)  # N K
    distance = distance.masked_fill(~prototypes.seen, 1e4)
    batch, _, height, width = features.shape
    log_share = (-distance / temperature).log_softmax(1)
    return log_share.view(batch, height, width, -1).permute(0, 3, 1, 2)


def denoised_label(soft: Tensor, near: Tensor) -> PseudoLabel:
    """The most probable class of soft labels B K H W times nearness, and its probability (equation 3)."""
    product = soft * near
    confidence, label = (product / product.sum(1, keepdim=True).clamp(min=1e-12)).max(1)
    return PseudoLabel(label, confidence)


def image_means(features: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """What ``class_sums`` makes of the mean of each class in one image: K D+1; 0 for a class of fewer than 10 cells.

    Args:
        features: N D.
        label: N class indices; 255 belongs to no class.
        num_classes: K.
    """
    sums = class_sums(features, label, num_classes)
    number = sums[:, -1:]
    mean = torch.cat([sums[:, :-1] / number.clamp(min=1), torch.ones_like(number)], 1)
    return torch.where(number >= FEWEST, mean, 0.0)
