"""Mixing images with their labels: CutMix, ClassMix and block masks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.types import require

CANDIDATES = 256  # boxes drawn at once where the papers draw until one fits


class BoxSampler(ABC):
    """How the boxes of CutMix are drawn."""

    @abstractmethod
    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        """Masks B H W bool; True where another image is pasted."""


@dataclass(frozen=True)
class AreaBox(BoxSampler):
    """One box of random area and aspect ratio (FixMatch and UniMatch for segmentation).

    The area is drawn once; ratio and position are redrawn until the box fits. Here that is the first of 256 draws that
    fits, on the device. At the largest default area none does with a probability of 1e-7 on square images and 1e-3 on
    1:2 ones; the box is then clipped at the border.

    Attributes:
        area: smallest and largest area, as shares of the image.
        ratio: height / width is drawn from [ratio, 1 / ratio].
        probability: share of images that get a box.
    """

    area: tuple[float, float] = (0.02, 0.4)
    ratio: float = 0.3
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "area", self.probability)
        require(0.0 < self.ratio <= 1.0, "AreaBox.ratio", self.ratio, "give a number in (0, 1]")

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        area = _uniform((batch, 1), *self.area, device) * (height * width)
        ratio = _uniform((batch, CANDIDATES), self.ratio, 1.0 / self.ratio, device)
        box_h, box_w = (area * ratio).sqrt().floor(), (area / ratio).sqrt().floor()  # B candidates
        top = torch.randint(height, ratio.shape, device=device)
        left = torch.randint(width, ratio.shape, device=device)
        fits = (top + box_h <= height) & (left + box_w <= width)
        first = fits.int().argmax(1, keepdim=True)
        top, left, box_h, box_w = (side.gather(1, first) for side in (top, left, box_h, box_w))  # B 1
        mask = _inside(top, left, box_h, box_w, height, width).squeeze(1)
        return mask & _chosen(batch, self.probability, device)


@dataclass(frozen=True)
class FixedAreaBox(BoxSampler):
    """Boxes whose area is drawn first and then split into height and width (French et al., BMVC 2020).

    With area share p and u ~ U(0, 1): height p^u, width p / height, both times sqrt(1 / boxes), rounded to pixels, at
    a uniform position inside the image. Overlapping boxes toggle.

    Attributes:
        boxes: boxes per image.
        proportion: smallest and largest area share p. Named apart from ``AreaBox.area`` because jsonargparse carries
            settings of the same name over when a config swaps one sampler for another.
        probability: share of images that get boxes.
    """

    boxes: int = 1
    proportion: tuple[float, float] = (0.5, 0.5)
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "proportion", self.probability)
        require(self.boxes >= 1, "FixedAreaBox.boxes", self.boxes, "give 1 or more")

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        shape = (batch, self.boxes)
        area = _uniform(shape, *self.proportion, device)
        tall = area ** torch.rand(shape, device=device)
        shrink = self.boxes**-0.5
        box_h = (tall * (shrink * height)).round()
        box_w = (area / tall * (shrink * width)).round()
        top = (torch.rand(shape, device=device) * (height - box_h + 1)).floor()
        left = (torch.rand(shape, device=device) * (width - box_w + 1)).floor()
        mask = _inside(top, left, box_h, box_w, height, width).sum(1) % 2 == 1
        return mask & _chosen(batch, self.probability, device)


@dataclass(frozen=True)
class HalfBox(BoxSampler):
    """One box of half the image's area, wider than half the image (the published code of U2PL and ReCo).

    The width is drawn from the whole numbers between width / 2 + 1 and width - 1; the height follows.

    Attributes:
        probability: share of images that get a box.
    """

    probability: float = 1.0

    def __post_init__(self) -> None:
        _check_probability(self, self.probability)

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        narrowest = width // 2 + 1
        box_w = torch.randint(narrowest, max(width, narrowest + 1), (batch, 1), device=device)
        box_h = (0.5 * height * width / box_w).round()
        top = (torch.rand((batch, 1), device=device) * (height - box_h + 1)).floor()
        left = (torch.rand((batch, 1), device=device) * (width - box_w + 1)).floor()
        mask = _inside(top, left, box_h, box_w, height, width).squeeze(1)
        return mask & _chosen(batch, self.probability, device)


@dataclass(frozen=True)
class BetaBox(BoxSampler):
    """Boxes of one size per batch, cut off at the border (the published code of PS-MT and AugSeg).

    With s ~ Beta(alpha, beta) a box has sqrt(1 - s) of the image's height and width, rounded down to an even number
    of pixels. Its centre is drawn for each image, not from the first eighth of the rows and columns.

    Attributes:
        alpha: first parameter, of the share that stays.
        beta: second parameter, of the share that is pasted.
        probability: share of images that get a box.
    """

    alpha: float = 4.0
    beta: float = 4.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            require(getattr(self, name) > 0.0, f"BetaBox.{name}", getattr(self, name), "give a positive number")
        _check_probability(self, self.probability)

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        alpha, beta = (torch.full((1, 1), value, device=device) for value in (self.alpha, self.beta))
        side = (1.0 - torch.distributions.Beta(alpha, beta, validate_args=False).sample()).sqrt()
        half_h, half_w = (side * height).long() // 2, (side * width).long() // 2
        middle = torch.randint(height // 8, height, (batch, 1), device=device)
        centre = torch.randint(width // 8, width, (batch, 1), device=device)
        mask = _inside(middle - half_h, centre - half_w, 2 * half_h, 2 * half_w, height, width).squeeze(1)
        return mask & _chosen(batch, self.probability, device)


class Pixels(NamedTuple):
    """What mixing moves together: images and what is known about each of their pixels."""

    image: Tensor  # B 3 H W
    label: Tensor  # B H W int64, or B K H W class probabilities
    weight: Tensor  # B H W float32, how far the label is trusted
    valid: Tensor  # B H W bool, False on padding


def ground_truth(image: Tensor, label: Tensor, valid: Tensor) -> Pixels:
    """Pixels whose labels all weigh 1, such as ground truth."""
    return Pixels(image, label, torch.ones_like(valid, dtype=torch.float32), valid)


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


def _uniform(shape: tuple[int, ...], low: float, high: float, device: torch.device) -> Tensor:
    return torch.empty(shape, device=device).uniform_(low, high)


def _chosen(batch: int, probability: float, device: torch.device) -> Tensor:
    return torch.rand((batch, 1, 1), device=device) < probability


def _inside(top: Tensor, left: Tensor, box_h: Tensor, box_w: Tensor, height: int, width: int) -> Tensor:
    """Boxes given as B n -> bool B n H W."""
    row = torch.arange(height, device=top.device) - top.unsqueeze(-1)  # B n H
    column = torch.arange(width, device=top.device) - left.unsqueeze(-1)  # B n W
    in_rows = (row >= 0) & (row < box_h.unsqueeze(-1))
    in_columns = (column >= 0) & (column < box_w.unsqueeze(-1))
    return in_rows.unsqueeze(-1) & in_columns.unsqueeze(-2)


def _check(boxes: BoxSampler, area: str, probability: float) -> None:
    name, (low, high) = type(boxes).__name__, getattr(boxes, area)
    require(
        0.0 < low <= high <= 1.0,
        f"{name}.{area}",
        (low, high),
        "give shares of the image, 0 < low <= high <= 1",
    )
    _check_probability(boxes, probability)


def _check_probability(part: object, probability: float) -> None:
    require(
        0.0 <= probability <= 1.0, f"{type(part).__name__}.probability", probability, "give a probability in [0, 1]"
    )


def cycled(pixels: Pixels, batch: int, size: torch.Size) -> Pixels:
    """Pixels for a batch of images of a size: image i is image i modulo their number, resized if its size is another.

    Args:
        pixels: of any number of images.
        batch: images that are wanted.
        size: height and width.
    """
    index = torch.arange(batch, device=pixels.image.device) % len(pixels.image)
    return resized(Pixels(*(x[index] for x in pixels)), size)


IDS = 256  # class indices and 255


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

    boxes: BoxSampler = HalfBox()
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check_probability(self, self.probability)

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
        _check_probability(self, self.probability)

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

    boxes: BoxSampler = HalfBox()
    probability: float = 1.0
    colour: tuple[float, float, float] = (0.485, 0.456, 0.406)

    def __post_init__(self) -> None:
        _check_probability(self, self.probability)

    def __call__(self, own: Pixels, other: Pixels) -> Pixels:
        image = torch.stack([torch.full_like(own.image[:, 0], value) for value in self.colour], 1)
        blank = own._replace(image=image, label=torch.full_like(own.label, IGNORE))
        return CutMix(self.boxes, self.probability)(own, blank)


def _now(probability: float, device: torch.device) -> Tensor:
    """Scalar bool, True with a probability."""
    return torch.rand((), device=device) < probability
