"""CDAC on pixels: target cells that look alike are drawn into one class, against a classifier that resists."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.networks.heads import CosineClassifier
from seglab.ops.clustering import balanced_cells, pair_cross_entropy, reverse_gradient, similar_pairs
from seglab.ops.grid import at_cells
from seglab.ops.losses import pixel_mean, sigmoid_rampup, squared_distance
from seglab.ops.pseudo import pixel_threshold, pseudo_label
from seglab.ops.views import StrongView, View
from seglab.types import Batch, Output, require


class CDAC(Method):
    """Cross-domain adaptive clustering (Li et al., CVPR 2021), carried to pixels; semi-supervised adaptation.

    The paper classifies images; there is no official form for pixels, and this one is ours. Labels are those of the
    source and of a few target images (``data.target_labeled_batch``). Of each unlabeled image some cells are drawn,
    class by class. Two cells are alike where their five largest channels are the same; p_i . q_j, of the weak and of a
    strong view, should say so (binary cross-entropy over all pairs). Features minimise it; through a reversed gradient
    the classifier, cosines over a temperature, maximises it. Confident weak labels teach the second strong view, and
    both strong views should agree, with a weight that rises.

    Deviations from the official code, which classifies images:
        Images of a batch are the items -> cells. Crops of their own for each view -> three views of one geometry.
        Two optimiser steps in an iteration -> one on the sum. The clustering term weighs 1 -> 0.1.
        Few cells have the same five channels -> below ``least`` of the pairs, cosines above ``cosine`` count instead.

    Args:
        weight: of the clustering term.
        cells: of an unlabeled image; over all images of a process at most 2048 are compared.
        channels: whose set must be the same.
        least: share of the pairs that must have the same channels, in [0, 1].
        cosine: from which two cells are alike where too few have.
        threshold: confidence from which a label counts, in [0, 1].
        consistency: final weight of the agreement of the strong views.
        ramp: steps over which it rises; 0: the run.
        temperature: of the classifier.
        strong: photometric perturbation.
    """

    def __init__(
        self,
        weight: float = 0.1,
        cells: int = 64,
        channels: int = 5,
        least: float = 0.001,
        cosine: float = 0.9,
        threshold: float = 0.95,
        consistency: float = 30.0,
        ramp: int = 0,
        temperature: float = 0.05,
        strong: View = lazy_instance(StrongView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(min(weight, consistency, ramp) >= 0, "CDAC.weight", weight, "give 0 or more, as for consistency, ramp")
        require(min(cells, channels) >= 1, "CDAC.cells", cells, "give 1 or more, as for channels")
        require(min(least, threshold) >= 0 and max(least, threshold) <= 1, "CDAC.least", least, "give shares in [0, 1]")
        require(temperature > 0, "CDAC.temperature", temperature, "give a positive number")
        self.weight, self.cells, self.channels, self.least, self.cosine = weight, cells, channels, least, cosine
        self.threshold, self.consistency, self.ramp = threshold, consistency, ramp
        self.temperature, self.strong = temperature, strong

    def build(self) -> None:
        super().build()
        channels = self.student.feature_channels
        self.student.replace_head(CosineClassifier(channels, self.num_classes, self.temperature))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid = unlabeled["image"], unlabeled["valid"]
        out_l, out_w, out_a, out_b = self.student.apart(labeled["image"], weak, self.strong(weak), self.strong(weak))

        label, confidence = pseudo_label(out_w.logits)
        trusted = pixel_threshold(confidence, self.threshold)
        self.log_pseudo_quality(label, valid & (trusted > 0))
        unlike = squared_distance(out_a.logits.float().softmax(1), out_b.logits.float().softmax(1)) / self.num_classes
        rising = sigmoid_rampup(self.global_step, self.ramp or self.trainer.max_steps)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "clustering": -self.weight * self.clustering(out_w, out_a, label.masked_fill(~valid, IGNORE)),
            "pseudo": self.pixel_loss(out_b, label, trusted, valid),
            "consistency": self.consistency * rising * pixel_mean(unlike, valid),
        }

    def clustering(self, weak: Output, strong: Output, label: Tensor) -> Tensor:
        """What the features minimise and the classifier, by a reversed gradient, would like to be minus this."""
        grid = weak.features.shape[-2:]
        seen = at_cells(label, grid, self.student.extent(label.shape[-2:]), IGNORE).flatten(1)
        each = min(self.cells, max(1, 2048 // len(seen)))
        index, chosen = balanced_cells(seen, each, self.num_classes)  # B n
        rows = [self.rows(out.features, index) for out in (weak, strong)]  # B*n D
        same, rate = similar_pairs(rows[0].detach(), self.channels, self.least, self.cosine)
        self.log_curve("pairs_alike", rate)
        p, q = (self.student.head(reverse_gradient(x)[..., None, None]).flatten(1).softmax(1) for x in rows)
        return pair_cross_entropy(p, q, same, chosen.flatten())

    def rows(self, features: Tensor, index: Tensor) -> Tensor:
        """The cells B n of features B D h w, as B*n D."""
        every = features.float().flatten(2).transpose(1, 2)
        return torch.take_along_dim(every, index.unsqueeze(2), 1).flatten(0, 1)
