"""Prototypes of classes in single images, which classify the pixels of an image of another domain."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE


def class_means(maps: Tensor, label: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mean of each class in each image, with its gradient: B K D float32, and B K bool, which classes there are.

    Args:
        maps: B D h w.
        label: B h w class indices; 255 belongs to no class.
        num_classes: K.
    """
    member = (label.flatten(1).unsqueeze(1) == torch.arange(num_classes, device=label.device).unsqueeze(1)).float()
    with torch.autocast(maps.device.type, enabled=False):
        sums = member @ maps.float().flatten(2).transpose(1, 2)
    number = member.sum(2, keepdim=True)
    return sums / number.clamp(min=1), number.squeeze(2) > 0


def likeness(prototypes: Tensor, present: Tensor, maps: Tensor) -> Tensor:
    """Cosines of the cells of each image with its prototypes: B K h w float32; -1 for a prototype that is not present.

    Args:
        prototypes: B K D.
        present: B K bool.
        maps: B D h w.
    """
    with torch.autocast(maps.device.type, enabled=False):
        cosine = torch.einsum("bkd,bdhw->bkhw", F.normalize(prototypes, dim=2), F.normalize(maps.float(), dim=1))
    return torch.where(present[..., None, None], cosine, -1.0)


def to_pixels(x: Tensor, extent: tuple[int, int], size: torch.Size) -> Tensor:
    """What cells B C h w say of the pixels below them: B C H W.

    Args:
        extent: height and width in pixels that the cells cover (``Network.extent``).
        size: H and W.
    """
    return F.interpolate(x, extent, mode="nearest-exact")[..., : size[0], : size[1]]


def class_weighted_cross_entropy(logits: Tensor, label: Tensor, counted: Tensor) -> Tensor:
    """Mean of the cross-entropy over the pixels of the classes that count in their image, one image at a time: B.

    Args:
        logits: B K H W.
        label: B H W class indices; 255 does not count.
        counted: B K bool; an image where no pixel counts has 0.
    """
    known = label != IGNORE
    index = torch.where(known, label, 0)
    weight = (known & counted.gather(1, index.flatten(1)).view_as(label)).float()
    loss = -logits.float().log_softmax(1).gather(1, index.unsqueeze(1)).squeeze(1)
    return (weight * loss).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)
