"""Methods: one short file each, on a base that holds everything they share."""

from seglab.methods.adaptation.advent import AdvEnt
from seglab.methods.adaptation.bicl import BiCL
from seglab.methods.adaptation.camix import CAMix
from seglab.methods.adaptation.cdac import CDAC
from seglab.methods.adaptation.clan import CLAN
from seglab.methods.adaptation.cluda import CLUDA
from seglab.methods.adaptation.content_transfer import ContentTransfer
from seglab.methods.adaptation.crda import CRDA
from seglab.methods.adaptation.dacs import DACS
from seglab.methods.adaptation.daformer import DAFormer
from seglab.methods.adaptation.ehtdi import EHTDI
from seglab.methods.adaptation.minent import MinEnt
from seglab.methods.adaptation.proca import ProCA
from seglab.methods.adaptation.proda import ProDA
from seglab.methods.adaptation.proda_distillation import ProDADistillation
from seglab.methods.adaptation.rccr import RCCR
from seglab.methods.adaptation.spcl import SPCL
from seglab.methods.adaptation.tada import TADA
from seglab.methods.additions.drsl import DRSL
from seglab.methods.additions.feature_distance import FeatureDistance
from seglab.methods.additions.mic import MIC
from seglab.methods.additions.pixel_contrast import PixelContrast
from seglab.methods.additions.pne import PNE
from seglab.methods.additions.translation_consistency import TranslationConsistency
from seglab.methods.base import Addition, Method
from seglab.methods.image_level.bas import BAS
from seglab.methods.image_level.cam import CAM
from seglab.methods.image_level.wood import WOoD
from seglab.methods.incremental.barm import BARM
from seglab.methods.noisy.adele import ADELE
from seglab.methods.optim import Schedule
from seglab.methods.semi.ael import AEL
from seglab.methods.semi.allspark import AllSpark
from seglab.methods.semi.augseg import AugSeg
from seglab.methods.semi.corrmatch import CorrMatch
from seglab.methods.semi.cps import CPS
from seglab.methods.semi.cutmix_seg import CutMixSeg
from seglab.methods.semi.cw_bass import CWBASS
from seglab.methods.semi.dssn import DSSN
from seglab.methods.semi.fixmatch import FixMatch
from seglab.methods.semi.mean_teacher import MeanTeacher
from seglab.methods.semi.mgd import MGD
from seglab.methods.semi.psmt import PSMT
from seglab.methods.semi.reco import ReCo
from seglab.methods.semi.u2pl import U2PL
from seglab.methods.semi.unimatch import UniMatch
from seglab.methods.semi.unimatch_v2 import UniMatchV2
from seglab.methods.source_free.stvm import STvM
from seglab.methods.supervised import Supervised

__all__ = [
    "ADELE",
    "AEL",
    "BARM",
    "BAS",
    "CAM",
    "CDAC",
    "CLAN",
    "CLUDA",
    "CPS",
    "CRDA",
    "CWBASS",
    "DACS",
    "DRSL",
    "DSSN",
    "EHTDI",
    "MGD",
    "MIC",
    "PNE",
    "PSMT",
    "RCCR",
    "SPCL",
    "TADA",
    "U2PL",
    "Addition",
    "AdvEnt",
    "AllSpark",
    "AugSeg",
    "BiCL",
    "CAMix",
    "ContentTransfer",
    "CorrMatch",
    "CutMixSeg",
    "DAFormer",
    "FeatureDistance",
    "FixMatch",
    "MeanTeacher",
    "Method",
    "MinEnt",
    "PixelContrast",
    "ProCA",
    "ProDA",
    "ProDADistillation",
    "ReCo",
    "STvM",
    "Schedule",
    "Supervised",
    "TranslationConsistency",
    "UniMatch",
    "UniMatchV2",
    "WOoD",
]
