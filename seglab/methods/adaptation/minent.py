"""MinEnt: predictions on target images are made certain."""

from typing import Any

from torch import Tensor

from seglab.methods.base import Method
from seglab.ops.losses import ClassRatioPrior, entropy, pixel_mean
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, require_least, require_shares


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
        require_least(self, 0, weight=weight, aux_weight=aux_weight, prior_weight=prior_weight)
        require_shares(self, prior_share=prior_share)
        self.weight, self.aux_weight = weight, aux_weight
        self.prior, self.needs_class_counts = ClassRatioPrior(prior_weight, prior_share), prior_weight > 0

    def on_fit_start(self) -> None:
        if self.needs_class_counts:
            self.prior.learn(self.class_counts.frequency)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.student.apart(source["image"], target["image"])
        self.log_pseudo_quality(hard_label(out_t.logits), target["valid"])

        terms = {
            "supervised": self.supervised(out_s, source["mask"]),
            "entropy": self.weight * pixel_mean(entropy(out_t.logits), target["valid"]),
        }
        if self.needs_class_counts:
            terms["class_ratio"] = self.prior(out_t.logits, target["valid"])
        if "aux" in out_t.side:
            terms["entropy_aux"] = self.aux_weight * pixel_mean(entropy(out_t.side["aux"].logits), target["valid"])
        return terms
