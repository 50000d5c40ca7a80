"""DeepLab v2, the network of most of the domain-adaptation literature."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import dilated_encoder, find_encoder, mean_std, timm_name
from seglab.networks.weights import load_encoder_weights
from seglab.types import Output, SeglabError


class DeepLabV2(Network):
    """DeepLab v2 (Chen et al., TPAMI 2017): a dilated encoder at stride 8 and the ASPP-L head, no decoder.

    ``features`` are the encoder's last stage (2048 channels for a ResNet-101).

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
        common: ``train_norms``, ``mean_std``, ``channel_order``, ``projection``, ``aux_weight`` of every network.

    Raises:
        SeglabError: an encoder that is unknown or cannot be dilated, no rates, or weights that do not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        encoder: str = "resnet101.tv_in1k",
        weights: str = "imagenet",
        rates: tuple[int, ...] = (6, 12, 18, 24),
        **common: Any,
    ) -> None:
        if not rates or min(rates) < 1:
            raise SeglabError(f"rates {list(rates)}: give one positive dilation or more, such as [6, 12, 18, 24]")
        name = find_encoder(f"tu-{encoder.removeprefix('tu-')}")
        backbone = dilated_encoder(timm_name(name), 8, stages=2)
        super().__init__(space, mean_std(name), 8, 32, **common)
        self.encoder = backbone
        layer3, layer4 = backbone.feature_info.channels()
        self.head = ASPPL(layer4, space.num_classes, rates)
        self.rates = rates
        self.feature_channels = layer4
        self.finish(layer3)
        load_encoder_weights(self.encoder, weights, name)

    def auxiliary(self, channels: int) -> nn.Module:
        return ASPPL(channels, self.space.num_classes, self.rates)

    def encode(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(self.prepare(image)))

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return self.output(self.head(stages[-1]), stages[-1], stages, size)


class ASPPL(nn.Module):
    """The sum of parallel dilated 3x3 convolutions, each straight to the classes: B D h w -> B K h w (section 3.2)."""

    def __init__(self, channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate) for rate in rates
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.01) if parameter.ndim > 1 else nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        first, *others = self.branches
        logits: Tensor = first(features)
        for branch in others:
            logits = logits + branch(features)
        return logits
