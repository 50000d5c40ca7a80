"""DeepLab v2, the network of most of the domain-adaptation literature."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import dilated_encoder, find_encoder, mean_std, timm_name
from seglab.networks.weights import load_encoder_weights
from seglab.types import Output, SeglabError, require

GROUPS = 32  # of ProDA's group normalisation


class DeepLabV2(Network):
    """DeepLab v2 (Chen et al., TPAMI 2017): a dilated encoder at stride 8 and the ASPP-L head, no decoder.

    ``features`` are the encoder's last stage (2048 channels for a ResNet-101), or what ``fused`` makes of it.

    Deviations from the original's ResNet:
        Max pooling rounds sizes up -> down, as timm's.
        The first block of layers 3 and 4 has its layer's dilation -> that of the layer before, as timm's.
        A block that halves the grid does so in its first 1x1 convolution (Caffe's weights) -> in its 3x3 convolution:
        torchvision's weights are trained so, and timm has no option for it.

    Args:
        space: classes to tell apart.
        encoder: name of a timm model that can be dilated to stride 8.
        weights: of the encoder: ``imagenet`` (from the local cache or the Hugging Face hub), ``none``, or the path of
            a state dict.
        rates: dilations of the parallel 3x3 convolutions that the head sums. (6, 12, 18, 24) as published, and in
            AdvEnt and SPCL; CutMix-Seg, DACS and what starts from their code declare four and return after (6, 12).
        fused: width of the features of ProDA's head: the parallel convolutions, and a 1x1 one, lead to so many channels
            each, which are weighed by a squeeze and fused to as many; a 1x1 convolution classifies them. 256 in ProDA;
            0 for the head of the paper. A multiple of 32.
        common: ``train_norms``, ``mean_std``, ``channel_order``, ``projection``, ``aux_weight``, ``channels_last`` and
            ``compile`` of every network.

    Raises:
        SeglabError: an encoder that is unknown or cannot be dilated, no rates, or weights that do not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        encoder: str = "resnet101.tv_in1k",
        weights: str = "imagenet",
        rates: tuple[int, ...] = (6, 12, 18, 24),
        fused: int = 0,
        **common: Any,
    ) -> None:
        require(fused >= 0 and fused % GROUPS == 0, "DeepLabV2.fused", fused, "give a multiple of 32, or 0 for none")
        if not rates or min(rates) < 1:
            raise SeglabError(f"rates {list(rates)}: give one positive dilation or more, such as [6, 12, 18, 24]")
        name = find_encoder(f"tu-{encoder.removeprefix('tu-')}")
        backbone = dilated_encoder(timm_name(name), 8, stages=2)
        super().__init__(space, mean_std(name), 8, 32, **common)
        self.encoder = backbone
        layer3, layer4 = backbone.feature_info.channels()
        self.rates, self.fused = rates, fused
        self.feature_channels = fused or layer4
        self.neck: nn.Module = FusedASPP(layer4, fused, rates) if fused else nn.Identity()
        self.head: nn.Module = ASPPL(layer4, space.num_classes, rates)
        if fused:
            layer = nn.Conv2d(fused, space.num_classes, 1, bias=False)
            nn.init.normal_(layer.weight, std=0.001)
            self.head = nn.Sequential(nn.Dropout2d(0.1), layer)
        self.finish(layer3)
        load_encoder_weights(self.encoder, weights, name)

    def auxiliary(self, channels: int) -> nn.Module:
        return ASPPL(channels, self.space.num_classes, self.rates)

    def encode(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(self.prepare(image)))

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        features = self.neck(stages[-1])
        return self.output(self.head(features), features, stages, size)


class FusedASPP(nn.Module):
    """ProDA's parallel convolutions, weighed by the image as a whole and fused: B D h w -> B width h w.

    Args:
        channels: D.
        width: of each branch, and of the result.
        rates: dilations of the 3x3 branches; there is a 1x1 branch, too.
    """

    def __init__(self, channels: int, width: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        point = nn.Conv2d(channels, width, 1)
        dilated = [nn.Conv2d(channels, width, 3, padding=rate, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList(
            nn.Sequential(layer, nn.GroupNorm(GROUPS, width), nn.ReLU(inplace=True)) for layer in (point, *dilated)
        )
        total = len(self.branches) * width
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(total, total // 16, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(total // 16, total, 1),
            nn.Sigmoid(),
        )
        self.fuse = nn.Sequential(nn.Conv2d(total, width, 3, padding=1), nn.GroupNorm(GROUPS, width))

    def forward(self, stage: Tensor) -> Tensor:
        parallel = torch.cat([branch(stage) for branch in self.branches], 1)
        fused: Tensor = self.fuse(parallel * self.weigh(parallel))
        return fused


class ASPPL(nn.Module):
    """The sum of parallel dilated 3x3 convolutions, each straight to the classes: B D h w -> B K h w (section 3.2)."""

    def __init__(self, channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate) for rate in rates
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.01) if parameter.ndim > 1 else nn.init.zeros_(parameter)

    def apart(self, features: Tensor) -> Tensor:
        """What each convolution adds to the logits: B D h w -> B (branches K) h w."""
        return torch.cat([branch(features) for branch in self.branches], 1)

    def forward(self, features: Tensor) -> Tensor:
        first, *others = self.branches
        logits: Tensor = first(features)
        for branch in others:
            logits = logits + branch(features)
        return logits


def parallel_outputs(network: Network, features: Tensor) -> Tensor:
    """What each convolution of DeepLab v2's head says of features B D h w; of another network, the features."""
    head = getattr(network, "head", None)
    return head.apart(features) if isinstance(head, ASPPL) else features


def parallel_channels(network: Network) -> int:
    """Channels of ``parallel_outputs``."""
    head = getattr(network, "head", None)
    return len(head.branches) * network.space.num_classes if isinstance(head, ASPPL) else network.feature_channels
