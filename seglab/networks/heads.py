"""What decoders are built of, and the heads beside the classifier: embeddings and the auxiliary head."""

from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.ops.norm import without_style


def convolution(
    channels: int, width: int, kernel: int = 1, dilation: int = 1, groups: int = 1, slope: float = 0.0
) -> nn.Sequential:
    """Convolution that keeps h and w, batch normalisation, ReLU (leaky with a slope): B channels h w -> B width h w."""
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(channels, width, kernel, padding=padding, dilation=dilation, groups=groups, bias=False)
    relu = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
    return nn.Sequential(layer, nn.BatchNorm2d(width), relu)


def separable(channels: int, width: int, dilation: int = 1) -> nn.Sequential:
    """A depthwise dilated 3x3 convolution and a 1x1 one, each with normalisation and ReLU."""
    depthwise = convolution(channels, channels, 3, dilation, groups=channels)
    return nn.Sequential(depthwise, convolution(channels, width))


def resized(features: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Features B D h w at another height and width, bilinear, in the precision that they have.

    Autocast would make 32 bits of them on a GPU, twice as much to move, for a convolution that rounds them again.
    """
    if features.dtype not in (torch.bfloat16, torch.float16):
        return F.interpolate(features, list(size), mode="bilinear", align_corners=align_corners)
    with torch.autocast(features.device.type, enabled=False):
        return F.interpolate(features, list(size), mode="bilinear", align_corners=align_corners)


def embedded(embeddings: nn.ModuleList, stages: Sequence[Tensor]) -> Tensor:
    """Stages of an encoder, each through its own 1x1 convolution, at the grid of the first: B (sum of widths) h w."""
    grid = stages[0].shape[-2:]
    parts = [
        resized(embed(stage), grid)  # B width h w
        for embed, stage in zip(embeddings, stages, strict=True)
    ]
    return torch.cat(parts, 1)


def neck(channels: int, dropout: float) -> nn.Sequential:
    """B channels h w -> B channels/4 h w, what the last convolution of an FCN sees."""
    return nn.Sequential(
        nn.Conv2d(channels, channels // 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels // 4),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
    )


def auxiliary_head(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """An FCN's head on a stage of the encoder: B channels h w -> logits B K h w (PSPNet, Zhao et al., CVPR 2017)."""
    return nn.Sequential(neck(channels, dropout), nn.Conv2d(channels // 4, num_classes, 1))


def projection_head(channels: int, width: int) -> nn.Sequential:
    """B channels h w -> B width h w, not yet normalised."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, width, 1),
    )


def representation_head(channels: int, dim: int, depth: int = 2, dropout: float = 0.1) -> nn.Sequential:
    """B channels h w -> B dim h w, not yet normalised: ``depth`` 3x3 convolutions and a 1x1 one.

    The defaults are U2PL's; ReCo has one convolution and no dropout.
    """
    layers: list[nn.Module] = []
    for width in [channels] + [dim] * (depth - 1):
        layers += [nn.Conv2d(width, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU()]
        layers += [nn.Dropout2d(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Conv2d(dim, dim, 1))


class TwoClassifiers(nn.Module):
    """The sum of a classifier and another one of its form, newly drawn: B D h w -> B K h w.

    Args:
        first: the classifier. Weights of the other are normal with its standard deviations, biases are 0.
    """

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, deepcopy(first)
        for parameter in self.second.parameters():
            nn.init.normal_(parameter, std=parameter.std().item()) if parameter.ndim > 1 else nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.first(features) + self.second(features)
        return logits


class CosineClassifier(nn.Module):
    """A 1x1 convolution without bias of features of length 1, over a temperature: B D h w -> B K h w (CDAC).

    Args:
        channels: D.
        num_classes: K.
        temperature: the smaller, the surer.
    """

    def __init__(self, channels: int, num_classes: int, temperature: float = 0.05) -> None:
        super().__init__()
        self.temperature = temperature
        self.convolution = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.convolution(F.normalize(features.float(), dim=1)) / self.temperature
        return logits


class ZeroStyle(nn.Module):
    """Stages of an encoder without the mean and deviation of each channel; tokens stay (content transfer)."""

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        return [without_style(stage) if stage.ndim == 4 else stage for stage in stages]


def last_convolutions(head: nn.Module) -> list[nn.Conv2d]:
    """Those whose output channels are the head's: the last one of a sequence, all of parallel branches."""
    if isinstance(head, nn.Conv2d):
        return [head]
    parts = [found for child in head.children() if (found := last_convolutions(child))]
    return [layer for found in (parts[-1:] if isinstance(head, nn.Sequential) else parts) for layer in found]


@torch.no_grad()
def widen(layer: nn.Conv2d, channels: int, rows: Tensor) -> None:
    """Give a convolution more output channels; output i of before becomes output ``rows[i]``.

    New weights are normal with the standard deviation of the old ones, new biases 0.
    """
    old = dict(layer.named_parameters())
    for name, value in old.items():
        new = value.new_zeros(channels, *value.shape[1:])
        if name == "weight":
            nn.init.normal_(new, std=value.std().item())
        new[rows.to(new.device)] = value
        setattr(layer, name, nn.Parameter(new, requires_grad=value.requires_grad))
    layer.out_channels = channels
