"""Data sets, streams and geometry."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the internet for its latest version

from seglab.data.adaptation import DomainAdaptation
from seglab.data.dataset import DataSet
from seglab.data.module import SegmentationData
from seglab.data.sets.acdc import ACDC
from seglab.data.sets.camvid import CamVid
from seglab.data.sets.cityscapes import Cityscapes
from seglab.data.sets.dark_zurich import DarkZurich
from seglab.data.sets.folder import Folder
from seglab.data.sets.gta5 import GTA5
from seglab.data.sets.synthia import SYNTHIA
from seglab.data.sets.voc import VOC

__all__ = [
    "ACDC",
    "GTA5",
    "SYNTHIA",
    "VOC",
    "CamVid",
    "Cityscapes",
    "DarkZurich",
    "DataSet",
    "DomainAdaptation",
    "Folder",
    "SegmentationData",
]
