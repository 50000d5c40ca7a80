"""Data sets, streams and geometry."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the internet for its latest version

from seglab.data.adaptation import DomainAdaptation
from seglab.data.dataset import DataSet
from seglab.data.module import SegmentationData
from seglab.data.sets.acdc import ACDC
from seglab.data.sets.ade20k import ADE20K
from seglab.data.sets.bdd100k import BDD100K
from seglab.data.sets.camvid import CamVid
from seglab.data.sets.cityscapes import Cityscapes
from seglab.data.sets.coco import COCO, COCOStuff
from seglab.data.sets.cross_city import CrossCity
from seglab.data.sets.dark_zurich import DarkZurich
from seglab.data.sets.folder import Folder
from seglab.data.sets.gta5 import GTA5
from seglab.data.sets.idd import IDD
from seglab.data.sets.isprs import ISPRS
from seglab.data.sets.loveda import LoveDA
from seglab.data.sets.mapillary import MapillaryVistas
from seglab.data.sets.pascal_context import PascalContext
from seglab.data.sets.synscapes import Synscapes
from seglab.data.sets.synthia import SYNTHIA
from seglab.data.sets.voc import VOC

__all__ = [
    "ACDC",
    "ADE20K",
    "BDD100K",
    "COCO",
    "GTA5",
    "IDD",
    "ISPRS",
    "SYNTHIA",
    "VOC",
    "COCOStuff",
    "CamVid",
    "Cityscapes",
    "CrossCity",
    "DarkZurich",
    "DataSet",
    "DomainAdaptation",
    "Folder",
    "LoveDA",
    "MapillaryVistas",
    "PascalContext",
    "SegmentationData",
    "Synscapes",
]
