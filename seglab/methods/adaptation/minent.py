"""MinEnt: predictions on target images are made certain."""

from typing import Any

import torch
from torch import Tensor

from seglab.methods.base import Method
from seglab.ops.losses import entropy, missing_classes, pixel_mean
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, require


class MinEnt(Method):
    """MinEnt (Vu et al., CVPR 2019): the entropy of unlabeled images is minimised beside the loss of labeled ones.

    The auxiliary head of a network that has one (``network.aux_weight``, published: 0.1) is treated likewise.

    Deviations:
        The code freezes weights and biases of batch normalisation -> ``network.train_norms affine_fixed`` in recipes.
        Padding counts -> it does not.
        The class-ratio prior is in the paper and not in the code -> off, and its weight is for you to choose.

    Args:
        weight: of the entropy of the main prediction.
        aux_weight: of the entropy of the auxiliary prediction.
        prior_weight: of the class-ratio prior: target images show of each class at least ``prior_share`` of what the
            source shows. 0 leaves it out.
        prior_share: the relaxation, in [0, 1]; 0.5 in the paper.
    """

    def __init__(
        self,
        weight: float = 1e-3,
        aux_weight: float = 2e-4,
        prior_weight: float = 0.0,
        prior_share: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(weight >= 0, "MinEnt.weight", weight, "give a weight of 0 or more")
        require(aux_weight >= 0, "MinEnt.aux_weight", aux_weight, "give a weight of 0 or more")
        require(prior_weight >= 0, "MinEnt.prior_weight", prior_weight, "give a weight of 0 or more")
        require(0 <= prior_share <= 1, "MinEnt.prior_share", prior_share, "give a share in [0, 1]")
        self.weight, self.aux_weight = weight, aux_weight
        self.prior_weight, self.prior_share = prior_weight, prior_share
        self.needs_class_counts = prior_weight > 0

    def on_fit_start(self) -> None:
        if self.prior_weight:
            self.class_share = torch.tensor(self.class_counts.frequency, dtype=torch.float32, device=self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.student.apart(source["image"], target["image"])
        self.log_pseudo_quality(hard_label(out_t.logits), target["valid"])

        terms = {
            "supervised": self.supervised(out_s, source["mask"]),
            "entropy": self.weight * pixel_mean(entropy(out_t.logits), target["valid"]),
        }
        if self.prior_weight:
            missing = missing_classes(out_t.logits, self.class_share, self.prior_share, target["valid"])
            terms["class_ratio"] = self.prior_weight * missing
        if "aux" in out_t.side:
            terms["entropy_aux"] = self.aux_weight * pixel_mean(entropy(out_t.side["aux"].logits), target["valid"])
        return terms
