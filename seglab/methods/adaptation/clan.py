"""CLAN: a discriminator pushes hardest where two classifiers disagree, for there a class is not aligned yet."""

from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.methods.base import Method
from seglab.methods.optim import OwnOptimizers
from seglab.networks.discriminator import Discriminator
from seglab.networks.heads import TwoClassifiers
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, Output, require


class CLAN(Method):
    """CLAN (Luo et al., CVPR 2019): category-level adversarial adaptation by co-training of two classifiers.

    Two classifiers on the same features are kept apart by their weights. Where their predictions of a target pixel
    differ, w = 1 - cos(p1, p2) (equation 4), its class is not aligned, and both sides of the adversarial game weigh the
    pixel by ``local_offset`` + ``local_weight`` w (equation 5). The sum of their logits is what the student answers.

    Deviations from the official code:
        The discriminator's answer is upsampled with aligned corners -> without. Padding counts -> it does not.
        Four backward passes -> one, with the same gradients: as in ``AdvEnt``.
        Weights and biases of batch normalisation are frozen -> ``network.train_norms affine_fixed`` in recipes.
        Dropout before the classifier, which its network has not -> the two classifiers alone see features without it.

    A student from another method (``init_from``) keeps its classifier as the first; no other method begins with the
    student of this one.

    Args:
        weight: of fooling the discriminator. Like ``discrepancy_weight`` it falls to 0 over the run.
        local_weight: of the disagreement; 40 for GTA5, 10 for SYNTHIA.
        local_offset: weight where there is none.
        discrepancy_weight: of 1 + the cosine of the classifiers' weights.
        preheat: steps until disagreement counts; before, every pixel weighs 1.
        discriminator_lr: learning rate of the discriminator's Adam, which follows the schedule of the run.
    """

    def __init__(
        self,
        weight: float = 1e-3,
        local_weight: float = 40.0,
        local_offset: float = 0.4,
        discrepancy_weight: float = 0.02,
        preheat: int = 5000,
        discriminator_lr: float = 1e-4,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(weight >= 0, "CLAN.weight", weight, "give a weight of 0 or more")
        require(min(local_weight, local_offset) >= 0, "CLAN.local_weight", local_weight, "give weights of 0 or more")
        require(discrepancy_weight >= 0, "CLAN.discrepancy_weight", discrepancy_weight, "give a weight of 0 or more")
        require(discriminator_lr > 0, "CLAN.discriminator_lr", discriminator_lr, "give a positive learning rate")
        self.weight, self.discrepancy_weight, self.preheat = weight, discrepancy_weight, preheat
        self.local_weight, self.local_offset = local_weight, local_offset
        self.discriminator_lr = discriminator_lr

    def build(self) -> None:
        super().build()
        self.student.replace_head(TwoClassifiers(self.student.head))
        self.discriminator = Discriminator(self.num_classes)

    def own_optimizers(self) -> OwnOptimizers:
        return [(self.discriminator, partial(torch.optim.Adam, lr=self.discriminator_lr, betas=(0.9, 0.99)))]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.student.apart(source["image"], target["image"])
        self.log_pseudo_quality(hard_label(out_t.logits), target["valid"])

        first_s, second_s = self.classify(out_s)
        first_t, second_t = self.classify(out_t)
        weight = target["valid"].float()  # B H W
        if self.global_step > self.preheat:
            weight = weight * (self.local_offset + self.local_weight * disagreement(first_t, second_t))

        maps_s = (first_s + second_s).float().softmax(1) * source["valid"].unsqueeze(1)
        maps_t = (first_t + second_t).float().softmax(1) * target["valid"].unsqueeze(1)
        fading = 1 - self.progress
        return {
            "supervised": self.supervised(out_s._replace(logits=first_s), source["mask"]),
            "second": self.criterion(second_s, source["mask"]),
            "fooling": fading * self.weight * self.discriminator.fooling_loss(maps_t, weight),
            "discrepancy": fading * self.discrepancy_weight * similarity(cast(TwoClassifiers, self.student.head)),
            "discriminator": 2 * self.discriminator.own_loss(maps_s, maps_t, weight),  # their sum, not their mean
        }

    def classify(self, out: Output) -> list[Tensor]:
        """Logits B K H W of each of the two classifiers."""
        head, size = cast(TwoClassifiers, self.student.head), out.logits.shape[-2:]
        return [self.student.restore(part(out.features), size) for part in (head.first, head.second)]


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """1 - cosine of the class probabilities of two predictions: B H W from logits B K H W."""
    return 1 - F.cosine_similarity(first.float().softmax(1), second.float().softmax(1), dim=1)


def similarity(pair: TwoClassifiers) -> Tensor:
    """1 + cosine of all weights and biases of two classifiers, in [0, 2]."""
    first, second = (
        torch.cat([parameter.flatten() for parameter in part.parameters()]) for part in (pair.first, pair.second)
    )
    return 1 + F.cosine_similarity(first, second, dim=0)
