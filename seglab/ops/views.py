"""Views of images on their device: other colours (``View``), or another part of the image (``GeometricView``).

Random numbers come from torch's default generators, and each image has its own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops import colour
from seglab.ops.mixing import Pixels, paste
from seglab.types import require


class View(ABC):
    """A photometric view: every pixel stays where it is.

    A method takes one as ``strong: View = lazy_instance(KorniaView, strength=0.25)`` (``seglab.compat.lazy_instance``);
    a plain instance would appear in ``config.yaml`` as text that cannot be read back. In YAML::

        strong: {class_path: KorniaView, init_args: {strength: 0.2}}
    """

    @abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """Views of float images B 3 H W in [0, 1]; same shape, dtype and range."""


@dataclass(frozen=True)
class NoView(View):
    """The images themselves."""

    def __call__(self, image: Tensor) -> Tensor:
        return image


@dataclass(frozen=True)
class StrongView(View):
    """Colour jitter, grayscale and blur as in ST++, FixMatch and UniMatch: torchvision's ``ColorJitter``.

    The order of the four jitter operations is drawn once per batch (torchvision draws it per image). The blur is a true
    Gaussian of the standard deviation that PIL calls radius.

    Attributes:
        jitter_probability: share of images whose colours are jittered.
        brightness: factor drawn from [1 - brightness, 1 + brightness].
        contrast: likewise.
        saturation: likewise.
        hue: shift drawn from [-hue, hue], in turns of the colour circle, at most 0.5.
        grayscale_probability: share of images turned gray.
        blur_probability: share of images blurred.
        blur_sigma: lowest and highest standard deviation of the blur, in pixels.

    Raises:
        SeglabError: a field is outside its range.
    """

    jitter_probability: float = 0.8
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.25
    grayscale_probability: float = 0.2
    blur_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        _check_shares(self, "jitter_probability", "grayscale_probability", "blur_probability")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            require(0.0 <= value < math.inf, f"StrongView.{name}", value, "give a strength of 0 or more")
        require(0.0 <= self.hue <= 0.5, "StrongView.hue", self.hue, "give a shift in [0, 0.5]")
        _check_sigma(self, "blur_sigma")

    def __call__(self, image: Tensor) -> Tensor:
        """Views of float images B 3 H W in [0, 1]; same shape, dtype and range."""
        jitter = (
            lambda x: colour.adjust_brightness(x, _around_one(x, self.brightness)),
            lambda x: colour.adjust_contrast(x, _around_one(x, self.contrast)),
            lambda x: colour.adjust_saturation(x, _around_one(x, self.saturation)),
            lambda x: colour.adjust_hue(x, _uniform(x, -self.hue, self.hue)),
        )
        view = _jittered(image, jitter, self.jitter_probability)
        if self.grayscale_probability:
            view = torch.where(_chosen(image, self.grayscale_probability), colour.grayscale(view), view)
        return _blurred(view, self.blur_sigma, self.blur_probability)


@dataclass(frozen=True)
class KorniaView(View):
    """Colour jitter and blur as in DACS, DAFormer, MIC and CLUDA: ``ColorJitter`` of kornia 0.5.8.

    At one strength it changes an image about twice as much as torchvision's: brightness is added (x + f - 1), contrast
    multiplies without a mean (x f), and saturation is that of the HSV model. The order of the four operations is drawn
    once per batch. Fields have other names than those of ``StrongView``, because jsonargparse carries settings of the
    same name over when a config swaps one class for another.

    Attributes:
        strength: factors f of brightness, contrast and saturation are drawn from [1 - strength, 1 + strength], the
            turn of the hue from [-strength, strength]; in [0, 0.5]. DACS has 0.25, DAFormer, MIC and CLUDA have 0.2.
        jitter: share of images whose colours are jittered.
        blur: share of images blurred.
        sigma: lowest and highest standard deviation of the blur, in pixels.

    Raises:
        SeglabError: a field is outside its range.
    """

    strength: float = 0.2
    jitter: float = 0.8
    blur: float = 0.5
    sigma: tuple[float, float] = (0.15, 1.15)

    def __post_init__(self) -> None:
        require(0.0 <= self.strength <= 0.5, "KorniaView.strength", self.strength, "give a strength in [0, 0.5]")
        _check_shares(self, "jitter", "blur")
        _check_sigma(self, "sigma")

    def __call__(self, image: Tensor) -> Tensor:
        """Views of float images B 3 H W in [0, 1]; same shape, dtype and range."""
        operations = (
            lambda x: colour.add_brightness(x, _uniform(x, -self.strength, self.strength)),
            lambda x: colour.adjust_brightness(x, _around_one(x, self.strength)),  # kornia calls it contrast
            lambda x: colour.adjust_hsv_saturation(x, _around_one(x, self.strength)),
            lambda x: colour.adjust_hue(x, _uniform(x, -self.strength, self.strength)),
        )
        return _blurred(_jittered(image, operations, self.jitter), self.sigma, self.blur)


@dataclass(frozen=True)
class RandomIntensityView(View):
    """A random number of operations of random strength (AugSeg, Zhao et al., CVPR 2023, section 3.2).

    Each image gets 1 to ``most`` of eleven operations, drawn with replacement: none, autocontrast, equalize, blur,
    contrast, brightness, saturation, sharpness, posterize, solarize, hue. Their strengths are those of the official
    code, and continuous but for the two that are counted in bits and levels.

    Attributes:
        most: operations on an image, at most. 3 in the paper.

    Raises:
        SeglabError: it is below 1.
    """

    most: int = 3

    def __post_init__(self) -> None:
        require(self.most >= 1, "RandomIntensityView.most", self.most, "give 1 or more operations")

    def __call__(self, image: Tensor) -> Tensor:
        """Views of float images B 3 H W in [0, 1]; same shape, dtype and range."""
        # Drawn on the CPU, so that only what is drawn is computed and nothing waits for the device.
        number = torch.randint(1, self.most + 1, (len(image),)).tolist()
        drawn = torch.randint(len(INTENSITY), (self.most, len(image))).tolist()
        parts = list(image.split(1))
        for turn, choice in enumerate(drawn):
            for index, operation in enumerate(INTENSITY):
                if members := [i for i, n in enumerate(number) if turn < n and choice[i] == index]:
                    done = operation(torch.cat([parts[i] for i in members]))
                    for i, part in zip(members, done.split(1), strict=True):
                        parts[i] = part
        return torch.cat(parts)


class GeometricView(ABC):
    """A view of another part of the images: labels, weights and padding move along.

    Images and class probabilities are interpolated, class indices, weights and padding are those of the nearest pixel.
    """

    @abstractmethod
    def __call__(self, pixels: Pixels) -> Pixels:
        """Views of the same size and dtypes."""


@dataclass(frozen=True)
class FlipView(GeometricView):
    """Images mirrored horizontally.

    Attributes:
        probability: share of images that are.

    Raises:
        SeglabError: it is outside [0, 1].
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_shares(self, "probability")

    def __call__(self, pixels: Pixels) -> Pixels:
        """Views of the same size and dtypes."""
        chosen = torch.rand(len(pixels.image), device=pixels.image.device) < self.probability
        return Pixels(*(torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x) for x in pixels))


