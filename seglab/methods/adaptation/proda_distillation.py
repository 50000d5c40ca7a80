"""ProDA's later stages: a student that begins elsewhere learns what the stage before knows."""

from typing import Any

import torch.nn.functional as F
from jsonargparse import lazy_instance
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.networks import NetworkFactory
from seglab.ops.losses import pixel_mean
from seglab.ops.pseudo import pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import StrongView, View
from seglab.types import Batch, require


class ProDADistillation(Method):
    """Stages 2 and 3 of ProDA (Zhang et al., CVPR 2021, section 3.4): distillation to a student of another beginning.

    On strong views of target images the student learns the labels of the stage before, where that was confident, and
    its class probabilities; on source images their labels. The paper's student begins with an encoder of
    self-supervised learning: ``network.weights`` with such a file.

    Deviations from the official code:
        The divergence is fed probabilities where logarithms belong -> it is the Kullback-Leibler divergence.
        Losses at a quarter of the resolution -> at the full one. The strong view turns, too -> colours alone.
        Labels are averages over the flipped image -> as ``seglab pseudo-label`` makes them: by the evaluation.

    Args:
        earlier: the network of the stage before, ``NetworkOfRun``; by default a copy of the student as it begins.
        distillation: weight of the divergence, mean over pixels and classes.
        threshold: confidence of the earlier network from which its label counts, where no offline ones are given.
        strong: photometric perturbation of the target images.
    """

    def __init__(
        self,
        earlier: NetworkFactory | None = None,
        distillation: float = 1.0,
        threshold: float = 0.95,
        strong: View = lazy_instance(StrongView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(distillation >= 0, "ProDADistillation.distillation", distillation, "give a weight of 0 or more")
        require(0 <= threshold <= 1, "ProDADistillation.threshold", threshold, "give a confidence in [0, 1]")
        self.earlier, self.distillation, self.threshold, self.strong = earlier, distillation, threshold, strong

    def build(self) -> None:
        super().build()
        begin = self.earlier(self.space) if self.earlier else self.student
        self.before = Teacher(begin, decay=1.0, warmup=False)  # never updated

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        strong, valid = self.strong(target["image"]), target["valid"]

        own, confidence = pseudo_label(self.before(target["image"]).logits)
        own = own.masked_fill(~valid | (confidence < self.threshold), IGNORE)
        label = target.get("pseudo", own)
        known = label != IGNORE
        self.log_pseudo_quality(label, known)

        out_s, out_t = self.student(source["image"]), self.student(strong)
        theirs = self.before(strong).logits.float().softmax(1)
        apart = F.kl_div(out_t.logits.float().log_softmax(1), theirs, reduction="none").mean(1)  # B H W
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "target": self.pixel_loss(out_t, label, known.float(), known),
            "distillation": self.distillation * pixel_mean(apart, valid),
        }
