"""The network of DAFormer, HRDA, MIC and their successors: all stages of an encoder, fused with context."""

from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import find_encoder, mean_std, timm_name
from seglab.networks.heads import convolution, embedded, separable
from seglab.networks.weights import load_encoder_weights
from seglab.types import Output, SeglabError, require

STAGES = 4  # strides 4, 8, 16 and 32


class DAFormerNetwork(Network):
    """Context-aware fusion of all stages of a transformer (Hoyer et al., CVPR 2022, section 3.2).

    Each stage is embedded in ``width`` channels and brought to stride 4; parallel depthwise separable convolutions of
    several dilations see them all. ``features`` are the fused map that the classifier sees (``width`` channels).

    Args:
        space: classes to tell apart.
        encoder: name of an encoder of segmentation-models-pytorch (``mit_b5``) or of timm with four stages at the
            strides 4, 8, 16 and 32, such as every ResNet.
        weights: of the encoder: ``imagenet`` (from the local cache or the Hugging Face hub), ``none``, or the path of
            a state dict.
        width: channels of each embedding, of each parallel convolution and of the fused map.
        dilations: of the parallel convolutions; 1 is a 1x1 convolution.
        dropout: share of the fused channels that are dropped in training.
        common: ``train_norms``, ``mean_std``, ``channel_order``, ``projection``, ``aux_weight``, ``channels_last`` and
            ``compile`` of every network.

    Raises:
        SeglabError: an encoder that is unknown or has other strides, no dilations, a dropout outside [0, 1), or weights
            that do not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        encoder: str = "mit_b5",
        weights: str = "imagenet",
        width: int = 256,
        dilations: tuple[int, ...] = (1, 6, 12, 18),
        dropout: float = 0.1,
        **common: Any,
    ) -> None:
        require(
            bool(dilations) and min(dilations) >= 1, "dilations", list(dilations), "give one positive number or more"
        )
        require(0.0 <= dropout < 1.0, "dropout", dropout, "give a share in [0, 1)")
        name = find_encoder(encoder)
        super().__init__(space, mean_std(name), 32, 32, **common)
        backbone = build_encoder(name)
        self.encoder = backbone
        self.embeddings = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in backbone.out_channels[-STAGES:])
        self.branches = nn.ModuleList(branch(STAGES * width, width, dilation) for dilation in dilations)
        self.bottleneck = convolution(len(dilations) * width, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(width, space.num_classes, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.feature_channels = width
        self.finish(backbone.out_channels[-2])
        load_encoder_weights(self.encoder, weights, name)

    def encode(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(self.prepare(image))[-STAGES:])

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        fused = embedded(self.embeddings, stages)
        features = self.bottleneck(torch.cat([branch(fused) for branch in self.branches], 1))
        return self.output(self.head(self.dropout(features)), features, stages, size)


def build_encoder(name: str) -> Any:
    """An encoder with random weights; raises SeglabError unless its last stages have the strides 4, 8, 16 and 32."""
    cfg = timm.get_pretrained_cfg(timm_name(name)) if timm_name(name) else None
    if cfg and cfg.fixed_input_size:
        raise SeglabError(f"encoder {name!r} takes images of one size only: choose a convolutional one or mit_b0 to b5")
    try:
        encoder: Any = smp.encoders.get_encoder(name, depth=5, weights=None)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError) as error:
        raise SeglabError(f"encoder {name!r} has no stages to fuse: {str(error) or 'not supported'}") from error
    strides = encoder.model.feature_info.reduction()[-STAGES:] if timm_name(name) else [4, 8, 16, 32]
    if strides != [4, 8, 16, 32] or not all(encoder.out_channels[-STAGES:]):
        raise SeglabError(f"encoder {name!r}: its last stages have the strides {strides}, but 4, 8, 16, 32 are fused")
    return encoder


def branch(channels: int, width: int, dilation: int) -> nn.Module:
    """A separable dilated 3x3 convolution; for dilation 1 a 1x1 one."""
    return convolution(channels, width) if dilation == 1 else separable(channels, width, dilation)
