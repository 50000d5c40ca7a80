"""An encoder that timm lacks; ``encoders`` gives it a name there, so that every network can have it."""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs
from timm.models.resnet import BasicBlock, ResNet

SETTINGS = {
    **{"num_classes": 1000, "first_conv": "conv1", "classifier": "fc"},
    **{"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD},
}
default_cfgs = generate_default_cfgs({"wide_resnet34_2.untrained": SETTINGS})  # where timm looks for them


def wide_resnet34_2(pretrained: bool = False, **options: Any) -> Any:
    """ResNet-34 of double width (128, 256, 512, 1024 channels), the wide teacher of MGD (Qin et al., ECCV 2022).

    No library has weights of it: ``weights`` of a network is the path of a state dict, or ``none``.
    """
    shape = {"block": BasicBlock, "layers": (3, 4, 6, 3), "channels": (128, 256, 512, 1024)}
    return build_model_with_cfg(ResNet, "wide_resnet34_2", pretrained, **shape, **options)
