"""ClassMix: the regions of some classes of one image are pasted onto another."""

import torch
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.cutmix import Pixels, mix, resized

IDS = 256  # class indices and 255


def classmix(source: Pixels, target: Pixels) -> Pixels:
    """``target`` with half of the classes of ``source``: image, label, weight and validity alike.

    Target i receives classes of source i modulo their number; a source of another size is resized.
    """
    partner = torch.arange(len(target.image), device=target.image.device) % len(source.image)
    new = resized(Pixels(*(x[partner] for x in source)), target.image.shape[-2:])
    return mix(class_mask(new.label), new, target)


def class_mask(label: Tensor) -> Tensor:
    """Half of the classes of each image, rounded up, at random (Olsson et al., WACV 2021).

    Pixels labelled 255 are never in the mask: pasted, they would cover pixels that have a label with ones that have
    none. The published code of DACS draws 255 like a class.

    Args:
        label: B H W int64 class indices or 255.

    Returns:
        B H W bool; False everywhere on an image without a class.
    """
    return select(label, half(classes_present(label)))


def classes_present(label: Tensor) -> Tensor:
    """B 256 bool: which class indices occur in each image of B H W; 255 never does."""
    present = torch.zeros(len(label), IDS, dtype=torch.bool, device=label.device)
    present.scatter_(1, label.flatten(1), True)
    present[:, IGNORE] = False
    return present


def half(classes: Tensor) -> Tensor:
    """ceil(n / 2) of the n True entries of each row of B C bool, drawn at random."""
    score = torch.rand(classes.shape, device=classes.device).masked_fill(~classes, -1.0)
    rank = score.argsort(1, descending=True).argsort(1)
    return rank < (classes.sum(1, keepdim=True) + 1) // 2


def select(label: Tensor, classes: Tensor) -> Tensor:
    """B H W bool: the pixels of B H W whose class is True in B 256."""
    return classes.gather(1, label.flatten(1)).view_as(label)
