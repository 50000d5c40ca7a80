"""Inference protocols: from images of any size to class probabilities of the same size."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.data.decode import scaled_size
from seglab.data.geometry import resize_image
from seglab.ops.crf import DenseCRF
from seglab.ops.grid import window_starts
from seglab.types import Output, require

Forward = Callable[[Tensor], Output]  # a network, of images B 3 H W
Average = Literal["probabilities", "logits"]


class Inference(ABC):
    """Class probabilities, averaged over scales and flips of the image.

    Args:
        scales: factors by which the image is resized; 1.0 is the image itself.
        flip: average with the prediction of the horizontally mirrored image.
        average: what is averaged over windows and resized to the image's size; scales and flips are averaged as
            probabilities in either case.
        crf: dense CRF that refines the averaged probabilities along the edges of the image; off by default.

    Raises:
        SeglabError: a setting is outside its range.
    """

    def __init__(
        self,
        scales: tuple[float, ...] = (1.0,),
        flip: bool = False,
        average: Average = "probabilities",
        crf: DenseCRF | None = None,
    ) -> None:
        require(
            bool(scales) and all(s > 0 for s in scales), f"{type(self).__name__}.scales", scales, "give factors > 0"
        )
        if crf:  # not on its own construction: the config parser would bury the message
            crf.check()
        self.scales = scales
        self.flip = flip
        self.average = average
        self.crf = crf

    @torch.no_grad()
    def __call__(self, network: Forward, image: Tensor) -> Tensor:
        """Softmax probabilities B K H W float32 for float images B 3 H W in [0, 1]."""
        count = len(self.scales) * (1 + self.flip)
        total = reduce(torch.add, self._views(network, image))
        total = total / count if count > 1 else total  # a view is not copied: 160 MB at 2048x1024
        return self.crf(total, image) if self.crf else total

    def _views(self, network: Forward, image: Tensor) -> Iterator[Tensor]:
        size = (image.shape[-2], image.shape[-1])
        for scale in self.scales:
            view = image if scale == 1 else resized_image(image, scaled_size(size, scale))
            yield self.probabilities(network, view, size)
            if self.flip:
                yield self.probabilities(network, view.flip(-1), size).flip(-1)

    def probabilities(self, network: Forward, view: Tensor, size: tuple[int, int]) -> Tensor:
        """B K H W of a view, at a height and width."""
        answer = resize(self.predict(network, view), size)
        return answer.softmax(1) if self.average == "logits" else answer

    def answer(self, network: Forward, image: Tensor) -> Tensor:
        """Logits or probabilities, whichever are averaged, of what the network sees at once: B K H W float32."""
        logits = network(image).logits.float()
        return logits if self.average == "logits" else logits.softmax(1)

    @abstractmethod
    def predict(self, network: Forward, image: Tensor) -> Tensor:
        """Logits or probabilities B K H W float32 of one view B 3 H W, put together from ``answer``."""


class Whole(Inference):
    """The network sees the whole image at once.

    Args:
        scales: factors by which the image is resized; 1.0 is the image itself.
        flip: average with the prediction of the horizontally mirrored image.
        multiple: resize each side to the nearest multiple of this, as networks of fixed patches need (14: DINOv2).
        average: what is resized to the image's size: probabilities, or logits (ADVENT, DAFormer).
        crf: dense CRF that refines the probabilities: ``crf: {}`` with DeepLab's values, off by default.
    """

    def __init__(
        self,
        scales: tuple[float, ...] = (1.0,),
        flip: bool = False,
        multiple: int = 1,
        average: Average = "probabilities",
        crf: DenseCRF | None = None,
    ) -> None:
        super().__init__(scales, flip, average, crf)
        require(multiple >= 1, "Whole.multiple", multiple, "give a whole number of 1 or more")
        self.multiple = multiple

    def predict(self, network: Forward, image: Tensor) -> Tensor:
        height, width = (nearest(side, self.multiple) for side in image.shape[-2:])
        return resize(self.answer(network, resize(image, (height, width))), (image.shape[-2], image.shape[-1]))


def nearest(side: int, multiple: int) -> int:
    """The multiple nearest to a side, at least one; in whole numbers, as exported programs for any size need."""
    steps: Any = torch.sym_max((2 * side + multiple) // (2 * multiple), 1)
    result: int = multiple * steps
    return result


class Slide(Inference):
    """The network sees overlapping windows, whose predictions are averaged pixel by pixel.

    The last window of a row or column is shifted inside the image. An image smaller than the window is padded with
    black to the right and below, as in training, and the result is cropped back.

    Args:
        window: height and width of the window in pixels, usually the training crop.
        stride: vertical and horizontal step in pixels, at most the window.
        scales: factors by which the image is resized; 1.0 is the image itself. The window is not.
        flip: average with the prediction of the horizontally mirrored image.
        batch: windows (of each image) in one forward pass. Changes speed and memory only.
        average: what is averaged: probabilities, or logits (CPS, U2PL).
        crf: dense CRF that refines the probabilities: ``crf: {}`` with DeepLab's values, off by default.
    """

    def __init__(
        self,
        window: tuple[int, int],
        stride: tuple[int, int],
        scales: tuple[float, ...] = (1.0,),
        flip: bool = False,
        batch: int = 4,
        average: Average = "probabilities",
        crf: DenseCRF | None = None,
    ) -> None:
        super().__init__(scales, flip, average, crf)
        require(min(window) >= 1, "Slide.window", window, "give a height and a width of 1 pixel or more")
        require(
            all(1 <= step <= side for step, side in zip(stride, window, strict=True)),
            "Slide.stride",
            stride,
            f"give two steps from 1 pixel to the window's {window[0]} and {window[1]}, or pixels would be skipped",
        )
        require(batch >= 1, "Slide.batch", batch, "give 1 or more windows")
        self.window = window
        self.stride = stride
        self.batch = batch

    def predict(self, network: Forward, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        h, w = self.window
        image = F.pad(image, (0, max(w - width, 0), 0, max(h - height, 0)))
        corners = [
            (top, left)
            for top in window_starts(image.shape[-2], h, self.stride[0])
            for left in window_starts(image.shape[-1], w, self.stride[1])
        ]
        count = torch.zeros(image.shape[-2:], device=image.device)
        total = torch.zeros(())  # B K H W once the first pass has told K
        for first in range(0, len(corners), self.batch):
            chunk = corners[first : first + self.batch]
            windows = torch.cat([image[:, :, top : top + h, left : left + w] for top, left in chunk])
            answer = self.answer(network, windows)  # chunk*B K h w
            if first == 0:
                total = answer.new_zeros(len(image), answer.shape[1], *image.shape[-2:])
            for (top, left), part in zip(chunk, answer.split(len(image)), strict=True):
                total[:, :, top : top + h, left : left + w] += part
                count[top : top + h, left : left + w] += 1
        return (total / count)[:, :, :height, :width]


def resized_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Images B 3 H W in [0, 1] of 8 bits, resized as training crops are (``data.geometry.resize_image``)."""
    frames = image.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    resized = np.stack([resize_image(np.ascontiguousarray(frame), size) for frame in frames])
    return torch.from_numpy(resized).to(image.device).permute(0, 3, 1, 2).to(image.dtype) / 255


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased resize of B C H W to (height, width); the tensor itself if it has that size."""
    if torch.compiler.is_exporting():  # to ask whether sizes happen to be equal would bind a program to the answer
        from torch.fx.experimental.symbolic_shapes import statically_known_true

        if all(statically_known_true(a == b) for a, b in zip(image.shape[-2:], size, strict=True)):
            return image
    elif image.shape[-2:] == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
