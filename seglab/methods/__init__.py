"""Methods: one short file each, on a base that holds everything they share."""

from seglab.methods.additions.mic import MIC
from seglab.methods.base import Addition, Method
from seglab.methods.contrastive.cluda import CLUDA
from seglab.methods.cross_supervision.cps import CPS
from seglab.methods.optim import Schedule
from seglab.methods.supervised import Supervised
from seglab.methods.teacher_student.dacs import DACS
from seglab.methods.teacher_student.daformer import DAFormer
from seglab.methods.teacher_student.fixmatch import FixMatch
from seglab.methods.teacher_student.mean_teacher import MeanTeacher

__all__ = [
    "CLUDA",
    "CPS",
    "DACS",
    "MIC",
    "Addition",
    "DAFormer",
    "FixMatch",
    "MeanTeacher",
    "Method",
    "Schedule",
    "Supervised",
]
