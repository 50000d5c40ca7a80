"""Data sets, streams and geometry."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the internet for its latest version

from seglab.data.acdc import ACDC
from seglab.data.adaptation import DomainAdaptation
from seglab.data.camvid import CamVid
from seglab.data.cityscapes import Cityscapes
from seglab.data.dark_zurich import DarkZurich
from seglab.data.datamodule import SegmentationData
from seglab.data.folder import Folder
from seglab.data.gta5 import GTA5
from seglab.data.synthia import SYNTHIA
from seglab.data.voc import VOC

__all__ = [
    "ACDC",
    "GTA5",
    "SYNTHIA",
    "VOC",
    "CamVid",
    "Cityscapes",
    "DarkZurich",
    "DomainAdaptation",
    "Folder",
    "SegmentationData",
]
