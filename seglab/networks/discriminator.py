"""A discriminator of domains, and both sides of its game without a second backward pass."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from seglab.types import SeglabError

SOURCE, TARGET = 0.0, 1.0
SMALLEST = 32  # pixels: five halvings


class Discriminator(nn.Module):
    """Fully convolutional discriminator on maps of class scores (Tsai et al., CVPR 2018, section 4.1; AdvEnt, CLAN).

    Five 4x4 convolutions of stride 2, leaky ReLU 0.2 between them, no normalisation: an image in a batch does not
    change the answer for another.

    Args:
        channels: of its input, usually the number of classes.
        width: channels of the first convolution; the next three double them.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))

    def forward(self, scores: Tensor) -> Tensor:
        """Logits B 1 H/32 W/32 for maps B channels H W: negative for the source, positive for the target.

        Raises:
            SeglabError: the maps are smaller than 32 x 32.
        """
        if min(scores.shape[-2:]) < SMALLEST:
            size = " x ".join(str(side) for side in scores.shape[-2:])
            raise SeglabError(f"a discriminator halves its input five times, too often for {size}: use larger crops")
        logits: Tensor = self.layers(scores)
        return logits

    def fooling_loss(self, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """How far target maps B channels H W are from passing for source ones; without gradient for its parameters."""
        detached = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return domain_loss(functional_call(self, detached, (target,)), SOURCE, weight)

    def own_loss(self, source: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """How badly it tells the domains apart, mean of both; its gradient reaches the discriminator alone.

        Args:
            source: maps B channels H W.
            target: likewise.
            weight: of the target's pixels, B H W.
        """
        weight = None if weight is None else weight.detach()
        return (domain_loss(self(source.detach()), SOURCE) + domain_loss(self(target.detach()), TARGET, weight)) / 2


def domain_loss(logits: Tensor, domain: float, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy (scalar) of a discriminator's logits B 1 h w against ``SOURCE`` or ``TARGET``.

    With weights B H W the logits are brought to the resolution of the image, where each pixel's loss is multiplied.
    """
    logits = logits.float()
    if weight is not None:
        logits = F.interpolate(logits, weight.shape[-2:], mode="bilinear", align_corners=False)
    label = logits.new_full((), domain).expand_as(logits)
    loss = F.binary_cross_entropy_with_logits(logits, label, reduction="none").squeeze(1)
    return (loss if weight is None else weight * loss).mean()
