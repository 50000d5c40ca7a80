"""The boxes of CutMix and its kin: where another image is pasted, or one is hidden."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from seglab.types import require, require_least, require_positive, require_shares

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
        _require_areas(self, area=self.area)
        require_shares(self, probability=self.probability)
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
        _require_areas(self, proportion=self.proportion)
        require_shares(self, probability=self.probability)
        require_least(self, 1, boxes=self.boxes)

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
        require_shares(self, probability=self.probability)

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
        require_positive(self, alpha=self.alpha, beta=self.beta)
        require_shares(self, probability=self.probability)

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        alpha, beta = (torch.full((1, 1), value, device=device) for value in (self.alpha, self.beta))
        side = (1.0 - torch.distributions.Beta(alpha, beta, validate_args=False).sample()).sqrt()
        half_h, half_w = (side * height).long() // 2, (side * width).long() // 2
        middle = torch.randint(height // 8, height, (batch, 1), device=device)
        centre = torch.randint(width // 8, width, (batch, 1), device=device)
        mask = _inside(middle - half_h, centre - half_w, 2 * half_h, 2 * half_w, height, width).squeeze(1)
        return mask & _chosen(batch, self.probability, device)


@dataclass(frozen=True)
class UniformBox(BoxSampler):
    """One box of the image's own shape, the same in all images, whose share of the area is uniform in (0, 1] (RCCR)."""

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        side = torch.rand((), device=device).sqrt()
        inside = []
        for length in (height, width):
            number = (side * length).floor().clamp(min=1)
            first = (torch.rand((), device=device) * (length - number + 1)).floor()
            place = torch.arange(length, device=device)
            inside.append((place >= first) & (place < first + number))
        return (inside[0].unsqueeze(1) & inside[1]).expand(batch, -1, -1)


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


def _require_areas(boxes: BoxSampler, **limits: tuple[float, float]) -> None:
    for name, (low, high) in limits.items():
        remedy = "give shares of the image, 0 < low <= high <= 1"
        require(0.0 < low <= high <= 1.0, f"{type(boxes).__name__}.{name}", (low, high), remedy)
