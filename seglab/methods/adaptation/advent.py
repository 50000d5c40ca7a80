"""AdvEnt: a discriminator sees how uncertain predictions are, and target images must pass for source images."""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from seglab.methods.adaptation.minent import MinEnt
from seglab.methods.optim import OwnOptimizers
from seglab.networks.discriminator import Discriminator
from seglab.ops.losses import self_information
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, require


class AdvEnt(MinEnt):
    """AdvEnt (Vu et al., CVPR 2019): adversarial alignment of the maps of weighted self-information.

    A discriminator learns to tell source maps from target maps; the segmenter learns to pass target maps off as source
    ones. The auxiliary head of a network that has one (DeepLabV2 with ``aux``) has a discriminator of its own.

    Deviations: those of ``MinEnt``; one backward pass where the code has four, with the same gradients: the segmenter's
    term sees the discriminator's parameters detached, the discriminator's terms see the maps detached.

    Args:
        weight: of fooling the discriminator of the main prediction.
        aux_weight: of fooling the discriminator of the auxiliary prediction.
        aux_supervised_weight: of the supervised loss of the auxiliary prediction.
        discriminator_lr: learning rate of the discriminators' Adam, which follows the schedule of the run.
    """

    def __init__(
        self,
        weight: float = 1e-3,
        aux_weight: float = 2e-4,
        aux_supervised_weight: float = 0.1,
        discriminator_lr: float = 1e-4,
        **common: Any,
    ) -> None:
        super().__init__(weight, aux_weight, aux_supervised_weight, **common)
        require(discriminator_lr > 0, "AdvEnt.discriminator_lr", discriminator_lr, "give a positive learning rate")
        self.discriminator_lr = discriminator_lr

    def build(self) -> None:
        super().build()
        heads = ["main", *self.student.aux_heads]
        self.discriminators = nn.ModuleDict({head: Discriminator(self.num_classes) for head in heads})

    def own_optimizers(self) -> OwnOptimizers:
        return [(self.discriminators, partial(torch.optim.Adam, lr=self.discriminator_lr, betas=(0.9, 0.99)))]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.student(source["image"]), self.student(target["image"])
        self.log_pseudo_quality(hard_label(out_t.logits), target["valid"])

        terms = self.supervised(out_s, source["mask"])
        for head, module in self.discriminators.items():
            discriminator = cast(Discriminator, module)
            maps_s, maps_t = (
                self_information(out.aux.get(head, out.logits)) * sample["valid"].unsqueeze(1)  # padding tells nothing
                for out, sample in ((out_s, source), (out_t, target))
            )
            weight = self.weight if head == "main" else self.aux_weight
            terms[f"fooling_{head}"] = weight * discriminator.fooling_loss(maps_t)
            terms[f"discriminator_{head}"] = discriminator.own_loss(maps_s, maps_t)
        return terms
