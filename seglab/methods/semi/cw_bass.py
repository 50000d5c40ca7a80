"""CW-BASS: pseudo-labels count as much as the teacher is sure of them, and more at the boundaries of classes."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.losses import linear_rampup
from seglab.ops.pseudo import class_boundaries, dynamic_threshold, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import NoView, View
from seglab.types import Batch, require, require_least, require_shares


class CWBASS(Method):
    """CW-BASS (Tarubinga, Kalafatovich and Lee, IJCNN 2025): confidence-weighted boundary-aware learning.

    An EMA teacher labels unlabeled images with classes y and confidences q. A pixel is trusted where q > t, and t
    follows the mean confidence c of the batch; boundary pixels are those at which the Sobel gradient of a class's mask
    is not zero:

        t = clamp(base / (1 + exp(-slope (c - 1/2))), 0.3, 0.8)
        L = CE(labeled) + ramp [mean over trusted of q^gamma CE(y) + 1/2 mean over trusted boundary pixels of CE(y)]

    As in the official code, which was rewritten after publication and could not be compared with the paper's equations:
    the student sees what the teacher sees, the border of the image is a boundary, and with the default base and slope t
    is between 0.300 and 0.337, so that the weights select and the threshold hardly does.

    Deviations:
        Padding counts -> it does not.
        Confidence decay, a factor of 0.9 on q before the power, off in the code -> ``confidence_decay``, 1 by default.
            The paper says that it progresses through training; how is not in the code.
        The ST++-like stages that the code has and does not call (reliable images, training anew) are not here.

    Args:
        base: of the threshold.
        slope: how fast the threshold rises with the mean confidence.
        limits: lowest and highest threshold, in [0, 1].
        gamma: exponent of the confidences that weigh pixels.
        confidence_decay: factor of those confidences.
        boundary_weight: of the boundary term.
        weight: of both terms of unlabeled images.
        ramp_up: steps over which that weight rises linearly; five epochs in the code. 0: no ramp.
        decay: share of the old teacher kept per step.
        update_bn_on_strong: let the student's unlabeled views enter the running statistics of batch normalisation; set
            it to False along with a ``strong`` that does something.
        strong: photometric perturbation of the student's unlabeled view; off by default.
    """

    def __init__(
        self,
        base: float = 0.6,
        slope: float = 0.5,
        limits: tuple[float, float] = (0.3, 0.8),
        gamma: float = 1.0,
        confidence_decay: float = 1.0,
        boundary_weight: float = 0.5,
        weight: float = 1.0,
        ramp_up: int = 0,
        decay: float = 0.999,
        update_bn_on_strong: bool = True,
        strong: View = lazy_instance(NoView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(0 <= limits[0] <= limits[1] <= 1, "CWBASS.limits", limits, "give 0 <= lowest <= highest <= 1")
        require_shares(self, confidence_decay=confidence_decay)
        require_least(self, 0, gamma=gamma, boundary_weight=boundary_weight, weight=weight)
        self.base, self.slope, self.limits = base, slope, limits
        self.gamma, self.confidence_decay = gamma, confidence_decay
        self.boundary_weight, self.weight, self.ramp_up, self.decay = boundary_weight, weight, ramp_up, decay
        self.update_bn_on_strong, self.strong = update_bn_on_strong, strong

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, warmup=False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid = unlabeled["image"], unlabeled["valid"]

        answer = unlabeled["answer"] = self.teacher(weak)
        label, confidence = pseudo_label(answer.logits)
        trusted = confidence > dynamic_threshold(confidence, valid, self.base, self.slope, self.limits)
        self.log_pseudo_quality(label, trusted)
        boundary = class_boundaries(label, self.num_classes)

        frozen = False, not self.update_bn_on_strong
        out_l, out_s = self.student.apart(labeled["image"], self.strong(weak), frozen=frozen)
        counted = trusted & valid
        sureness = (self.confidence_decay * confidence) ** self.gamma
        weight = self.weight * linear_rampup(self.global_step, self.ramp_up)
        at_boundary = self.pixel_loss(out_s, label, torch.ones_like(confidence), counted & boundary)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "consistency": weight * self.pixel_loss(out_s, label, sureness, counted),
            "boundary": weight * self.boundary_weight * at_boundary,
        }
