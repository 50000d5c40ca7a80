"""FCN, the first network that was trained end to end for segmentation, and the plainest head in use today."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import dilated_encoder, find_encoder, mean_std, timm_name
from seglab.networks.heads import neck
from seglab.networks.weights import load_encoder_weights
from seglab.types import Output, require


class FCN(Network):
    """FCN (Long et al., CVPR 2015) on a convolutional encoder of timm. ``features`` are what its last convolution sees.

    By default as torchvision and mmsegmentation have it: a dilated encoder at stride 8 and no skips. ``output_stride:
    32`` with ``skips: [16, 8]`` is the paper's FCN-8s, with ``[16]`` FCN-16s and without FCN-32s: scores of the coarse
    stage are upsampled and the scores of finer stages added, step by step.

    Differences from the paper: a 3x3 convolution with batch normalisation in place of the two fully connected layers of
    VGG; bilinear upsampling stays fixed, where the paper only starts from it; all skips are trained at once.

    Args:
        space: classes to tell apart.
        encoder: name of a timm model.
        weights: of the encoder: ``imagenet`` (from the local cache or the Hugging Face hub), ``none``, or the path of
            a state dict.
        output_stride: pixels of the image per pixel of the last stage: 8, 16 or 32. Not every encoder can be dilated.
        skips: strides of the earlier stages whose scores are added, coarse to fine.
        dropout: before the last convolution.
        common: ``train_norms``, ``mean_std``, ``channel_order``, ``projection``, ``aux_weight``, ``channels_last`` and
            ``compile`` of every network.

    Raises:
        SeglabError: an encoder that is unknown, cannot be dilated or has no stage of such a stride, or weights that do
            not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        encoder: str = "resnet50.tv_in1k",
        weights: str = "imagenet",
        output_stride: int = 8,
        skips: tuple[int, ...] = (),
        dropout: float = 0.1,
        **common: Any,
    ) -> None:
        require(output_stride in (8, 16, 32), "FCN.output_stride", output_stride, "give 8, 16 or 32")
        name = find_encoder(f"tu-{encoder.removeprefix('tu-')}")
        backbone = dilated_encoder(timm_name(name), output_stride)
        super().__init__(space, mean_std(name), output_stride, 32, **common)
        self.encoder = backbone
        channels, strides = backbone.feature_info.channels(), backbone.feature_info.reduction()
        finer = [stride for stride in strides if stride < output_stride]
        require(
            list(skips) == sorted(set(skips) & set(finer), reverse=True),
            "FCN.skips",
            list(skips),
            f"give strides from coarse to fine among {finer[::-1]}, which this encoder's earlier stages have",
        )
        self.skipped = [len(strides) - 1 - strides[::-1].index(stride) for stride in skips]  # the last of that stride
        self.neck = neck(channels[-1], dropout)
        self.feature_channels = channels[-1] // 4
        self.head = nn.Conv2d(self.feature_channels, space.num_classes, 1)
        self.scores = nn.ModuleList(nn.Conv2d(channels[index], space.num_classes, 1) for index in self.skipped)
        for parameter in self.scores.parameters():
            nn.init.zeros_(parameter)  # section 4.2: a skip begins with no weight
        self.finish(channels[-2])
        load_encoder_weights(self.encoder, weights, name)

    def encode(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(self.prepare(image)))

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        features = self.neck(stages[-1])  # B D h w
        logits = self.head(features)
        for score, index in zip(self.scores, self.skipped, strict=True):
            finer = score(stages[index])
            logits = finer + F.interpolate(logits, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        return self.output(logits, features, stages, size)

    def classifiers(self) -> list[nn.Module]:
        return [*super().classifiers(), self.scores]
