"""Mixing images with their labels: CutMix, CutOut, ClassMix and block masks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.boxes import BoxSampler, HalfBox
from seglab.types import require_shares

IDS = 256  # class indices and 255


class Pixels(NamedTuple):
    """What mixing moves together: images and what is known about each of their pixels."""

    image: Tensor  # B 3 H W
    label: Tensor  # B H W int64, or B K H W class probabilities
    weight: Tensor  # B H W float32, how far the label is trusted
    valid: Tensor  # B H W bool, False on padding


def ground_truth(image: Tensor, label: Tensor, valid: Tensor) -> Pixels:
    """Pixels whose labels all weigh 1, such as ground truth."""
    return Pixels(image, label, torch.ones_like(valid, dtype=torch.float32), valid)


def soft_truth(image: Tensor, label: Tensor, valid: Tensor, num_classes: int) -> Pixels:
    """``ground_truth`` with class probabilities of 0 and 1; pixels labelled 255 are as little known as padding."""
    known = valid & (label != IGNORE)
    return Pixels(image, one_hot(label, num_classes), known.float(), known)


def one_hot(label: Tensor, num_classes: int) -> Tensor:
    """Classes B H W as probabilities B K H W float32; all 0 where the class is 255."""
    classes = torch.arange(num_classes, device=label.device).view(1, -1, 1, 1)
    return (label.unsqueeze(1) == classes).float()


def paste(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """``new`` where the mask B H W is True, else ``old``; both B H W or B C H W."""
    return torch.where(mask if new.ndim == mask.ndim else mask.unsqueeze(1), new, old)


def cutmix_partner(unlabeled: Pixels, labeled: Pixels) -> Pixels:
    """Where pasted pixels come from: the neighbour in the batch, or a labeled image when the batch is a single image.

    The batch is rolled by one: with two images or more nobody is its own partner, as the middle of a flip would be.
    The labeled image is resized if its size is another.
    """
    return Pixels(*(partner(x, y) for x, y in zip(unlabeled, labeled, strict=True)))


def partner(unlabeled: Tensor, labeled: Tensor) -> Tensor:
    """``cutmix_partner`` of images alone, or of another map: B ..., labeled B' ... -> B ..."""
    if len(unlabeled) > 1:
        return unlabeled.roll(1, 0)
    one, size = labeled[:1], unlabeled.shape[-2:]
    return one if one.shape[-2:] == size else _resize(one, size)


def mix(mask: Tensor, new: Pixels, old: Pixels) -> Pixels:
    """``new`` where the mask B H W is True, else ``old``: image, label, weight and validity alike."""
    return Pixels(*(paste(mask, theirs, ours) for theirs, ours in zip(new, old, strict=True)))


def cutmix(boxes: BoxSampler, new: Pixels, old: Pixels) -> Pixels:
    """``old`` with boxes of ``new``."""
    batch, _, height, width = old.image.shape
    return mix(boxes(batch, height, width, old.image.device), new, old)


def resized(pixels: Pixels, size: torch.Size) -> Pixels:
    """Pixels at a height and width; they themselves where it is theirs already."""
    return pixels if pixels.image.shape[-2:] == size else Pixels(*(_resize(x, size) for x in pixels))


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    """Images and probabilities B C H W bilinear, maps B H W nearest."""
    if x.ndim == 4:
        return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(x.unsqueeze(1).float(), size, mode="nearest-exact").squeeze(1).to(x.dtype)


def cycled(pixels: Pixels, batch: int, size: torch.Size) -> Pixels:
    """Pixels for a batch of images of a size: image i is image i modulo their number, resized if its size is another.

    Args:
        pixels: of any number of images.
        batch: images that are wanted.
        size: height and width.
    """
    index = torch.arange(batch, device=pixels.image.device) % len(pixels.image)
    return resized(Pixels(*(x[index] for x in pixels)), size)


def classmix(source: Pixels, target: Pixels) -> Pixels:
    """``target`` with half of the classes of ``source``: image, label, weight and validity alike.

    Target i receives classes of source i modulo their number; a source of another size is resized.
    """
    new = cycled(source, len(target.image), target.image.shape[-2:])
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


