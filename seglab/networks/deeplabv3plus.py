"""DeepLab v3+ as the papers on few labels train it, each with details of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import dilated_encoder, find_encoder, mean_std, set_multi_grid, timm_name
from seglab.networks.heads import convolution, resized, separable
from seglab.networks.weights import load_encoder_weights
from seglab.types import Output, SeglabError, require

WIDTH = 256


class DeepLabV3Plus(Network):
    """DeepLab v3+ (Chen et al., ECCV 2018) on a convolutional encoder of timm.

    Context from parallel dilated convolutions (ASPP) on the last stage joins the reduced stage of stride 4, and two 3x3
    convolutions fuse them. ``features`` are the fused map (256 channels, stride 4).

    The defaults are UniMatch's and FixMatch's. What others set: CPS, Mean Teacher (TorchSemiSeg) ``multi_grid: [2, 4,
    8]``, ``aspp_slope: 0.01``; U2PL and AEL ``output_stride: 8``, ``multi_grid: [4, 8, 16]``, ``rates: [12, 24, 36]``,
    ``low_channels: 256``, ``aspp_kernel: 3``, ``aspp_dropout: 0.1``, ``dropout: 0.1``; the original paper
    ``separable: true`` and no aligned corners.

    Args:
        space: classes to tell apart.
        encoder: name of a timm model. ``resnet101s.gluon_in1k`` and ``resnet50s.gluon_in1k`` have the stem of three
            3x3 convolutions (64, 64, 128) of all these papers; ``resnet101.tv_in1k`` has one 7x7 convolution.
        weights: of the encoder: ``imagenet`` (from the local cache or the Hugging Face hub), ``none``, or the path of
            a state dict.
        output_stride: pixels of the image per pixel of the last stage, 8 or 16.
        multi_grid: dilations of the blocks of a ResNet's last stage. Empty: those that the output stride implies.
        rates: dilations of the parallel 3x3 convolutions, beside which are a 1x1 one and the global mean.
        low_channels: what the stage of stride 4 is reduced to.
        separable: depthwise separable 3x3 convolutions in place of full ones.
        aspp_kernel: size of the convolution that joins the parallel ones, 1 or 3.
        aspp_dropout: share of channels dropped behind it, in [0, 1).
        dropout: share of channels dropped behind each of the two fusing convolutions, in [0, 1).
        aspp_slope: of leaky ReLU before and behind the joining convolution; 0: ReLU.
        align_corners: interpolation aligns the corners of images and maps, as all these papers' does. Crops of
            16 n + 1 pixels, such as 321, 513, 769 and 801, go with it, and nothing is padded.
        common: ``train_norms``, ``mean_std``, ``channel_order``, ``projection``, ``aux_weight``, ``channels_last`` and
            ``compile`` of every network.

    Raises:
        SeglabError: an encoder that is unknown, cannot be dilated or has no stage of stride 4, a setting outside its
            range, or weights that do not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        encoder: str = "resnet101s.gluon_in1k",
        weights: str = "imagenet",
        output_stride: int = 16,
        multi_grid: tuple[int, ...] = (),
        rates: tuple[int, ...] = (6, 12, 18),
        low_channels: int = 48,
        separable: bool = False,
        aspp_kernel: int = 1,
        aspp_dropout: float = 0.0,
        dropout: float = 0.0,
        aspp_slope: float = 0.0,
        align_corners: bool = True,
        **common: Any,
    ) -> None:
        require(output_stride in (8, 16), "DeepLabV3Plus.output_stride", output_stride, "give 8 or 16")
        require(aspp_kernel in (1, 3), "DeepLabV3Plus.aspp_kernel", aspp_kernel, "give 1 or 3")
        require(min(rates, default=0) > 0, "DeepLabV3Plus.rates", list(rates), "give positive dilations")
        require(low_channels > 0, "DeepLabV3Plus.low_channels", low_channels, "give a positive width")
        for name, share in (("aspp_dropout", aspp_dropout), ("dropout", dropout)):
            require(0 <= share < 1, f"DeepLabV3Plus.{name}", share, "give a share in [0, 1)")
        name = find_encoder(f"tu-{encoder.removeprefix('tu-')}")
        backbone = dilated_encoder(timm_name(name), output_stride)
        channels, strides = backbone.feature_info.channels(), backbone.feature_info.reduction()
        if 4 not in strides:
            raise SeglabError(f"encoder {encoder!r} has no stage of stride 4, only {strides}: choose another")
        super().__init__(space, mean_std(name), 1 if align_corners else output_stride, 32, **common)
        if multi_grid:
            set_multi_grid(backbone, multi_grid)
        self.encoder, self.align_corners = backbone, align_corners
        self.low = len(strides) - 1 - strides[::-1].index(4)  # the last stage of that stride
        self.reduce = convolution(channels[self.low], low_channels)
        self.aspp = ASPP(channels[-1], rates, separable, aspp_kernel, aspp_slope)
        self.aspp_dropout = nn.Dropout2d(aspp_dropout)
        self.fuse = nn.Sequential(
            *(three(low_channels + WIDTH, 1, separable), nn.Dropout2d(dropout)),
            *(three(WIDTH, 1, separable), nn.Dropout2d(dropout)),
        )
        self.head = nn.Conv2d(WIDTH, space.num_classes, 1)
        self.feature_channels = WIDTH
        self.finish(channels[-2])
        load_encoder_weights(self.encoder, weights, name)

    def encode(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(self.prepare(image)))

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        low = self.reduce(stages[self.low])
        context = self.aspp_dropout(self.aspp(stages[-1]))
        context = resized(context, low.shape[-2:], self.align_corners)
        features = self.fuse(torch.cat([low, context], 1))
        return self.output(self.head(features), features, stages, size)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: B channels h w -> B 256 h w (DeepLab v3, section 3.3)."""

    def __init__(self, channels: int, rates: Sequence[int], separable: bool, kernel: int, slope: float) -> None:
        super().__init__()
        dilated = (three(channels, rate, separable, slope) for rate in rates)
        self.branches = nn.ModuleList([convolution(channels, WIDTH, slope=slope), *dilated])
        self.pooled = convolution(channels, WIDTH, slope=slope)
        self.join = convolution((len(rates) + 2) * WIDTH, WIDTH, kernel, slope=slope)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        joined: Tensor = self.join(torch.cat([*(branch(x) for branch in self.branches), pooled], 1))
        return joined


def three(channels: int, dilation: int, is_separable: bool, slope: float = 0.0) -> nn.Module:
    """A dilated 3x3 convolution, full or separable."""
    if is_separable:
        return separable(channels, WIDTH, dilation)
    return convolution(channels, WIDTH, 3, dilation, slope=slope)
