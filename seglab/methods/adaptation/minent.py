"""MinEnt: predictions on target images are made certain."""

from typing import Any

from torch import Tensor

from seglab.methods.base import Method
from seglab.ops.losses import entropy, pixel_mean
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, require


class MinEnt(Method):
    """MinEnt (Vu et al., CVPR 2019): the entropy of unlabeled images is minimised beside the loss of labeled ones.

    The auxiliary head of a network that has one (``network.aux_weight``, published: 0.1) is treated likewise.

    Deviations:
        The code freezes weights and biases of batch normalisation -> ``network.train_norms affine_fixed`` in recipes.
        The paper's class-ratio prior, which its code lacks -> not here.
        Padding counts -> it does not.

    Args:
        weight: of the entropy of the main prediction.
        aux_weight: of the entropy of the auxiliary prediction.
    """

    def __init__(self, weight: float = 1e-3, aux_weight: float = 2e-4, **common: Any) -> None:
        super().__init__(**common)
        require(weight >= 0, "MinEnt.weight", weight, "give a weight of 0 or more")
        require(aux_weight >= 0, "MinEnt.aux_weight", aux_weight, "give a weight of 0 or more")
        self.weight, self.aux_weight = weight, aux_weight

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.student(source["image"]), self.student(target["image"])
        self.log_pseudo_quality(hard_label(out_t.logits), target["valid"])

        terms = {
            "supervised": self.supervised(out_s, source["mask"]),
            "entropy": self.weight * pixel_mean(entropy(out_t.logits), target["valid"]),
        }
        if "aux" in out_t.side:
            terms["entropy_aux"] = self.aux_weight * pixel_mean(entropy(out_t.side["aux"].logits), target["valid"])
        return terms