def half(classes: Tensor, down: bool = False) -> Tensor:
    """ceil(n / 2) of the n True entries of each row of B C bool, at random; ``down``: floor(n / 2), but 1 of 1."""
    score = torch.rand(classes.shape, device=classes.device).masked_fill(~classes, -1.0)
    rank = score.argsort(1, descending=True).argsort(1)
    number = classes.sum(1, keepdim=True)
    return classes & (rank < (torch.maximum(number // 2, number.clamp(max=1)) if down else (number + 1) // 2))


def select(label: Tensor, classes: Tensor) -> Tensor:
    """B H W bool: the pixels of B H W whose class is True in B 256."""
    return classes.gather(1, label.flatten(1)).view_as(label)


def block_mask(shape: tuple[int, int, int], block: int, ratio: float, device: torch.device) -> Tensor:
    """B H W bool, True on the blocks that stay: each with probability 1 - ratio (MIC, Hoyer et al., CVPR 2023, eq. 4).

    Args:
        shape: B, H, W.
        block: side of a block in pixels. An image whose side is no multiple has round(side / block) blocks, at least
            one, of equal size.
        ratio: share of the blocks that are hidden, in [0, 1].
    """
    batch, height, width = shape
    rows, columns = max(1, round(height / block)), max(1, round(width / block))
    return stretch(torch.rand((batch, rows, columns), device=device) >= ratio, height, width)


def stretch(grid: Tensor, height: int, width: int) -> Tensor:
    """A grid B h w bool as B height width."""
    return F.interpolate(grid.unsqueeze(1).float(), (height, width), mode="nearest").squeeze(1) > 0


class Mixing(ABC):
    """What is pasted into a batch of images, with its labels."""

    @abstractmethod
    def __call__(self, own: Pixels, other: Pixels) -> Pixels:
        """``own`` with parts of ``other``, image i of which goes into image i; B images each."""


@dataclass(frozen=True)
class CutMix(Mixing):
    """Boxes of another image (French et al., BMVC 2020).

    Attributes:
        boxes: how they are drawn.
        probability: that a batch is mixed at all: one draw for all its images.
    """

    boxes: BoxSampler = field(default_factory=HalfBox)
    probability: float = 1.0

    def __post_init__(self) -> None:
        require_shares(self, probability=self.probability)

    def __call__(self, own: Pixels, other: Pixels) -> Pixels:
        batch, _, height, width = own.image.shape
        mask = self.boxes(batch, height, width, own.image.device)
        return mix(mask & _now(self.probability, mask.device), other, own)


@dataclass(frozen=True)
class ClassMix(Mixing):
    """Half of the classes of another image (Olsson et al., WACV 2021).

    Attributes:
        probability: that a batch is mixed at all: one draw for all its images.
    """

    probability: float = 1.0

    def __post_init__(self) -> None:
        require_shares(self, probability=self.probability)

    def __call__(self, own: Pixels, other: Pixels) -> Pixels:
        mask = class_mask(other.label)
        return mix(mask & _now(self.probability, mask.device), other, own)


@dataclass(frozen=True)
class CutOut(Mixing):
    """Boxes of one colour and without a label (DeVries and Taylor, 2017).

    Attributes:
        boxes: how they are drawn.
        probability: that a batch is mixed at all: one draw for all its images.
        colour: RGB in [0, 1]; by default the mean of ImageNet.
    """

    boxes: BoxSampler = field(default_factory=HalfBox)
    probability: float = 1.0
    colour: tuple[float, float, float] = (0.485, 0.456, 0.406)

    def __post_init__(self) -> None:
        require_shares(self, probability=self.probability)

    def __call__(self, own: Pixels, other: Pixels) -> Pixels:
        image = torch.stack([torch.full_like(own.image[:, 0], value) for value in self.colour], 1)
        blank = own._replace(image=image, label=torch.full_like(own.label, IGNORE))
        return CutMix(self.boxes, self.probability)(own, blank)


def _now(probability: float, device: torch.device) -> Tensor:
    """Scalar bool, True with a probability."""
    return torch.rand((), device=device) < probability
