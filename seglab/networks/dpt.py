"""Dense prediction transformer: a plain vision transformer, DINOv2 above all, and a convolutional head."""

from collections.abc import Sequence
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import find_encoder, mean_std, timm_name
from seglab.networks.heads import resized
from seglab.networks.weights import load_encoder_weights
from seglab.types import Output, SeglabError


class DPT(Network):
    """DPT (Ranftl, Bochkovskiy and Koltun, ICCV 2021) without batch normalisation, as UniMatch V2 trains it.

    Four layers of the transformer, normalised and without their class tokens, all at the resolution of its patches,
    are brought to 4, 2, 1 and 1/2 times that and fused from coarse to fine. ``features`` are the result (``width``
    channels, at 8 times the patch grid).

    Images are padded to a multiple of the patch, and position embeddings are interpolated to their size; at the size
    of the encoder's training (518 for DINOv2) neither happens. Crops that are multiples of the patch waste nothing.

    Deviations from the official code: no interpolation aligns corners, position embeddings are interpolated with
    antialiasing (both only matter where sizes change), and the unused half of the coarsest fusion is left out.

    Args:
        space: classes to tell apart.
        encoder: name of a vision transformer of timm.
        weights: of the encoder: ``imagenet`` for those that timm publishes under that name (from the local cache or
            the Hugging Face hub; for DINOv2 they are not from ImageNet), ``none``, or the path of a state dict.
        layers: indices of the four layers. Empty: the last of each quarter; UniMatch V2's ViT-L takes [4, 11, 17, 23].
        channels: width of the four maps before fusion.
        width: width of the fusion.
        freeze_encoder: train the head alone.
        encoder_options: further arguments of timm's model, such as ``depth`` or ``drop_path_rate``.
        common: ``train_norms``, ``mean_std``, ``channel_order``, ``projection``, ``aux_weight``, ``channels_last`` and
            ``compile`` of every network.

    Raises:
        SeglabError: an encoder that is unknown or no vision transformer, layers it does not have, other than four
            layers or channels, or weights that do not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        encoder: str = "vit_small_patch14_dinov2.lvd142m",
        weights: str = "imagenet",
        layers: tuple[int, ...] = (),
        channels: tuple[int, ...] = (48, 96, 192, 384),
        width: int = 64,
        freeze_encoder: bool = False,
        encoder_options: dict[str, Any] | None = None,
        **common: Any,
    ) -> None:
        name = find_encoder(f"tu-{encoder.removeprefix('tu-')}")
        transformer = vision_transformer(timm_name(name), encoder_options or {})
        depth, patch = len(transformer.blocks), transformer.patch_embed.patch_size[0]
        chosen = sorted(layers) or [depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
        if len(set(chosen)) != 4 or min(chosen) < 0 or max(chosen) >= depth:
            raise SeglabError(f"layers {chosen}: give four different ones from 0 to {depth - 1} of {encoder!r}")
        if len(channels) != 4:
            raise SeglabError(f"channels {list(channels)}: give four widths, such as [48, 96, 192, 384]")
        super().__init__(space, mean_std(name), patch, patch, **common)
        # Layers behind the last one would never get a gradient.
        self.layers = transformer.prune_intermediate_layers(chosen, prune_norm=False, prune_head=True)
        self.encoder = transformer
        self.fusion = Fusion(transformer.embed_dim, channels, width)
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, space.num_classes, 1)
        )
        self.feature_channels = width
        self.finish(transformer.embed_dim)
        load_encoder_weights(self.encoder, weights, name)
        self.encoder.requires_grad_(not freeze_encoder)

    def encode(self, image: Tensor) -> list[Tensor]:
        stages: list[Tensor] = self.encoder.forward_intermediates(  # type: ignore[operator]
            self.prepare(image), indices=self.layers, norm=True, intermediates_only=True
        )
        return stages  # four of B D h w

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        features = self.fusion(stages)
        return self.output(self.head(features), features, stages, size)


class Fusion(nn.Module):
    """From four maps B D h w to one of B width 8h 8w.

    Args:
        dimension: D of the maps.
        channels: their widths after a projection.
        width: of the result.
    """

    def __init__(self, dimension: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(dimension, channel, 1) for channel in channels)
        self.resize = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )
        self.reduce = nn.ModuleList(nn.Conv2d(channel, width, 3, padding=1, bias=False) for channel in channels)
        self.lateral = nn.ModuleList(Residual(width) for _ in channels[:3])
        self.merge = nn.ModuleList(Residual(width) for _ in channels)
        self.out = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in channels)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        parts = zip(stages, self.projections, self.resize, self.reduce, strict=True)
        maps = [reduce(resize(project(stage))) for stage, project, resize, reduce in parts]  # 4h, 2h, h, h/2
        height, width = maps[0].shape[-2:]
        sizes = [(2 * height, 2 * width), *(part.shape[-2:] for part in maps[:3])]
        fused = maps[3]
        for level in (3, 2, 1, 0):
            if level < 3:
                fused = fused + self.lateral[level](maps[level])
            # The pointwise convolution comes before the interpolation, with which it commutes: a quarter of the work.
            fused = self.out[level](self.merge[level](fused))
            fused = resized(fused, sizes[level])
        return fused


class Residual(nn.Module):
    """x + convolution(ReLU(convolution(ReLU(x)))), B D h w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + change


def vision_transformer(name: str, options: dict[str, Any]) -> Any:
    """A vision transformer of timm for images of any size, without head; raises SeglabError for anything else."""
    try:
        transformer: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True, **options)
    except (TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
        reason = str(error) or "not supported"
        raise SeglabError(
            f"encoder {name!r} is no vision transformer for images of any size, or encoder_options {options} do not "
            f"fit it: {reason}"
        ) from error
    if not hasattr(transformer, "prune_intermediate_layers") or not hasattr(transformer, "blocks"):
        raise SeglabError(f"encoder {name!r} is no plain vision transformer: take one such as vit_small_patch14_dinov2")
    return transformer
