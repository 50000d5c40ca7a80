"""What every network is: images in [0, 1] in, ``Output`` at the resolution of the image out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.types import Output, SeglabError


class Network(nn.Module, ABC):
    """Base class of segmentation networks. It owns the normalisation of its encoder.

    A subclass sets ``encoder`` and ``feature_channels`` and writes ``encode`` around ``prepare`` and ``decode`` around
    ``restore``. Methods that perturb features, or compare them, call the two; all others the network itself.

    Attributes:
        encoder: the pre-trained part; every parameter outside it gets the head's learning-rate multiplier.
        feature_channels: D of ``Output.features``.
        aux_weight: of the supervised loss of an auxiliary head, ``Output.side["aux"]``; 0: there is none.

    Args:
        mean: per-channel mean of the encoder's training images, in [0, 1].
        std: per-channel standard deviation of the same, in [0, 1].
        multiple: height and width that the encoder and decoder accept are multiples of it, in pixels.
        minimum: least height and width that they accept, in pixels, a multiple of ``multiple``.
    """

    encoder: nn.Module
    feature_channels: int
    aux_weight: float = 0.0
    mean: Tensor  # 1 3 1 1
    std: Tensor  # 1 3 1 1

    def __init__(self, mean: Sequence[float], std: Sequence[float], multiple: int = 32, minimum: int = 32) -> None:
        super().__init__()
        self.heads = nn.ModuleDict()  # beside the classifier, that methods add
        self.multiple = multiple
        self.minimum = minimum
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @abstractmethod
    def encode(self, image: Tensor) -> list[Tensor]:
        """The encoder's stages for images B 3 H W in [0, 1].

        Returns:
            feature maps B D h w from fine to coarse; the first may be the prepared image itself. Entries that are not
            4-dimensional are class tokens of a vision transformer, one per map, after the maps.
        """

    @abstractmethod
    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        """From encoder stages to the output for images of ``size`` (height, width)."""

    def forward(self, image: Tensor) -> Output:
        """Segment images.

        Args:
            image: B 3 H W float in [0, 1], any H and W; a small one is padded.

        Returns:
            ``logits`` B K H W at the resolution of ``image``; ``features`` B D h w on the decoder's own grid, which
            covers the padded image (see ``prepare``): the last row and column may see padding only; ``aux`` as the
            class says.

        Raises:
            SeglabError: the image is not floating point.
        """
        return self.decode(self.encode(image), image.shape[-2:])

    def prepare(self, image: Tensor) -> Tensor:
        """Normalise, then pad to the required multiple: B 3 H W in [0, 1] -> B 3 H' W'.

        The padding is at the right and at the bottom, and zero after normalisation (the mean colour), which is what
        the zero padding of every convolution shows beyond the other borders.
        """
        if not image.is_floating_point():
            raise SeglabError(f"a network takes float images in [0, 1], not {image.dtype}: divide by 255 first")
        right, bottom = self._padding(image.shape[-1]), self._padding(image.shape[-2])
        image = (image - self.mean) / self.std
        return F.pad(image, (0, right, 0, bottom)) if right or bottom else image

    def restore(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Logits of the prepared image -> those of the image of ``size``: B K h w -> B K H W, bilinear, padding cut."""
        height, width = size
        extent = self.extent(size)
        if logits.shape[-2:] != extent:
            logits = F.interpolate(logits, size=extent, mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def extent(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width of a prepared image of ``size``, padding included: what the grid of ``features`` covers."""
        height, width = size
        return height + self._padding(height), width + self._padding(width)

    def split(self, *images: Tensor) -> tuple[Output, ...]:
        """Several batches in one forward, and one ``Output`` for each: B1 3 H W, B2 3 H W, ... -> that many.

        Batch normalisation in training mode then takes its statistics over all of them together. Batches of different
        sizes cannot be joined: each gets a forward, and statistics, of its own.
        """
        if len({image.shape[1:] for image in images}) > 1:
            return tuple(self(image) for image in images)
        output: Output = self(torch.cat(images))
        return output.split([len(image) for image in images])

    def _padding(self, size: int) -> int:
        return max(self.minimum - size, -size % self.multiple)


NetworkFactory = Callable[[int], Network]
"""Builds a newly initialised network for a number of classes; each call, another one."""
