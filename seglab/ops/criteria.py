"""Supervised losses for classes with few pixels, and sums of losses."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.losses import Criterion, pixel_cross_entropy, pixel_mean
from seglab.ops.mixing import one_hot
from seglab.types import require


class Dice(Criterion):
    """Dice loss: 1 - 2 |A ∩ B| / (|A| + |B|) of the probabilities, over the pixels of the batch, mean over all classes.

    As segmentation-models-pytorch has it (Milletari et al., 3DV 2016): a class without a pixel in the batch adds 0.

    Args:
        smooth: added to numerator and denominator.
    """

    def __init__(self, smooth: float = 0.0) -> None:
        super().__init__()
        require(smooth >= 0, "Dice.smooth", smooth, "give 0 or more")
        self.loss = smp.losses.DiceLoss("multiclass", smooth=smooth, ignore_index=IGNORE)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = self.loss(logits.float(), target)
        return loss


class Tversky(Criterion):
    """Dice with weights for what is wrongly found (``alpha``) and what is missed (``beta``).

    As segmentation-models-pytorch has it (Salehi et al., 2017): (1 - TP / (TP + alpha FP + beta FN)), mean over all
    classes, of which one without a pixel in the batch adds 0, to the power of ``gamma`` (Abraham and Khan, ISBI 2019).

    Args:
        alpha: of false positives; with beta both 0.5 it is Dice.
        beta: of false negatives; above ``alpha`` for objects that are missed.
        gamma: exponent of the mean.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, gamma: float = 1.0) -> None:
        super().__init__()
        require(min(alpha, beta) >= 0 and alpha + beta > 0, "Tversky.alpha", alpha, "give weights of 0 or more")
        require(gamma > 0, "Tversky.gamma", gamma, "give an exponent above 0")
        self.loss = smp.losses.TverskyLoss("multiclass", ignore_index=IGNORE, alpha=alpha, beta=beta)
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = self.loss(logits.float(), target)
        return loss if self.gamma == 1 else loss.clamp(min=1e-7) ** self.gamma  # 0 has no gradient below 1


class Focal(Criterion):
    """Cross-entropy times (1 - p)^gamma, p the probability of the true class; mean over the labelled pixels.

    Lin et al., ICCV 2017, equation 4, with softmax. Not segmentation-models-pytorch's, which sums a sigmoid loss over
    the classes, and picks pixels by a mask, for which the device would wait.

    Args:
        gamma: the higher, the less count pixels that are right already; 0 is cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        require(gamma >= 0, "Focal.gamma", gamma, "give 0 or more")
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_cross_entropy(logits, target)
        wrong = (1 - torch.exp(-loss)).clamp(min=1e-7)  # a power below 1 has no gradient at 0
        return pixel_mean(wrong**self.gamma * loss, target != IGNORE)


class BinaryCrossEntropy(Criterion):
    """Each class against all others by the sigmoid of its logit, sum over classes; mean over the labelled pixels.

    What a class learns does not depend on the logits of the others, so classes can be added later (BARM).
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = logits.float()
        loss = F.binary_cross_entropy_with_logits(logits, one_hot(target, logits.shape[1]), reduction="none")
        return pixel_mean(loss.sum(1), target != IGNORE)


