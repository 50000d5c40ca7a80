"""SPCL: pixels of both domains are drawn to the class prototypes of the source."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.contrast import prototype_cross_entropy
from seglab.ops.grid import at_cells, rows
from seglab.ops.memory import Prototypes, class_sums
from seglab.ops.pseudo import hard_label, pseudo_label
from seglab.ops.ranks import total
from seglab.ops.views import NoView, View
from seglab.types import Batch, Output, require


class SPCL(Method):
    """SPCL (Xie, Li and Li, arXiv 2111.12358): semantic prototype-based contrastive learning for domain adaptation.

    Source pixels that are classified rightly make one prototype per class. Source pixels, by their labels, and target
    pixels, by pseudo-labels, are classified by their similarity with the prototypes.

    The paper has stages (``seglab chain`` with ``chain/spcl_streets.yaml``): an adversarial warm-up (AdvEnt), its
    pseudo-labels, this method, pseudo-labels again, and self-training on them alone: this method with ``target_weight``
    1 and the other weights 0; the source then leaves running statistics alone. Without offline pseudo-labels, confident
    predictions take their place.

    Deviations:
        A class begins as its mean in the source set -> only with ``init_prototypes``, else in the first batch with it.
        The prototype of a class that a batch does not show shrinks -> it stays, unless ``shrink_absent``.
        Prototypes are means over one process -> over all ranks. Two backward passes -> one, of the sum.

    Args:
        weight: of the contrastive term.
        supervised_weight: of the source's cross-entropy.
        target_weight: of the cross-entropy of target pixels with their pseudo-labels.
        temperature: of the cosine similarities; the official 100 makes classes nearly equal.
        momentum: share of the old prototype kept per step.
        shrink_absent: shrink the prototype of a class that a batch does not show.
        supervised_temperature: divides the logits in the source's cross-entropy; 1.8 in the official code.
        init_prototypes: begin with the mean of each class over all source images, for a student from a warm-up.
        threshold: confidence from which the student's prediction is a pseudo-label, where no offline ones are given.
        view: photometric perturbation of the source images.
    """

    prototypes: Prototypes

    def __init__(
        self,
        weight: float = 1.0,
        supervised_weight: float = 1.0,
        target_weight: float = 0.0,
        temperature: float = 100.0,
        momentum: float = 0.1,
        shrink_absent: bool = False,
        init_prototypes: bool = False,
        supervised_temperature: float = 1.0,
        threshold: float = 0.9,
        view: View = lazy_instance(NoView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(temperature > 0, "SPCL.temperature", temperature, "give a positive number")
        require(supervised_temperature > 0, "SPCL.supervised_temperature", supervised_temperature, "give more than 0")
        require(0 <= threshold <= 1, "SPCL.threshold", threshold, "give a confidence in [0, 1]")
        self.weight, self.supervised_weight, self.target_weight = weight, supervised_weight, target_weight
        self.temperature, self.momentum, self.shrink_absent = temperature, momentum, shrink_absent
        self.init_prototypes, self.view = init_prototypes, view
        self.supervised_temperature, self.threshold = supervised_temperature, threshold

    def build(self) -> None:
        super().build()
        self.prototypes = Prototypes(self.num_classes, self.student.feature_channels, self.momentum, self.shrink_absent)

    def before_first_step(self) -> None:
        if not self.init_prototypes:
            return
        sums = torch.zeros(self.num_classes, self.student.feature_channels + 1, device=self.device)
        for sample in self.one_pass("labeled"):
            label = self.right_cells(out := self.student(sample["image"]), sample["mask"])
            sums += class_sums(rows(F.normalize(out.features.float(), dim=1)), label.flatten(), self.num_classes)
        self.prototypes.start(total(sums))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        frozen = not (self.weight or self.supervised_weight), False
        out_s, out_t = self.student.apart(self.view(source["image"]), target["image"], frozen=frozen)
        own, confidence = pseudo_label(out_t.logits)
        own = torch.where(target["valid"] & (confidence >= self.threshold), own, IGNORE)
        label_t = target.get("pseudo", own)
        self.log_pseudo_quality(label_t, label_t != IGNORE)

        label_s = self.right_cells(out_s, source["mask"])
        features_s, features_t = (F.normalize(out.features.float(), dim=1) for out in (out_s, out_t))
        self.prototypes.update(rows(features_s.detach()), label_s.flatten())
        contrast = prototype_cross_entropy(features_s, label_s, self.prototypes.mean, self.temperature)
        cells_t = self.at_cells(label_t, out_t.features)
        contrast += prototype_cross_entropy(features_t, cells_t, self.prototypes.mean, self.temperature)

        calm = out_s._replace(logits=out_s.logits / self.supervised_temperature)
        known = label_t != IGNORE
        return {
            "supervised": self.supervised_weight * self.supervised(calm, source["mask"]),
            "contrast": self.weight * contrast,
            "target": self.target_weight * self.pixel_loss(out_t, label_t, known.float(), known),
        }

    def right_cells(self, out: Output, mask: Tensor) -> Tensor:
        """B h w labels of source cells that the student classifies rightly, 255 on all others."""
        return self.at_cells(torch.where(hard_label(out.logits) == mask, mask, IGNORE), out.features)

    def at_cells(self, label: Tensor, features: Tensor) -> Tensor:
        """B h w labels at the cells of features B D h w."""
        return at_cells(label, features.shape[-2:], self.student.extent(label.shape[-2:]), IGNORE)
