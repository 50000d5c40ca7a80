"""Networks: from images in [0, 1] to logits, features and auxiliary outputs."""

from seglab.networks.base import Network, NetworkFactory
from seglab.networks.cam import CAMNetwork
from seglab.networks.daformer import DAFormerNetwork
from seglab.networks.deeplabv2 import DeepLabV2
from seglab.networks.deeplabv3plus import DeepLabV3Plus
from seglab.networks.dpt import DPT
from seglab.networks.fcn import FCN
from seglab.networks.hrda import HRDA
from seglab.networks.of_run import NetworkOfRun
from seglab.networks.segmenter import Segmenter

__all__ = [
    "DPT",
    "FCN",
    "HRDA",
    "CAMNetwork",
    "DAFormerNetwork",
    "DeepLabV2",
    "DeepLabV3Plus",
    "Network",
    "NetworkFactory",
    "NetworkOfRun",
    "Segmenter",
]