class Lovasz(Criterion):
    """Lovász-Softmax: the convex surrogate of 1 - IoU, over the batch, mean over the classes that it shows.

    Berman et al., CVPR 2018, algorithm 1. Equal to segmentation-models-pytorch's, but for all classes at once and
    without a wait for the device.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        classes = logits.shape[1]
        labelled = (target != IGNORE).flatten()  # P
        probability = logits.float().softmax(1).transpose(0, 1).flatten(1)  # K P
        index = torch.arange(classes, device=logits.device)[:, None]
        truth = (target.flatten()[None] == index).float()  # K P
        errors = ((truth - probability).abs() * labelled).sort(1, descending=True)  # ignored pixels come last, with 0
        sorted_truth = truth.gather(1, errors.indices)
        total = sorted_truth.sum(1, keepdim=True)
        union = total + (1 - sorted_truth).cumsum(1)
        jaccard = 1 - (total - sorted_truth.cumsum(1)) / union
        gradient = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], 1)
        shown = (total[:, 0] > 0).float()
        return ((errors.values * gradient).sum(1) * shown).sum() / shown.sum().clamp(min=1)


class LocallyAdaptive(Criterion):
    """Cross-entropy of logits that are merged with those of the same class around them; hard windows count more.

    After Guo et al. (arXiv 1802.08290), in a form of our own, for their text could not be read in full: a window slides
    by one pixel; the logits of its pixels that share the centre's label are averaged, and l is the cross-entropy of the
    average. The loss is (mean of l^power over the labelled pixels)^(1 / power), a Minkowski mean. With a window
    and a power of 1 it is cross-entropy. What the paper has as stride, weights and size of its windows is not known.

    Args:
        window: side of the window in pixels, odd.
        power: 1 or more; the higher, the more count hard windows. 5 is said to be best on VOC.
        sigma: of a Gaussian of the distance (of rows or columns, the larger) that weighs the logits; 0: all the same.
    """

    def __init__(self, window: int = 3, power: float = 5.0, sigma: float = 0.0) -> None:
        super().__init__()
        require(window >= 1 and window % 2 == 1, "LocallyAdaptive.window", window, "give an odd number of pixels")
        require(power >= 1, "LocallyAdaptive.power", power, "give 1 or more")
        require(sigma >= 0, "LocallyAdaptive.sigma", sigma, "give 0 or more")
        self.window, self.power, self.sigma = window, power, sigma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        height, width = target.shape[-2:]
        around = self.window // 2
        margin = (around, around, around, around)
        values = F.pad(logits.float(), margin)
        labels = F.pad(target, margin, value=IGNORE)
        merged, weight = torch.zeros_like(values[..., :height, :width]), torch.zeros_like(target, dtype=torch.float32)
        for top in range(self.window):
            for left in range(self.window):
                rows, columns = slice(top, top + height), slice(left, left + width)
                far = max(abs(top - around), abs(left - around))
                near = math.exp(-(far**2) / (2 * self.sigma**2)) if self.sigma else 1.0
                alike = near * (labels[:, rows, columns] == target).float()
                merged = merged + alike.unsqueeze(1) * values[..., rows, columns]
                weight = weight + alike
        loss = pixel_cross_entropy(merged / weight.unsqueeze(1), target)
        mean = pixel_mean(loss**self.power, target != IGNORE)
        least = 1e-12  # a root has no gradient at 0
        return torch.where(mean > least, mean.clamp(min=least) ** (1 / self.power), mean)


class Sum(Criterion):
    """Several losses added.

    Args:
        parts: the losses.
        weights: of each; default: 1 for all.
    """

    def __init__(self, parts: list[Criterion], weights: list[float] = []) -> None:  # noqa: B006 - read only
        super().__init__()
        require(bool(parts), "Sum.parts", parts, "name one loss or more")
        require(len(weights) in (0, len(parts)), "Sum.weights", weights, f"give {len(parts)}, one for each part")
        self.parts = torch.nn.ModuleList(parts)
        self.weights = list(weights) or [1.0] * len(parts)

    @property
    def needs_class_counts(self) -> bool:  # type: ignore[override]
        return any(part.needs_class_counts for part in self._criteria)

    def prepare(self, classes: Sequence[str], frequency: Callable[[], np.ndarray]) -> None:
        for part in self._criteria:
            part.prepare(classes, frequency)

    @property
    def _criteria(self) -> list[Criterion]:
        return [part for part in self.parts if isinstance(part, Criterion)]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        terms = [w * part(logits, target) for w, part in zip(self.weights, self.parts, strict=True)]
        return torch.stack(terms).sum()
