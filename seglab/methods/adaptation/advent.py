"""AdvEnt: a discriminator sees how uncertain predictions are, and target images must pass for source images."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from seglab.methods.base import Method
from seglab.methods.optim import OwnOptimizers
from seglab.networks.discriminator import Discriminator
from seglab.ops.losses import ClassRatioPrior, self_information
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, require_least, require_positive, require_shares


class AdvEnt(Method):
    """AdvEnt (Vu et al., CVPR 2019): adversarial alignment of the maps of weighted self-information.

    A discriminator learns to tell source maps from target maps; the segmenter learns to pass target maps off as source
    ones. The auxiliary head of a network that has one (``network.aux_weight``, published: 0.1) has a discriminator of
    its own.

    Deviations:
        The code freezes weights and biases of batch normalisation -> ``network.train_norms affine_fixed`` in recipes.
        Four backward passes -> one, with the same gradients: the segmenter's term sees the discriminator's parameters
            detached, the discriminator's terms see the maps detached.
        Padding counts -> it does not.
        The class-ratio prior is in the paper and not in the code -> off, and its weight is for you to choose.

    Args:
        weight: of fooling the discriminator of the main prediction.
        aux_weight: of fooling the discriminator of the auxiliary prediction.
        discriminator_lr: learning rate of the discriminators' Adam, which follows the schedule of the run.
        prior_weight: of the class-ratio prior: target images show of each class at least ``prior_share`` of what the
            source shows. 0 leaves it out.
        prior_share: the relaxation, in [0, 1]; 0.5 in the paper.
    """

    def __init__(
        self,
        weight: float = 1e-3,
        aux_weight: float = 2e-4,
        discriminator_lr: float = 1e-4,
        prior_weight: float = 0.0,
        prior_share: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_least(self, 0, weight=weight, aux_weight=aux_weight, prior_weight=prior_weight)
        require_shares(self, prior_share=prior_share)
        require_positive(self, discriminator_lr=discriminator_lr)
        self.weight, self.aux_weight, self.discriminator_lr = weight, aux_weight, discriminator_lr
        self.prior, self.needs_class_counts = ClassRatioPrior(prior_weight, prior_share), prior_weight > 0

    def build(self) -> None:
        super().build()
        self.discriminator = Discriminator(self.num_classes)
        self.aux_discriminator = Discriminator(self.num_classes) if self.student.aux_weight else None

    def on_fit_start(self) -> None:
        if self.needs_class_counts:
            self.prior.learn(self.class_counts.frequency)

    def own_optimizers(self) -> OwnOptimizers:
        adam = partial(torch.optim.Adam, lr=self.discriminator_lr, betas=(0.9, 0.99))
        return [(part, adam) for part in (self.discriminator, self.aux_discriminator) if part]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.student.apart(source["image"], target["image"])
        self.log_pseudo_quality(hard_label(out_t.logits), target["valid"])

        maps_s = self_information(out_s.logits) * source["valid"].unsqueeze(1)  # padding tells nothing
        maps_t = self_information(out_t.logits) * target["valid"].unsqueeze(1)
        terms = {
            "supervised": self.supervised(out_s, source["mask"]),
            "fooling": self.weight * self.discriminator.fooling_loss(maps_t),
            "discriminator": self.discriminator.own_loss(maps_s, maps_t),
        }
        if self.needs_class_counts:
            terms["class_ratio"] = self.prior(out_t.logits, target["valid"])
        if self.aux_discriminator:
            maps_s = self_information(out_s.side["aux"].logits) * source["valid"].unsqueeze(1)
            maps_t = self_information(out_t.side["aux"].logits) * target["valid"].unsqueeze(1)
            terms["fooling_aux"] = self.aux_weight * self.aux_discriminator.fooling_loss(maps_t)
            terms["discriminator_aux"] = self.aux_discriminator.own_loss(maps_s, maps_t)
        return terms
