"""Mean Teacher: the student agrees with a running average of itself."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.losses import pixel_mean, sigmoid_rampup, squared_distance
from seglab.ops.pseudo import hard_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import NoView, View
from seglab.types import Batch, require_least


class MeanTeacher(Method):
    """Mean Teacher (Tarvainen and Valpola, NeurIPS 2017) for segmentation, as TorchSemiSeg sets it up.

    The student's class probabilities are drawn to the teacher's by their mean squared difference over pixels and
    classes, on labeled and unlabeled images.

    Deviations:
        TorchSemiSeg updates the teacher before the optimiser's step -> after it, as in the paper.
        TorchSemiSeg's teacher normalises with batch statistics -> with running ones, unless ``batch_statistics``.
        Padding counts -> it does not.

    Args:
        weight: of the consistency term; large because the mean runs over classes too.
        ramp_up: steps over which the weight rises as exp(-5 (1 - t)^2), as in the paper; 0: no ramp.
        decay: share of the old teacher kept per step.
        warmup: let the decay rise from 0 as 1 - 1 / (step + 1).
        batch_statistics: the teacher's BatchNorm normalises with its own batch, not with running statistics.
        average_buffers: the teacher averages the student's running statistics too, where it would copy them.
        on_labeled: consistency on labeled images too.
        update_bn_on_strong: let the student's unlabeled views enter the running statistics of batch normalisation; set
            it to False along with a ``strong`` that does something.
        strong: photometric perturbation of the student's unlabeled view; off by default.
    """

    def __init__(
        self,
        weight: float = 100.0,
        ramp_up: int = 0,
        decay: float = 0.99,
        warmup: bool = False,
        batch_statistics: bool = False,
        average_buffers: bool = False,
        on_labeled: bool = True,
        update_bn_on_strong: bool = True,
        strong: View = lazy_instance(NoView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_least(self, 0, weight=weight)
        self.weight, self.ramp_up = weight, ramp_up
        self.decay, self.warmup = decay, warmup
        self.batch_statistics, self.average_buffers = batch_statistics, average_buffers
        self.on_labeled = on_labeled
        self.update_bn_on_strong, self.strong = update_bn_on_strong, strong

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, self.warmup, self.average_buffers, self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]

        answer_l, answer_u = self.teacher.apart(labeled["image"], unlabeled["image"])
        unlabeled["answer"] = answer_u
        target_l, target_u = (answer.logits.float().softmax(1) for answer in (answer_l, answer_u))
        self.log_pseudo_quality(hard_label(target_u), unlabeled["valid"])

        frozen = False, not self.update_bn_on_strong
        out_l, out_u = self.student.apart(labeled["image"], self.strong(unlabeled["image"]), frozen=frozen)

        distance_l = squared_distance(out_l.logits.float().softmax(1), target_l)
        distance_u = squared_distance(out_u.logits.float().softmax(1), target_u)
        counted = torch.cat([(labeled["valid"] & self.on_labeled).flatten(), unlabeled["valid"].flatten()])
        consistency = pixel_mean(torch.cat([distance_l.flatten(), distance_u.flatten()]), counted) / self.num_classes
        weight = self.weight * sigmoid_rampup(self.global_step, self.ramp_up)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "consistency": weight * consistency,
        }
