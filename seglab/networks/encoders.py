"""Encoders by name: those of segmentation-models-pytorch (smp) and, behind ``tu-``, those of timm."""

import difflib
from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from seglab.networks.wide_resnet import wide_resnet34_2
from seglab.types import SeglabError

timm.models.register_model(wide_resnet34_2)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# smp keeps the pixel statistics of its own encoders beside the weights, out of reach without a network. These are the
# ones that were not trained with the ImageNet statistics.
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DPN = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
OTHER_STATISTICS = {
    "inceptionresnetv2": HALF,
    "inceptionv4": HALF,
    "xception": HALF,
    "timm-tf_efficientnet_lite": HALF,
    "dpn": DPN,
}


def find_encoder(name: str) -> str:
    """The name as smp wants it: its own encoders as they are, timm's with the prefix ``tu-``.

    Raises:
        SeglabError: neither library has it, or timm not this tag (``resnet101.tv_in1k``) of it.
    """
    if name in smp.encoders.encoders:
        return name
    if timm.is_model(name.removeprefix("tu-")):
        check_tag(name.removeprefix("tu-"))
        return name if name.startswith("tu-") else f"tu-{name}"
    known = list(dict.fromkeys([*smp.encoders.encoders, *timm.list_models()]))
    raise SeglabError(
        f"encoder {name!r} is unknown{near(name.removeprefix('tu-'), known)}. List all: "
        "`python -c 'import timm; print(timm.list_models())'` and "
        "`python -c 'import segmentation_models_pytorch as smp; print(smp.encoders.get_encoder_names())'`"
    )


def check_tag(name: str) -> None:
    """Raise SeglabError if timm has the model but no weights of this tag."""
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        model = name.partition(".")[0]
        tags = ", ".join(timm.list_pretrained(f"{model}.*"))
        raise SeglabError(f"encoder {name!r}: timm has no weights of that tag; of {model!r} it has {tags}") from error


def timm_name(encoder: str) -> str:
    """The name in timm of an encoder found by ``find_encoder``, empty for smp's own encoders."""
    return encoder.removeprefix("tu-") if encoder.startswith("tu-") else ""


def mean_std(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std, each of 3 in [0, 1], that an encoder found by ``find_encoder`` was trained with."""
    if name := timm_name(encoder):
        cfg = timm.get_pretrained_cfg(name)
        return (tuple(cfg.mean), tuple(cfg.std)) if cfg else (IMAGENET_MEAN, IMAGENET_STD)
    for prefix, statistics in OTHER_STATISTICS.items():
        if encoder.startswith(prefix):
            return statistics
    return IMAGENET_MEAN, IMAGENET_STD


def dilated_encoder(name: str, output_stride: int, stages: int = 0) -> Any:
    """A timm model that returns its last ``stages`` (0: all) as B D h w, the last one at ``output_stride`` (8, 16, 32).

    Raises:
        SeglabError: the model cannot be dilated to that stride, or returns no feature maps.
    """
    options: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    if stages:
        options["out_indices"] = tuple(range(-stages, 0))
    try:
        encoder = timm.create_model(name, features_only=True, **options)
    except (TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
        reason = str(error) or "not supported"
        raise SeglabError(f"encoder {name!r} cannot be dilated to output stride {output_stride}: {reason}") from error
    if (strides := encoder.feature_info.reduction())[-1] != output_stride or strides != sorted(strides):
        raise SeglabError(f"encoder {name!r} ignores output stride {output_stride}: its stages have {strides}")
    if str(getattr(encoder, "output_fmt", "NCHW")).rpartition(".")[2] not in ("NCHW", "None"):
        raise SeglabError(f"encoder {name!r} does not return feature maps: choose a convolutional one")
    return encoder


def set_multi_grid(encoder: nn.Module, dilations: Sequence[int]) -> None:
    """Give the 3x3 convolutions of a ResNet's last stage one dilation per block (DeepLab v3, section 3.2).

    Raises:
        SeglabError: the encoder has no ``layer4``, or another number of blocks there.
    """
    stage = next((part for name, part in encoder.named_modules() if name.rpartition(".")[2] == "layer4"), None)
    blocks = list(stage.children()) if stage else []
    if len(blocks) != len(dilations):
        found = f"{len(blocks)} blocks in layer4" if stage else "no layer4"
        raise SeglabError(f"multi_grid {list(dilations)} is for one block each of a ResNet's layer4; here is {found}")
    for block, dilation in zip(blocks, dilations, strict=True):
        for part in block.modules():
            if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
                part.dilation = part.padding = (dilation, dilation)


def near(name: str, known: list[str]) -> str:
    """The part of a message that suggests names like the wrong one; empty when there is none."""
    matches = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    return f"; close ones are {', '.join(matches)}" if matches else ""


def classifier_skeleton(name: str) -> nn.Module:
    """timm's whole classification model without storage, for its names and shapes."""
    try:
        with torch.device("meta"):
            return timm.create_model(name)
    except (RuntimeError, NotImplementedError):  # a constructor that computes with tensor values
        return timm.create_model(name)


def timm_classifier(name: str, state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """State dict of timm's classification model from a published file, which may still have to be converted by timm."""
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}).state_dict()
