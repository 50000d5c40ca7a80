"""Labels that say less than the classes of the target: which class a pixel may be, and which it is taken for."""

import torch
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.mixing import IDS, Pixels, select


def unknown_classes(may_become: Tensor) -> Tensor:
    """256 bool: classes that no label of the source tells; where it tells all of them, all.

    Args:
        may_become: 256 K bool, ``SegmentationData.may_become``.
    """
    several = may_become & (may_become.sum(1, keepdim=True) > 1)
    found = torch.zeros(IDS, dtype=torch.bool, device=may_become.device)
    found[: may_become.shape[1]] = several.any(0) | may_become[IGNORE]
    every = torch.arange(IDS, device=found.device) < may_become.shape[1]
    return torch.where(found.any(), found, every)


def other_parts(may_become: Tensor) -> Tensor:
    """K K float32: row k, the other classes that a pixel of class k may be of, by a label that may be several."""
    coarse = (may_become & (may_become.sum(1, keepdim=True) > 1))[:IGNORE].float()  # 255 K
    return ((coarse.T @ coarse) * (1 - torch.eye(coarse.shape[1], device=coarse.device)) > 0).float()


def spread(label: Tensor, parts: Tensor, share: float | None = None) -> Tensor:
    """Labels B H W, some of which are replaced by another class that the same coarse label may mean.

    Args:
        label: class indices or 255.
        parts: of ``other_parts``.
        share: of the pixels that are; None: so many that all classes of a coarse label are alike.
    """
    index = label.clamp(max=len(parts) - 1)
    number = parts.sum(1)[index]
    chance = number / (number + 1) if share is None else torch.full_like(number, share)
    chance = torch.where((label != IGNORE) & (number > 0), chance, 0.0)
    place = (torch.rand_like(number) * number).floor()
    other = (parts.cumsum(1)[index] <= place.unsqueeze(3)).sum(3).clamp(max=len(parts) - 1)
    return torch.where(torch.rand_like(chance) < chance, other, label)


def relabelled(label: Tensor, predicted: Tensor, may_become: Tensor, parts: Tensor) -> Tensor:
    """Labels B H W, those that leave the class open replaced by the predicted class where it is one of theirs."""
    part = parts[label.clamp(max=len(parts) - 1), predicted] > 0
    return torch.where(torch.where(label == IGNORE, may_become[IGNORE][predicted], part), predicted, label)


def of_domain(pixels: Pixels, domain: Tensor, wanted: int, number: int) -> Pixels:
    """``number`` images of a batch that are of a domain, in turn; without labels where there is none.

    Args:
        pixels: of images of several domains.
        domain: B int64.
        wanted: the domain.
    """
    order = (domain != wanted).int().argsort(stable=True)
    count = (domain == wanted).sum()
    index = order[torch.arange(number, device=domain.device) % count.clamp(min=1)]
    found = Pixels(*(x[index] for x in pixels))
    return found._replace(label=torch.where(count > 0, found.label, IGNORE))


def keep_classes(pixels: Pixels, classes: Tensor) -> Pixels:
    """Pixels whose labels of other classes (256 bool) are ignored."""
    kept = select(pixels.label, classes.expand(len(pixels.label), -1))
    return pixels._replace(label=torch.where(kept, pixels.label, IGNORE))
