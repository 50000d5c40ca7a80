"""Mean Teacher: the student agrees with a running average of itself."""

from typing import Any

import torch
from jsonargparse import lazy_instance
from torch import Tensor

from seglab.methods.base import Method
from seglab.ops.cutmix import BoxLaw, FixedAreaBox, certain, cutmix, partners
from seglab.ops.ema import Teacher
from seglab.ops.losses import pixel_mean, squared_distance
from seglab.ops.ramps import sigmoid_rampup
from seglab.ops.strong import StrongView
from seglab.types import Batch


class MeanTeacher(Method):
    """Mean Teacher (Tarvainen and Valpola, NeurIPS 2017) for segmentation, as TorchSemiSeg sets it up.

    The student's class probabilities are drawn to the teacher's by their mean squared difference over pixels and
    classes, on labeled and unlabeled images.

    Deviations: TorchSemiSeg updates the teacher before the optimiser step, here it is after, as in the paper; its
    teacher normalises with batch statistics, which ``batch_statistics`` selects; padding does not count.

    Args:
        weight: of the consistency term; large because the mean runs over classes too.
        ramp_up: steps over which the weight rises as exp(-5 (1 - t)^2), the paper's law; 0: no ramp.
        decay: share of the old teacher kept per step.
        warmup: let the decay rise from 0 as 1 - 1 / (step + 1).
        batch_statistics: the teacher's BatchNorm normalises with its own batch, not with running statistics.
        on_labeled: consistency on labeled images too.
        strong: photometric perturbation of the student's unlabeled view; off by default.
        boxes: law of CutMix boxes, which mix unlabeled images and the teacher's probabilities alike; off by default,
            its ``probability`` switches it on.
    """

    def __init__(
        self,
        weight: float = 100.0,
        ramp_up: int = 0,
        decay: float = 0.99,
        warmup: bool = False,
        batch_statistics: bool = False,
        on_labeled: bool = True,
        strong: StrongView = StrongView(jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0),
        boxes: BoxLaw = lazy_instance(FixedAreaBox, probability=0.0),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.weight, self.ramp_up = weight, ramp_up
        self.decay, self.warmup, self.batch_statistics = decay, warmup, batch_statistics
        self.on_labeled, self.strong, self.boxes = on_labeled, strong, boxes

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, self.warmup, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]

        targets = self.teacher.split(labeled["image"], unlabeled["image"])
        target_l, target_u = (out.logits.float().softmax(1) for out in targets)
        self.observe(target_u.argmax(1), unlabeled["valid"])

        view = certain(self.strong(unlabeled["image"]), target_u, unlabeled["valid"])
        mixed = cutmix(self.boxes, partners(view, certain(labeled["image"], target_l, labeled["valid"])), view)

        out_l, out_u = self.student(labeled["image"]), self.student(mixed.image)
        distance_l = squared_distance(out_l.logits.softmax(1), target_l)
        distance_u = squared_distance(out_u.logits.softmax(1), mixed.label)
        counted = torch.cat([(labeled["valid"] & self.on_labeled).flatten(), mixed.valid.flatten()])
        consistency = pixel_mean(torch.cat([distance_l.flatten(), distance_u.flatten()]), counted) / self.num_classes
        weight = self.weight * sigmoid_rampup(self.global_step, self.ramp_up)
        return {
            "supervised": self.criterion(out_l.logits, labeled["mask"]),
            "consistency": weight * consistency,
        }
