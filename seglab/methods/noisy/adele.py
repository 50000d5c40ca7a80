"""ADELE: the labels of a class are corrected from the time on at which the network begins to memorise them."""

from typing import Any

import torch
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.early_learning import agreement, at_scales, corrected, fit_learning_curve, memorises_from, overlaps
from seglab.ops.pseudo import hard_label
from seglab.ops.ranks import total
from seglab.ops.teacher import Snapshot
from seglab.types import Batch, require


class ADELE(Method):
    """Adaptive early-learning correction (Liu et al., CVPR 2022): all images have masks, and some masks are wrong.

    A network first learns what masks have in common, and later by heart what is wrong with each, one class earlier than
    another. The IoU of its predictions with the given labels, class by class, follows a (1 - exp(-t^b / c)); where
    the slope of that curve has fallen by ``drop`` since epoch 1, the class is corrected: pixels of which the network
    of the latest epoch is sure take its prediction (section 3.2). Predictions at several scales agree with their mean
    (section 3.3, equation 5), weighted by a learned softmax. A label space whose class 0 is named background has one.

    Deviations:
        Whole images are corrected after each epoch, at six scales, and then from there on -> crops, by a copy of the
            latest epoch's student, at ``scales``, from the given labels, with the classes that the crop's shows.
        The counts of an IoU begin anew with an epoch -> they are kept. A class without a pixel has no value.
        A trust-region fit from (1, 1, 1) -> a search over b and c, with the best a for each.
        Ignored pixels count in the mean of the cross-entropy -> the benchmark's criterion, over labelled pixels.
        The weights of scales keep their learning rate -> they follow the schedule.
        SegTHOR's cut of the curve, and the CRF -> left out.

    Args:
        scales: of the image, the first one 1.
        consistency: weight of the agreement.
        confidence: images agree only where a labelled pixel has a mean probability of this, in [0, 1].
        threshold: probability above which a pixel is corrected, in [0, 1].
        temperature: divides the mean logits before they correct.
        drop: fall of the slope after which a class is corrected, in [0, 1].
        epoch: steps; curves are fitted, and the copy renewed, after each.
        every: steps of one value of the curves.
        values: that curves have at most; what comes later counts to the last one.
    """

    reads = {"labeled": ("mask",)}
    overlap: Tensor  # values 2 K int64: intersection and union
    switched: Tensor  # (K,) bool

    def __init__(
        self,
        scales: tuple[float, ...] = (1.0, 0.7, 1.5),
        consistency: float = 1.0,
        confidence: float = 0.8,
        threshold: float = 0.8,
        temperature: float = 3.0,
        drop: float = 0.9,
        epoch: int = 1058,
        every: int = 100,
        values: int = 200,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(scales[:1] == (1.0,) and min(scales) > 0, "ADELE.scales", scales, "begin with 1, all above 0")
        for name, share in (("confidence", confidence), ("threshold", threshold), ("drop", drop)):
            require(0 <= share <= 1, f"ADELE.{name}", share, "give a number in [0, 1]")
        for name, number in (("epoch", epoch), ("every", every), ("values", values)):
            require(number >= 1, f"ADELE.{name}", number, "give 1 or more")
        require(temperature > 0, "ADELE.temperature", temperature, "give a positive number")
        self.scales, self.consistency, self.confidence = scales, consistency, confidence
        self.threshold, self.temperature, self.drop = threshold, temperature, drop
        self.epoch, self.every, self.values = epoch, every, values
        self.background = self.class_names[0] == "background"

    def build(self) -> None:
        super().build()
        self.latest_epoch = Snapshot(self.student)
        self.of_scale = nn.Parameter(torch.ones(len(self.scales)))
        self.register_buffer("overlap", torch.zeros(self.values, 2, self.num_classes, dtype=torch.int64))
        self.register_buffer("switched", torch.zeros(self.num_classes, dtype=torch.bool))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled = batch["labeled"]
        image, mask, valid = labeled["image"], labeled["mask"], labeled["valid"]
        if self.global_step and self.global_step % self.epoch == 0:
            self.end_epoch(self.global_step // self.epoch - 1)
        outs = at_scales(self.student, image, self.scales)
        value = min(self.global_step // self.every, self.values - 1)
        self.overlap[value] += total(overlaps(hard_label(outs[0].logits), mask, self.num_classes))

        label = mask
        if self.global_step >= 3 * self.epoch:  # no class is corrected earlier
            answers = at_scales(self.latest_epoch, image, self.scales)
            logits = torch.stack([out.logits.float() for out in answers]).mean(0)
            sure = (logits / self.temperature).softmax(1)
            label = corrected(mask, sure, self.switched, self.threshold, valid, self.background)
        self.log_pseudo_quality(torch.where(label == IGNORE, 0, label), label != IGNORE)

        weights = self.of_scale.float().softmax(0)
        learned = [out._replace(logits=w * out.logits) for w, out in zip(weights, outs, strict=True)]
        return {
            "supervised": torch.stack([self.supervised(out, label) for out in learned]).sum(),
            "consistency": self.consistency * agreement([out.logits for out in outs], weights, mask, self.confidence),
        }

    @torch.no_grad()
    def end_epoch(self, number: int) -> None:
        """Decide which classes are corrected from now on, after epoch ``number`` (from 0), and keep a copy."""
        n = min(self.global_step // self.every, self.values)
        if n > 2:
            both, either = self.overlap[:n].double().unbind(1)  # n K
            time = torch.linspace(0, n * self.every / self.epoch, n, device=both.device)
            a, b, c = fit_learning_curve(time, both / either, either > 0)
            now = (number >= memorises_from(b, c, self.drop)) & (a > 0)
            now[0] &= not self.background
            self.switched |= now
        self.latest_epoch.renew(self.student)
