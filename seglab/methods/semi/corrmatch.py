"""CorrMatch: pseudo-labels spread to the pixels and regions that correlate with confident ones."""

from typing import Any, cast

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.networks.correlation import CorrelationHead
from seglab.ops.boxes import AreaBox, BoxSampler
from seglab.ops.correlation import fill_regions
from seglab.ops.losses import kl_divergence, pixel_mean, weighted_cross_entropy
from seglab.ops.memory import RunningThreshold
from seglab.ops.mixing import Pixels, cutmix_partner, ground_truth, mix
from seglab.ops.norm import frozen_statistics
from seglab.ops.perturb import drop_channels, without_dropout
from seglab.ops.pseudo import pixel_threshold, pseudo_label
from seglab.ops.views import StrongView, View
from seglab.types import Batch, require, require_least, require_shares


class CorrMatch(Method):
    """CorrMatch (Sun, Yang, Zhang, Cheng and Hou, CVPR 2024): label propagation by correlation matching.

    A head on the encoder's last map gives each position i a query and a key, and A_ij = softmax_j(query_i . key_j /
    sqrt(K)). Logits z, without gradient, are propagated to z^c_j = sum_i z_i A_ij, which labels and pseudo-labels
    supervise. Random rows of A on the weak view, cut at half of their range, are regions: one that is mostly confident
    and mostly of one class becomes that class. The threshold t follows the confidence of the classes. With p the class
    probabilities and the weights of the code,

        L = 1/2 CE(z_l) + 1/2 CE(z^c_l) + 1/4 [strong view] + 1/4 [KL(p_weak, p_strong)] + 1/4 [dropped features]
            + 1/4 [mean of z^c on both views]

    Deviations:
        Those of ``UniMatch``, of which this is made.
        The threshold leaves out the padding of the mixed images -> of the images that it is made of.
        The last position of the map is never a region's -> it is.
        Kept: the target of KL is the unmixed image's, inside the boxes too.

    Args:
        threshold: at step 0, in [0, 1].
        momentum: share of the old threshold kept per step, in [0, 1].
        weight: of each of the four terms of unlabeled images.
        correlation_weight: of the labeled propagated logits; labeled logits have 1 minus it.
        regions: positions whose regions are looked at in a step; 0: no region propagation.
        dropout: share of channels that the feature perturbation drops, in [0, 1).
        update_bn_on_strong: let strong views and perturbed features enter the running statistics of batch norms.
        strong: photometric perturbation of the student's view.
        boxes: how the CutMix boxes are drawn.
    """

    def __init__(
        self,
        threshold: float = 0.85,
        momentum: float = 0.999,
        weight: float = 0.25,
        correlation_weight: float = 0.5,
        regions: int = 128,
        dropout: float = 0.5,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(StrongView),
        boxes: BoxSampler = lazy_instance(AreaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold, momentum=momentum, correlation_weight=correlation_weight)
        require_least(self, 0, regions=regions)
        require(0 <= dropout < 1, "CorrMatch.dropout", dropout, "give a share in [0, 1)")
        self.weight, self.correlation_weight, self.regions, self.dropout = weight, correlation_weight, regions, dropout
        self.update_bn_on_strong, self.strong, self.boxes = update_bn_on_strong, strong, boxes
        self.threshold = RunningThreshold(threshold, momentum)

    def build(self) -> None:
        super().build()
        self.student.add_head("correlation", CorrelationHead(self.student.coarsest_channels(), self.num_classes))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid, size = unlabeled["image"], unlabeled["valid"], unlabeled["image"].shape[-2:]

        stages = self.student.encode(weak)
        with torch.no_grad(), without_dropout(self.student):
            logits = self.student.decode(stages, size).logits
        label, confidence = pseudo_label(logits)
        self.threshold.update(label, confidence, valid, self.num_classes)
        trusted = pixel_threshold(confidence, self.threshold.value)
        self.log_pseudo_quality(label, trusted > 0)
        head = cast(CorrelationHead, self.student.heads["correlation"])
        spread, correlation = head.propagate(self.student, stages, logits)

        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        view = Pixels(self.strong(weak), label, trusted, valid)
        box = self.boxes(len(weak), size[0], size[1], weak.device)
        mixed = mix(box, cutmix_partner(view, truth), view)
        region = head.random_regions(self.student, stages, correlation, size, self.regions)
        region = region & (mixed.valid & ~box).unsqueeze(1)
        filled, kept = fill_regions(mixed.label, mixed.weight > 0, region, self.threshold.value)

        frozen = not self.update_bn_on_strong
        stages_l, stages_s = self.student.encode_apart(labeled["image"], mixed.image, frozen=(False, frozen))
        dropped, sizes = drop_channels(stages, self.dropout), [labeled["image"].shape[-2:], size, size]
        out_l, out_s, out_f = self.student.decode_apart([stages_l, stages_s, dropped], sizes, (False, frozen, frozen))
        spread_l, _ = head.propagate(self.student, stages_l, out_l.logits)
        with frozen_statistics(self.student, frozen):
            spread_s, _ = head.propagate(self.student, stages_s, out_s.logits)

        soft = mixed.weight * kl_divergence(logits.float().softmax(1), out_s.logits)
        spread_loss = weighted_cross_entropy(spread, label, trusted, valid)
        spread_loss += weighted_cross_entropy(spread_s, filled, kept.float(), mixed.valid)
        return {
            "supervised": (1 - self.correlation_weight) * self.supervised(out_l, labeled["mask"]),
            "supervised_correlation": self.correlation_weight * self.criterion(spread_l, labeled["mask"]),
            "consistency": self.weight * self.pixel_loss(out_s, filled, kept.float(), mixed.valid),
            "soft_consistency": self.weight * pixel_mean(soft, mixed.valid),
            "feature_consistency": self.weight * self.pixel_loss(out_f, label, trusted, valid),
            "correlation": self.weight * 0.5 * spread_loss,
        }