@dataclass(frozen=True)
class RandomCropView(GeometricView):
    """A random part of each image, resized back to its size, or left where it is with the rest as padding.

    Attributes:
        side: the part's height and width are the same share of the image's, drawn from this range in (0, 1].
        padded: leave the part in its place; the rest is padding (image 0, label 255, weight 0, not valid).

    Raises:
        SeglabError: ``side`` is outside its range.
    """

    side: tuple[float, float] = (0.5, 1.0)
    padded: bool = False

    def __post_init__(self) -> None:
        low, high = self.side
        require(0.0 < low <= high <= 1.0, "RandomCropView.side", self.side, "give 0 < lowest <= highest <= 1")

    def __call__(self, pixels: Pixels) -> Pixels:
        """Views of the same size and dtypes."""
        share = _uniform(pixels.image, *self.side)  # B
        centre = (1 - share) * (2 * torch.rand(2, len(share), device=share.device) - 1)  # x, y in [-1, 1], 2 B
        if self.padded:
            return _hide_outside(pixels, share, centre)
        zero = torch.zeros_like(share)
        rows = (torch.stack((share, zero, centre[0]), -1), torch.stack((zero, share, centre[1]), -1))
        grid = F.affine_grid(torch.stack(rows, 1), list(pixels.image.shape), align_corners=False)  # B H W 2
        return Pixels(*(_sampled(x, grid) for x in pixels))


