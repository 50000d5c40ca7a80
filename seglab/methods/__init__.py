"""Methods: one short file each, on a base that holds everything they share."""

from seglab.methods.additions.mic import MIC
from seglab.methods.base import Addition, Method
from seglab.methods.optim import Schedule
from seglab.methods.supervised import Supervised
from seglab.methods.teacher_student.cutmix_seg import CutMixSeg
from seglab.methods.teacher_student.fixmatch import FixMatch
from seglab.methods.teacher_student.mean_teacher import MeanTeacher
from seglab.methods.teacher_student.unimatch import UniMatch
from seglab.methods.teacher_student.unimatch_v2 import UniMatchV2

__all__ = [
    "MIC",
    "Addition",
    "CutMixSeg",
    "FixMatch",
    "MeanTeacher",
    "Method",
    "Schedule",
    "Supervised",
    "UniMatch",
    "UniMatchV2",
]
