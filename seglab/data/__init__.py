"""Data sets, streams and geometry."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the internet for its latest version

from seglab.data.adaptation import DomainAdaptation
from seglab.data.camvid import CamVid
from seglab.data.cityscapes import Cityscapes
from seglab.data.datamodule import SegmentationData
from seglab.data.folder import Folder
from seglab.data.gta5 import GTA5

__all__ = ["GTA5", "CamVid", "Cityscapes", "DomainAdaptation", "Folder", "SegmentationData"]
