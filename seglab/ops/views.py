"""The photometric strong view that consistency methods ask the student to be right about."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seglab.ops import colour
from seglab.types import require


@dataclass(frozen=True)
class StrongView:
    """Colour jitter, grayscale and blur as in ST++, FixMatch and UniMatch, drawn for each image on its device.

    Random numbers come from torch's default generators. The order of the four jitter operations is drawn once per
    batch (torchvision draws it per image). The blur is a true Gaussian of the standard deviation that PIL calls radius.

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
        for name in ("jitter_probability", "grayscale_probability", "blur_probability"):
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, f"StrongView.{name}", value, "give a probability in [0, 1]")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            require(0.0 <= value < math.inf, f"StrongView.{name}", value, "give a strength of 0 or more")
        require(0.0 <= self.hue <= 0.5, "StrongView.hue", self.hue, "give a shift in [0, 0.5]")
        low, high = self.blur_sigma
        require(0.0 < low <= high < math.inf, "StrongView.blur_sigma", self.blur_sigma, "give 0 < lowest <= highest")

    def __call__(self, image: Tensor) -> Tensor:
        """Strong view of float images B 3 H W in [0, 1]; same shape, dtype and range."""

        def uniform(low: float, high: float) -> Tensor:  # B
            return torch.empty(len(image), device=image.device).uniform_(low, high)

        def around_one(strength: float) -> Tensor:  # B
            return uniform(max(0.0, 1.0 - strength), 1.0 + strength)

        def chosen(probability: float) -> Tensor:  # B 1 1 1
            return colour.per_image(torch.rand(len(image), device=image.device) < probability)

        jitter = (
            lambda x: colour.adjust_brightness(x, around_one(self.brightness)),
            lambda x: colour.adjust_contrast(x, around_one(self.contrast)),
            lambda x: colour.adjust_saturation(x, around_one(self.saturation)),
            lambda x: colour.adjust_hue(x, uniform(-self.hue, self.hue)),
        )
        view = image
        if self.jitter_probability:
            for index in torch.randperm(len(jitter)).tolist():  # on the CPU: nothing waits for the device
                view = jitter[index](view)
            view = torch.where(chosen(self.jitter_probability), view, image)
        if self.grayscale_probability:
            view = torch.where(chosen(self.grayscale_probability), colour.grayscale(view), view)
        if self.blur_probability:
            blurred = colour.gaussian_blur(view, uniform(*self.blur_sigma), radius=math.ceil(3.0 * self.blur_sigma[1]))
            view = torch.where(chosen(self.blur_probability), blurred, view)
        return view
