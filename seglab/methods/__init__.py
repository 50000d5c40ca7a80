"""Methods: one short file each, on a base that holds everything they share."""

from seglab.methods.additions.mic import MIC
from seglab.methods.adversarial.advent import AdvEnt
from seglab.methods.adversarial.minent import MinEnt
from seglab.methods.base import Addition, Method
from seglab.methods.contrastive.cluda import CLUDA
from seglab.methods.contrastive.spcl import SPCL
from seglab.methods.contrastive.u2pl import U2PL
from seglab.methods.cross_supervision.cps import CPS
from seglab.methods.optim import Schedule
from seglab.methods.supervised import Supervised
from seglab.methods.teacher_student.cutmix_seg import CutMixSeg
from seglab.methods.teacher_student.dacs import DACS
from seglab.methods.teacher_student.daformer import DAFormer
from seglab.methods.teacher_student.fixmatch import FixMatch
from seglab.methods.teacher_student.mean_teacher import MeanTeacher
from seglab.methods.teacher_student.unimatch import UniMatch
from seglab.methods.teacher_student.unimatch_v2 import UniMatchV2

__all__ = [
    "CLUDA",
    "CPS",
    "DACS",
    "MIC",
    "SPCL",
    "U2PL",
    "Addition",
    "AdvEnt",
    "CutMixSeg",
    "DAFormer",
    "FixMatch",
    "MeanTeacher",
    "Method",
    "MinEnt",
    "Schedule",
    "Supervised",
    "UniMatch",
    "UniMatchV2",
]
