"""BARM: every step of classes adds a head of its own, and a residual that corrects the background of the first one."""

from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.methods.optim import OwnOptimizers
from seglab.networks.incremental import IncrementalHead
from seglab.networks.of_run import load_network
from seglab.ops.criteria import BinaryCrossEntropy
from seglab.ops.grid import at_cells
from seglab.ops.losses import pixel_mean, sigmoid_distillation, supervised_loss
from seglab.ops.norm import batch_norms
from seglab.ops.teacher import Teacher
from seglab.types import Batch, SeglabError, require


class BARM(Method):
    """Background adaptation with residual modelling (Zhang and Gao, ECCV 2024): class-incremental, without old images.

    ``data.class_steps`` says which classes arrive when; each step is a run that begins as the one before it
    (``init_from``), and a chain of all of them. Step t adds an ear, a classifier and a residual r_t of the background,
    b = b_0 + sum of min(r_s, 0) + r_t (in evaluation min(r_t, 0), too). Its loss is a binary cross-entropy in which old
    classes are constants; what the network of before saw as an old class, surely, is no background. Terms on r_t: it is
    low on new classes and not on background. Old ears keep their features on background, old classifiers their answers.

    Deviations from the official code:
        A cell of the features takes the label of its first pixel -> of the pixel at its centre.
        A batch without background makes the triplet NaN -> it is 0.
        A new ear has the weights of the first one without its running statistics -> with them.
        Learning rates end at 1e-6 -> at 0. Probabilities are interpolated in evaluation -> logits are.
        Ears follow the ASPP -> in ``Segmenter``, one more 3x3 convolution that its DeepLabV3 has there.

    Args:
        threshold: of the sigmoid with which the network of before makes background an old class, in [0, 1].
        triplet: weight of max((1 - sigmoid r_t)² - (sigmoid r_t)², 0) on background.
        feature: of the squared distance of old features on background.
        group: of the binary cross-entropy between old classifiers, then and now.
        residual: of the binary cross-entropy of r_t and 0 on new classes.
        freeze_norms: batch normalisation of the whole network stays as it is from step 1 on.
    """

    reads = {"labeled": ("mask",)}

    def __init__(
        self,
        threshold: float = 0.7,
        triplet: float = 5.0,
        feature: float = 4.0,
        group: float = 1.0,
        residual: float = 1.0,
        freeze_norms: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(0 <= threshold <= 1, "BARM.threshold", threshold, "give a number in [0, 1]")
        require(min(triplet, feature, group, residual) >= 0, "a weight of BARM", "negative", "give 0 or more")
        self.threshold, self.triplet, self.feature = threshold, triplet, feature
        self.group, self.residual, self.freeze_norms, self.bce = group, residual, freeze_norms, BinaryCrossEntropy()
        self.steps = self.space.steps or (self.num_classes,)

    def build(self) -> None:
        self.student = self.network(self.space if len(self.steps) == 1 else self.space.after_step(0))
        self.student.replace_head(IncrementalHead(self.student.feature_channels, self.steps[0]))
        for step in range(1, len(self.steps) - 1):
            self.student.grow(self.space.after_step(step))
        if self.init_from:
            load_network(self.student, self.init_from)
        if len(self.steps) > 1:
            self.before = Teacher(self.student, decay=1.0, warmup=False)  # never updated
            self.student.grow(self.space)
            if self.freeze_norms:
                nn.ModuleList(batch_norms(self.student)).requires_grad_(False)
            self.train(self.training)

    def before_first_step(self) -> None:
        if len(self.steps) > 1 and not self.init_from:
            raise SeglabError(f"step {len(self.steps) - 1} goes on from the one before: give --init_from its run")

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for norm in batch_norms(self.student) if self.freeze_norms and hasattr(self, "before") else ():
            norm.eval()
        return self

    def own_optimizers(self) -> OwnOptimizers:
        head = cast(IncrementalHead, self.student.head)  # old parts learn as slowly as the encoder
        return [(nn.ModuleList([*head.ears[:-1], *head.outputs[:-1]]), self.optimizer)] if len(head.ears) > 1 else ()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        image, mask = batch["labeled"]["image"], batch["labeled"]["mask"]
        out = self.student(image)
        if len(self.steps) == 1:
            return {"supervised": supervised_loss(self.bce, out, mask)}
        new, before = self.steps[-1], self.before(image)
        *kept, last = cast(IncrementalHead, self.student.head).steps(out.features)
        with torch.no_grad():
            earlier = cast(IncrementalHead, self.before.network.head).steps(before.features)

        score, old = before.logits.float().sigmoid().max(1)
        label = torch.where((mask == 0) & (old > 0) & (score >= self.threshold), old, mask)
        logits = torch.cat([out.logits[:, :1], out.logits[:, 1:-new].detach(), out.logits[:, -new:]], 1)
        cells = at_cells(mask, last.logits.shape[-2:], self.student.extent(mask.shape[-2:]), IGNORE)  # B h w
        shown, background, residual = (cells > 0) & (cells != IGNORE), cells == 0, last.logits[:, 0].float()

        triplet = ((1 - residual.sigmoid()).square() - residual.sigmoid().square()).clamp(min=0)
        weight, pairs = background.unsqueeze(1), list(zip(kept, earlier, strict=True))
        feature = [F.mse_loss(x.features.float() * weight, y.features.float() * weight) for x, y in pairs]
        group = [sigmoid_distillation(x.logits, y.logits) for x, y in pairs]
        return {
            "supervised": supervised_loss(self.bce, out._replace(logits=logits), label),
            "triplet": self.triplet * pixel_mean(triplet, background),
            "feature": self.feature * torch.stack(feature).sum(),
            "group": self.group * torch.stack(group).sum(),
            "residual": self.residual * pixel_mean(F.softplus(residual), shown),
        }
