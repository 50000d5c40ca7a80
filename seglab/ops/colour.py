"""Colour operations on float images B 3 H W in [0, 1], each image with its own factor (B,).

The adjustments are torchvision's (``transforms.v2.functional.adjust_*``), without a loop over images, unless they are
said to be kornia's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def grayscale(image: Tensor) -> Tensor:
    """B 1 H W: the ITU-R 601 luma of an image."""
    red, green, blue = image.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


def adjust_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """From black (factor 0) through the image (1) to brighter."""
    return (image * per_image(factor)).clamp_(0.0, 1.0)


def add_brightness(image: Tensor, shift: Tensor) -> Tensor:
    """A shift in [-1, 1] added to all channels, as kornia changes brightness."""
    return (image + per_image(shift)).clamp_(0.0, 1.0)


def adjust_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """From the image's mean gray (factor 0) through the image (1) to more contrast."""
    mean = grayscale(image).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, image, per_image(factor)).clamp_(0.0, 1.0)


def adjust_saturation(image: Tensor, factor: Tensor) -> Tensor:
    """From gray (factor 0) through the image (1) to stronger colours."""
    return torch.lerp(grayscale(image), image, per_image(factor)).clamp_(0.0, 1.0)


def adjust_hsv_saturation(image: Tensor, factor: Tensor) -> Tensor:
    """The saturation of the HSV model times ``factor``, at most 1, as kornia changes it: the largest channel stays."""
    value = image.amax(1, keepdim=True)
    chroma = value - image.amin(1, keepdim=True)
    most = value / torch.where(chroma > 0, chroma, 1.0)  # of which on the smallest channel would be below 0
    return (value - (value - image) * torch.minimum(per_image(factor), most)).clamp_(0.0, 1.0)


def adjust_hue(image: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue by ``factor`` of the colour circle, in [-0.5, 0.5].

    With hue h in sextants, value v and chroma c, a channel is v - c max(0, min(k, 4 - k, 1)), where
    k = (n + h) mod 6 and n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = image.unbind(1)
    value = image.amax(1)
    chroma = value - image.amin(1)
    divisor = torch.where(chroma > 0, chroma, 1.0)  # gray has no hue, any will do
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor),
    )
    offset = torch.arange(5, 0, -2, device=image.device).view(1, 3, 1, 1)
    k = (sextant.unsqueeze(1) + (6.0 * per_image(factor) + offset)).remainder_(6.0)  # B 3 H W
    share = k.sub_(2.0).abs_().neg_().add_(2.0).clamp_(0.0, 1.0)  # min(k, 4 - k) = 2 - |k - 2|; in place: memory-bound
    return torch.addcmul(value.unsqueeze(1), share, chroma.unsqueeze(1), value=-1.0)


def gaussian_blur(image: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Separable Gaussian of standard deviation ``sigma`` (B,) pixels, cut at ``radius``; borders are replicated."""
    height, width = image.shape[-2:]
    distance = torch.arange(radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (distance / sigma.unsqueeze(1)) ** 2)  # B r+1, of one side
    kernel = kernel / (2.0 * kernel.sum(1, keepdim=True) - kernel[:, :1])
    weights = [per_image(weight) for weight in kernel.unbind(1)]
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    # sums of shifted images: on a CPU four times as fast as a convolution with a kernel per image
    rows = padded[:, :, radius : radius + height] * weights[0]
    for shift, weight in enumerate(weights[1:], start=1):
        rows.addcmul_(
            padded[:, :, radius - shift :][:, :, :height] + padded[:, :, radius + shift :][:, :, :height], weight
        )
    blurred = rows[..., radius : radius + width] * weights[0]
    for shift, weight in enumerate(weights[1:], start=1):
        blurred.addcmul_(rows[..., radius - shift :][..., :width] + rows[..., radius + shift :][..., :width], weight)
    return blurred


def adjust_sharpness(image: Tensor, factor: Tensor) -> Tensor:
    """From a smoothed image (factor 0) through the image (1) to a sharper one; the outermost pixels stay.

    Smoothed by the 3x3 kernel of Pillow: weight 5 of 13 in the middle, 1 of 13 around it.
    """
    smooth = F.avg_pool2d(image, 3, stride=1) * (9 / 13) + image[..., 1:-1, 1:-1] * (4 / 13)
    blurred = image.clone()
    blurred[..., 1:-1, 1:-1] = smooth
    return torch.lerp(blurred, image, per_image(factor)).clamp_(0.0, 1.0)


def autocontrast(image: Tensor) -> Tensor:
    """Each channel of each image stretched to [0, 1]; one of a single value stays."""
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    span = high - low
    return torch.where(span > 0, (image - low) / torch.where(span > 0, span, 1.0), image)


def equalize(image: Tensor) -> Tensor:
    """The histogram of each channel of each image made even, in 256 levels, as Pillow's ``ImageOps.equalize``."""
    level = (image * 255.0).round().long().flatten(2)  # B 3 H*W
    count = torch.zeros(*level.shape[:2], 256, dtype=torch.long, device=image.device)
    count.scatter_add_(2, level, torch.ones_like(level))
    largest = count.gather(2, level.amax(2, keepdim=True))
    step = (count.sum(2, keepdim=True) - largest) // 255  # pixels per new level
    table = (step // 2 + count.cumsum(2) - count).div(step.clamp(min=1), rounding_mode="floor").clamp(max=255)
    even = table.gather(2, level).view_as(image).to(image.dtype) / 255.0
    return torch.where(step.unsqueeze(3) > 0, even, image)  # too few pixels to share out


def posterize(image: Tensor, bits: Tensor) -> Tensor:
    """The ``bits`` highest of the 8 bits of each channel kept, the others 0."""
    step = per_image(2.0 ** (8.0 - bits))
    return ((image * 255.0).round() / step).floor() * step / 255.0


def solarize(image: Tensor, threshold: Tensor) -> Tensor:
    """Values of ``threshold`` in [0, 1] and above inverted."""
    return torch.where(image < per_image(threshold), image, 1.0 - image)


def per_image(value: Tensor) -> Tensor:
    """(B,) as B 1 1 1."""
    return value.view(-1, 1, 1, 1)
