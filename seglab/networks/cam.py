"""The classifier whose weights draw maps of its classes, and what makes predictions of such maps."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import dilated_encoder, find_encoder, mean_std, timm_name
from seglab.networks.weights import load_encoder_weights
from seglab.ops.cam import label_with_background, normalised
from seglab.ops.mixing import one_hot
from seglab.types import Output


class CAMNetwork(Network):
    """A 1x1 convolution without bias on a classifier's last stage (Zhou et al., CVPR 2016; the code of IRN).

    ``logits`` are the maps of the classes, ``features`` the last stage. ``encode`` ends before that stage where the
    encoder is a plain sequence (a ResNet), so that a method can change what the stage sees (BAS).

    Args:
        space: classes.
        encoder: name of a timm model that can be dilated.
        weights: of the encoder: ``imagenet`` (from the local cache or the Hugging Face hub), ``none``, or the path of
            a state dict.
        output_stride: pixels of the image per pixel of the last stage: 8, 16 (IRN) or 32.
        frozen_stem: the layers before the first residual stage do not learn (IRN).
        common: ``train_norms`` (``frozen`` in IRN) and the other options of every network.

    Raises:
        SeglabError: an encoder that is unknown or cannot be dilated, or weights that do not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        encoder: str = "resnet50.tv_in1k",
        weights: str = "imagenet",
        output_stride: int = 16,
        frozen_stem: bool = False,
        **common: Any,
    ) -> None:
        name = find_encoder(f"tu-{encoder.removeprefix('tu-')}")
        backbone = dilated_encoder(timm_name(name), output_stride)
        super().__init__(space, mean_std(name), output_stride, 32, **common)
        self.encoder = backbone
        *_, before, self.feature_channels = backbone.feature_info.channels()
        self.head: nn.Module = nn.Conv2d(self.feature_channels, space.num_classes, 1, bias=False)
        self.sequence = list(backbone) if hasattr(backbone, "return_layers") else []
        if frozen_stem:
            for part, layer in backbone.named_children():
                layer.requires_grad_("layer" in part or "block" in part or "stage" in part)
        self.finish(before)
        load_encoder_weights(self.encoder, weights, name)

    def encode(self, image: Tensor) -> list[Tensor]:
        x = self.prepare(image)
        if not self.sequence:
            return list(self.encoder(x))
        stages, layers = [], cast(Any, self.encoder)
        for name in self.sequence[: self._last]:
            x = layers[name](x)
            if name in layers.return_layers:
                stages.append(x)
        return stages

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        x, layers = stages[-1], cast(Any, self.encoder)
        for name in self.sequence[self._last :]:
            x = layers[name](x)
        return self.output(self.head(x), x, [*stages, x] if self.sequence else stages, size)

    @property
    def _last(self) -> int:
        """Where the last stage begins in the sequence."""
        returned = cast(Any, self.encoder).return_layers if self.sequence else ()
        taken = [index for index, name in enumerate(self.sequence) if name in returned]
        return taken[-2] + 1 if taken else 0


class Located(nn.Module):
    """Class activation maps as a network's output: each class where its normalised map is above a background score.

    An image shows the classes that it is given, or those whose score is above 0.

    Args:
        draw: maps B T H W of images B 3 H W, and the scores B T of their classes.
        classes: T, the classes of the maps.
        empty: class of the background, below 0 where there is none.
        background: its score.
        num_classes: K.
    """

    def __init__(
        self,
        draw: Callable[[Tensor], tuple[Tensor, Tensor]],
        classes: Tensor,
        empty: int,
        background: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.draw, self.classes, self.empty = draw, classes, empty
        self.background, self.num_classes = background, num_classes

    def forward(self, image: Tensor) -> Output:
        maps, score = self.draw(image)
        maps = normalised(maps, score > 0)
        label = label_with_background(maps, self.background, self.classes, self.empty)
        return Output(10.0 * one_hot(label, self.num_classes), maps)
