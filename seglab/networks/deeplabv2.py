"""DeepLab v2, the network of most of the domain-adaptation literature."""

from collections.abc import Sequence

from torch import Tensor, nn

from seglab.networks.base import Network
from seglab.networks.encoders import dilated_encoder, find_encoder, mean_std, timm_name
from seglab.networks.weights import load_encoder_weights
from seglab.ops.norm import batch_norms
from seglab.types import Output, SeglabError, SideOutput


class DeepLabV2(Network):
    """DeepLab v2 (Chen et al., TPAMI 2017): a dilated encoder at stride 8 and the ASPP-L head, no decoder.

    ``features`` are the encoder's last stage (2048 channels for a ResNet-101). Differences from the
    original's ResNet: timm's max pooling rounds sizes down instead of up, and the first block of layers 3 and 4 has
    the dilation of the layer before.

    Args:
        num_classes: classes to tell apart, K.
        encoder: name of a timm model that can be dilated to stride 8.
        weights: of the encoder: ``imagenet`` (from the local cache or the Hugging Face hub), ``none``, or the path of
            a state dict.
        rates: dilations of the parallel 3x3 convolutions that the head sums. (6, 12, 18, 24) as published; DACS and
            the methods that start from its code in effect use (6, 12).
        aux_weight: of the loss of a second head, on the last stage but one (layer 3 of a ResNet);
            0: no such head. Its logits are ``side["aux"]``.
        train_norms: let the encoder's normalisation weights and biases learn. Most adaptation papers on this network
            keep them as pre-trained, and normalise with batch statistics all the same.

    Raises:
        SeglabError: an encoder that is unknown or cannot be dilated, no rates, or weights that do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        encoder: str = "resnet101.tv_in1k",
        weights: str = "imagenet",
        rates: tuple[int, ...] = (6, 12, 18, 24),
        aux_weight: float = 0.0,
        train_norms: bool = True,
    ) -> None:
        if not rates or min(rates) < 1:
            raise SeglabError(f"rates {list(rates)}: give one positive dilation or more, such as [6, 12, 18, 24]")
        name = find_encoder(f"tu-{encoder.removeprefix('tu-')}")
        backbone = dilated_encoder(timm_name(name), 8, stages=2)
        super().__init__(*mean_std(name), multiple=8)
        self.encoder = backbone
        layer3, layer4 = backbone.feature_info.channels()
        self.head = ASPPL(layer4, num_classes, rates)
        self.aux_head = ASPPL(layer3, num_classes, rates) if aux_weight else None
        self.aux_weight = aux_weight
        self.feature_channels = layer4
        load_encoder_weights(self.encoder, weights, name)
        for norm in batch_norms(self.encoder):
            norm.requires_grad_(train_norms)

    def encode(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(self.prepare(image)))

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        layer3, layer4 = stages  # B D h w
        side = {"aux": SideOutput(self.restore(self.aux_head(layer3), size), self.aux_weight)} if self.aux_head else {}
        return Output(self.restore(self.head(layer4), size), layer4, side=side)


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
