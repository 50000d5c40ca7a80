"""Class activation maps: from a classifier of whole images to maps of its classes, and to labels of pixels."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.crf import DenseCRF

CERTAINTY = 0.7  # of the labels that a CRF refines


def scores(maps: Tensor) -> Tensor:
    """A score B K of each class: the mean of its map B K h w, so that the classifier's weights draw the map."""
    return maps.float().mean((2, 3))


def multi_label_loss(score: Tensor, tags: Tensor) -> Tensor:
    """Mean binary cross-entropy of scores B K with tags B K bool: the soft margin loss of several labels."""
    return F.binary_cross_entropy_with_logits(score.float(), tags.float())


def normalised(maps: Tensor, tags: Tensor) -> Tensor:
    """Positive maps B K H W of the classes of tags B K, each divided by its maximum; 0 for the others."""
    maps = maps.float().relu()
    return maps / (maps.amax((2, 3), keepdim=True) + 1e-5) * tags[..., None, None]


def multi_scale(draw: Callable[[Tensor], Tensor], image: Tensor, scales: Sequence[float]) -> Tensor:
    """The sum of positive maps over scales and their mirror images: B K H W.

    Args:
        draw: maps B K h w, of any grid that covers the image, of images B 3 h w.
        image: B 3 H W in [0, 1].
        scales: factors by which the image is resized.
    """
    size = image.shape[-2:]
    total: list[Tensor] = []
    for scale in scales:
        resized = [max(1, round(side * scale)) for side in size]
        view = image if scale == 1 else F.interpolate(image, resized, mode="bilinear", align_corners=False)
        both = draw(view).float().relu() + draw(view.flip(-1)).float().relu().flip(-1)
        total.append(F.interpolate(both, size, mode="bilinear", align_corners=False))
    return torch.stack(total).sum(0)


def label_with_background(maps: Tensor, background: float, classes: Tensor, empty: int) -> Tensor:
    """The class of the largest normalised map, or the background where none is above its score: B H W.

    Args:
        maps: B T H W, normalised.
        background: constant score of the background.
        classes: T, the classes of the maps.
        empty: class of the background; below 0: there is none, and some map is always the largest.
    """
    value, index = maps.max(1)
    label = classes[index]
    return torch.where(value > background, label, empty) if empty >= 0 else label


def refined_label(label: Tensor, image: Tensor, present: Tensor, crf: DenseCRF) -> Tensor:
    """Labels B H W after a dense CRF that is sure of each by ``CERTAINTY``, of the present classes B K: B H W."""
    number = present.sum(1).clamp(min=2).view(-1, 1, 1, 1)
    own = F.one_hot(label, present.shape[1]).permute(0, 3, 1, 2).bool()  # B K H W
    probability = torch.where(own, CERTAINTY, (1 - CERTAINTY) / (number - 1)) * present[..., None, None]
    return crf(probability, image).argmax(1)


def confident_seeds(
    maps: Tensor,
    image: Tensor,
    tags: Tensor,
    classes: Tensor,
    empty: int,
    levels: tuple[float, float],
    crf: DenseCRF | None,
) -> Tensor:
    """Labels B H W of what is surely a class or surely background; 255 in between.

    Args:
        maps: B T H W, normalised.
        image: B 3 H W in [0, 1].
        tags: B K bool, of all classes.
        classes: T, the classes of the maps.
        empty: class of the background, below 0 where there is none.
        levels: scores of the background, of which only a map above the second is sure of its class, and where none is
            above the first there is background.
        crf: refines each of the two labels; None leaves them as they are.
    """
    labels = [label_with_background(maps, level, classes, empty) for level in levels]
    if crf is not None:
        present = tags.index_fill(1, classes.new_tensor([empty]), True) if empty >= 0 else tags
        labels = [refined_label(label, image, present, crf) for label in labels]
    background, sure = labels
    if empty < 0:
        return sure
    return torch.where(sure != empty, sure, torch.where(background == empty, empty, IGNORE))