@dataclass(frozen=True)
class ResizedCropView(GeometricView):
    """A random part of each image, resized to one size: torchvision's ``RandomResizedCrop``.

    A side of the part that the image lacks is cut to the image's, where torchvision draws again.

    Attributes:
        size: height and width of the views.
        area: share of the image that the part has, drawn from this range in (0, 1].
        ratio: width of the part divided by its height, drawn from this range, uniform in its logarithm.

    Raises:
        SeglabError: a field is outside its range.
    """

    size: tuple[int, int] = (512, 512)
    area: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)

    def __post_init__(self) -> None:
        (low, high), (narrow, wide) = self.area, self.ratio
        require(min(self.size) >= 1, "ResizedCropView.size", self.size, "give a height and a width in pixels")
        require(0.0 < low <= high <= 1.0, "ResizedCropView.area", self.area, "give 0 < lowest <= highest <= 1")
        require(0.0 < narrow <= wide, "ResizedCropView.ratio", self.ratio, "give 0 < narrowest <= widest")

    def __call__(self, pixels: Pixels) -> Pixels:
        """Views of ``size``, of the same dtypes."""
        height, width = pixels.image.shape[-2:]
        area = _uniform(pixels.image, *self.area) * (height * width)
        ratio = _uniform(pixels.image, math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        share = torch.stack([(area * ratio).sqrt() / width, (area / ratio).sqrt() / height]).clamp(max=1.0)  # x, y; 2 B
        centre = (1 - share) * (2 * torch.rand_like(share) - 1)
        zero = torch.zeros_like(share[0])
        rows = (torch.stack((share[0], zero, centre[0]), -1), torch.stack((zero, share[1], centre[1]), -1))
        shape = [len(zero), 3, *self.size]
        grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)  # B h w 2
        return Pixels(*(_sampled(x, grid) for x in pixels))


def _hide_outside(pixels: Pixels, share: Tensor, centre: Tensor) -> Pixels:
    height, width = pixels.valid.shape[-2:]
    inside = []
    for length, middle in ((height, centre[1]), (width, centre[0])):
        place = (2 * torch.arange(length, device=share.device) + 1) / length - 1
        inside.append((place - middle.unsqueeze(1)).abs() <= share.unsqueeze(1))  # B length
    part = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    fills = (0, IGNORE if pixels.label.ndim == 3 else 0, 0, False)
    return Pixels(*(paste(part, x, torch.full_like(x, fill)) for x, fill in zip(pixels, fills, strict=True)))


def _sampled(x: Tensor, grid: Tensor) -> Tensor:
    if x.ndim == 4:
        return F.grid_sample(x, grid.to(x.dtype), mode="bilinear", padding_mode="border", align_corners=False)
    maps = x.unsqueeze(1).float()
    return F.grid_sample(maps, grid, mode="nearest", padding_mode="border", align_corners=False).squeeze(1).to(x.dtype)


def _uniform(image: Tensor, low: float, high: float) -> Tensor:
    """A number for each image, (B,)."""
    return torch.empty(len(image), device=image.device).uniform_(low, high)


def _weaker(image: Tensor) -> Tensor:
    return _uniform(image, 0.05, 0.95)


def _counted(image: Tensor, most: int) -> Tensor:
    """A whole number in [1, most] for each image, (B,)."""
    return torch.randint(1, most + 1, (len(image),), device=image.device)


INTENSITY: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x,
    colour.autocontrast,
    colour.equalize,
    lambda x: colour.gaussian_blur(x, _uniform(x, 0.1, 2.0), radius=6),
    lambda x: colour.adjust_contrast(x, _weaker(x)),
    lambda x: colour.adjust_brightness(x, _weaker(x)),
    lambda x: colour.adjust_saturation(x, _weaker(x)),
    lambda x: colour.adjust_sharpness(x, _weaker(x)),
    lambda x: colour.posterize(x, 8 - _counted(x, 4)),
    lambda x: colour.solarize(x, _counted(x, 255) / 255.0),
    lambda x: colour.adjust_hue(x, _uniform(x, -0.5, 0.5)),
)
"""The operations of AugSeg, of which ``RandomIntensityView`` draws."""


def _around_one(image: Tensor, strength: float) -> Tensor:
    return _uniform(image, max(0.0, 1.0 - strength), 1.0 + strength)


def _chosen(image: Tensor, probability: float) -> Tensor:
    return colour.per_image(torch.rand(len(image), device=image.device) < probability)


def _jittered(image: Tensor, operations: Sequence[Callable[[Tensor], Tensor]], probability: float) -> Tensor:
    """The operations one after the other, in an order that is drawn once, on a share of the images."""
    if not probability:
        return image
    view = image
    for index in torch.randperm(len(operations)).tolist():  # on the CPU: nothing waits for the device
        view = operations[index](view)
    return torch.where(_chosen(image, probability), view, image)


def _blurred(image: Tensor, sigma: tuple[float, float], probability: float) -> Tensor:
    if not probability:
        return image
    blurred = colour.gaussian_blur(image, _uniform(image, *sigma), radius=math.ceil(3.0 * sigma[1]))
    return torch.where(_chosen(image, probability), blurred, image)


def _check_shares(view: View | GeometricView, *names: str) -> None:
    for name in names:
        value = getattr(view, name)
        require(0.0 <= value <= 1.0, f"{type(view).__name__}.{name}", value, "give a probability in [0, 1]")


def _check_sigma(view: View, name: str) -> None:
    low, high = getattr(view, name)
    require(0.0 < low <= high < math.inf, f"{type(view).__name__}.{name}", (low, high), "give 0 < lowest <= highest")
