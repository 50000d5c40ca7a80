"""Losses and their ramps, in float32 whatever the precision of the network."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.types import Output, SeglabError, require


class Criterion(nn.Module, ABC):
    """A supervised loss. Pixels labelled 255 do not count; with no other pixel the loss is 0, not NaN.

    Attributes:
        needs_class_counts: the labeled classes are counted before training starts.
    """

    needs_class_counts: bool = False

    def prepare(self, classes: Sequence[str], frequency: Callable[[], np.ndarray]) -> None:
        """Called once before step 0.

        Args:
            classes: names in index order.
            frequency: gives the share (K,) of each class in the labeled pixels; files are read for it.

        Raises:
            SeglabError: a setting does not go with the classes.
        """

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss (scalar) of logits B K H W against classes B H W int64."""


class CrossEntropy(Criterion):
    """Cross-entropy, mean over the labelled pixels, each with the weight of its class.

    Args:
        label_smoothing: share of the target spread over all classes, in [0, 1].
        weights: of the classes, in their order; or ``balanced``: 1 / (K x share of the class in the labeled pixels), so
            that all classes weigh the same, with classes that no label shows as the rarest one. None: all 1.
    """

    of_class: Tensor  # (K,) float32

    def __init__(self, label_smoothing: float = 0.0, weights: Literal["balanced"] | list[float] | None = None) -> None:
        super().__init__()
        require(
            0.0 <= label_smoothing <= 1.0, "CrossEntropy.label_smoothing", label_smoothing, "give a share in [0, 1]"
        )
        self.label_smoothing, self.weights = label_smoothing, weights
        self.needs_class_counts = weights == "balanced"
        given = weights if isinstance(weights, list) else []
        require(all(weight >= 0 for weight in given), "CrossEntropy.weights", given, "give weights of 0 or more")
        self.register_buffer("of_class", torch.tensor(given, dtype=torch.float32), persistent=False)

    def prepare(self, classes: Sequence[str], frequency: Callable[[], np.ndarray]) -> None:
        if self.weights == "balanced":
            shares = frequency()
            shares = np.where(shares > 0, shares, shares[shares > 0].min(initial=1))
            self.of_class = torch.tensor(1 / (len(classes) * shares), dtype=torch.float32, device=self.of_class.device)
        elif self.weights is not None and len(self.weights) != len(classes):
            raise SeglabError(
                f"CrossEntropy.weights has {len(self.weights)} weights for {len(classes)} classes: give one for each "
                f"of {', '.join(classes)}"
            )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        labelled = target != IGNORE
        if self.weights is None:
            return pixel_mean(pixel_cross_entropy(logits, target, self.label_smoothing), labelled)
        if len(self.of_class) != logits.shape[1]:
            raise SeglabError("CrossEntropy.weights: the class counts are not known yet, call prepare first")
        loss = pixel_cross_entropy(logits, target, self.label_smoothing, self.of_class)
        weight = torch.where(labelled, self.of_class[torch.where(labelled, target, 0)], 0.0)
        return loss.sum() / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)


class FocalCrossEntropy(Criterion):
    """Cross-entropy times (1 - p)^gamma, p the probability of the true class (Lin et al., ICCV 2017); mean (CLAN).

    Args:
        gamma: 0 is plain cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        require(gamma >= 0.0, "FocalCrossEntropy.gamma", gamma, "give 0 or more")
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_cross_entropy(logits, target)
        return pixel_mean((1 - torch.exp(-loss)) ** self.gamma * loss, target != IGNORE)


class OhemCrossEntropy(Criterion):
    """Cross-entropy of the hard pixels only: online hard example mining, as CPS, U2PL and UniMatch use it.

    A pixel is hard when its true class has a probability of at most ``threshold``. With fewer hard pixels than
    ``min_kept``, the ``min_kept`` hardest count; with fewer labelled pixels than that, all of them.

    Args:
        threshold: probability of the true class, in [0, 1].
        min_kept: pixels of the batch of one process.
    """

    def __init__(self, threshold: float = 0.7, min_kept: int = 100_000) -> None:
        super().__init__()
        require(0.0 <= threshold <= 1.0, "OhemCrossEntropy.threshold", threshold, "give a probability in [0, 1]")
        require(min_kept >= 1, "OhemCrossEntropy.min_kept", min_kept, "give 1 or more pixels")
        self.threshold = threshold
        self.min_kept = min_kept

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_cross_entropy(logits, target)
        labelled = target != IGNORE
        # Of the true class; 1 on ignored pixels: they come last, and a rank among them keeps every labelled pixel.
        probability = torch.exp(-loss.detach())
        rank = min(self.min_kept, probability.numel())
        threshold = probability.flatten().sort().values[rank - 1].clamp(min=self.threshold)
        return pixel_mean(loss, labelled & (probability <= threshold))


def pixel_cross_entropy(
    logits: Tensor, label: Tensor, label_smoothing: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy B H W of logits B K H W against classes B H W; 0 where the class is 255.

    Args:
        logits: of any precision; float32 inside.
        label: int64.
        label_smoothing: share of the target spread over all classes.
        weight: (K,) factors of the classes.
    """
    return F.cross_entropy(
        logits.float(), label, weight, ignore_index=IGNORE, reduction="none", label_smoothing=label_smoothing
    )


def balanced_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of labelled pixels, of which the classes that occur weigh the same: scalar.

    A class of n pixels in the batch has the weight 1 / n, over the mean of these (STvM).

    Args:
        logits: B K H W.
        label: B H W class indices or 255.
    """
    classes = torch.arange(logits.shape[1], device=label.device)
    count = (label.flatten() == classes.unsqueeze(1)).sum(1)  # K
    weight = torch.where(count > 0, 1 / count.clamp(min=1), 0.0)
    weight = weight / (weight.sum() / (count > 0).sum().clamp(min=1)).clamp(min=torch.finfo(torch.float32).tiny)
    known = label != IGNORE
    return pixel_mean(weight[torch.where(known, label, 0)] * pixel_cross_entropy(logits, label), known)


def reverse_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """-sum over classes of p log q, q the label as a distribution with 1e-4 for 0: B H W, 0 where the class is 255.

    It and cross-entropy together are robust to wrong labels (symmetric cross-entropy, Wang et al., ICCV 2019).

    Args:
        logits: B K H W.
        label: B H W class indices or 255.
    """
    p = logits.float().softmax(1).clamp(min=1e-7)
    known = label != IGNORE
    right = p.gather(1, torch.where(known, label, 0).unsqueeze(1)).squeeze(1)
    return torch.where(known, (p.sum(1) - right) * -math.log(1e-4), 0.0)


def weighted_cross_entropy(logits: Tensor, label: Tensor, weight: Tensor, normaliser: Tensor) -> Tensor:
    """Mean of weight x cross-entropy over the pixels where ``normaliser`` (bool B H W) is True.

    A pixel of weight 0 or of label 255 adds nothing and is still counted. FixMatch passes the pixels that are not
    padding, so its unlabeled loss grows with confidence; DACS passes all pixels, PS-MT the confident ones.
    """
    return pixel_mean(weight * pixel_cross_entropy(logits, label), normaliser)


def supervised_loss(
    criterion: Criterion, output: Output, mask: Tensor, own: Mapping[str, Tensor] = MappingProxyType({})
) -> Tensor:
    """The criterion over every map of an output that labels B H W supervise, each with its weight.

    Args:
        own: labels B H W of a map of ``output.side`` that has others than the rest, by its name.
    """
    loss = output.share * criterion(output.logits, mask)
    for name, side in output.side.items():
        loss = loss + side.weight * criterion(side.logits, _seen(own.get(name, mask), side.window))
    return loss


def pixel_loss(output: Output, label: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    """``weighted_cross_entropy`` over every map of an output that pseudo-labels supervise, with its weight."""
    loss = output.share * weighted_cross_entropy(output.logits, label, weight, valid)
    for side in output.side.values():
        if side.on_pseudo:
            parts = (_seen(x, side.window) for x in (label, weight, valid))
            loss = loss + side.weight * weighted_cross_entropy(side.logits, *parts)
    return loss


def _seen(x: Tensor, window: tuple[int, int, int, int] | None) -> Tensor:
    """The part of B H W that a window (top, left, height, width) shows."""
    if window is None:
        return x
    top, left, height, width = window
    return x[:, top : top + height, left : left + width]


def pixel_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean of B H W over the pixels where the mask is True; 0, with a gradient of 0, where it is True nowhere."""
    return torch.where(mask, value, 0.0).sum() / mask.sum().clamp(min=1)


def squared_distance(p: Tensor, q: Tensor) -> Tensor:
    """Squared distance of two probability maps B K H W, summed over classes: B H W.

    Its mean is the loss of CutMix-Seg (French et al., BMVC 2020); divided by K, that of Mean Teacher.
    """
    return (p.float() - q.float()).square().sum(1)


def kl_divergence(p: Tensor, logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the softmax of ``logits`` from probabilities ``p``, B K H W both: B H W.

    Sum over classes of p log(p / q), q the softmax; 0 where they agree, and a class of p = 0 adds nothing.
    """
    p = p.float()
    return (torch.xlogy(p, p) - p * logits.float().log_softmax(1)).sum(1)


def sigmoid_distillation(logits: Tensor, before: Tensor) -> Tensor:
    """Binary cross-entropy with the sigmoids of ``before``, B C H W both: sum over channels of the means (BARM)."""
    target = before.float().sigmoid()
    return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none").mean((0, 2, 3)).sum()


def standardised(logits: Tensor) -> Tensor:
    """Logits B K H W with mean 0 and (unbiased) standard deviation 1 over the classes of a pixel; equal ones are 0."""
    centred = logits.float() - logits.float().mean(1, keepdim=True)
    variance = centred.square().sum(1, keepdim=True) / max(1, logits.shape[1] - 1)
    return centred * (variance + 1e-12).rsqrt()


def alignment(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference of logits B K H W, standardised over classes, on valid pixels B H W: scalar (DSSN)."""
    return pixel_mean(squared_distance(standardised(first), standardised(second)), valid) / first.shape[1]


def self_similarity(features: Tensor, grid: int) -> Tensor:
    """Cosines between the regions of an image, which are means of its feature map: B D h w -> B grid² grid².

    What MGD compares between a student and a teacher (Qin et al., ECCV 2022, section 3.3); a region of zeros has 0.
    """
    regions = F.normalize(F.adaptive_avg_pool2d(features.float(), grid).flatten(2), dim=1)  # B D n
    with torch.autocast(features.device.type, enabled=False):
        return regions.transpose(1, 2) @ regions


def robust_binary_cross_entropy(p: Tensor, q: Tensor, floor: float = 1e-6) -> Tensor:
    """-q log p - (1 - q) log(1 - p), sum over the classes of probability maps p and q, B K H W: B H W.

    ``floor`` is added below both logarithms, so that a certain p costs no infinite loss (French et al., ICLR 2018).
    """
    p, q = p.float(), q.float()
    return -(q * (p + floor).log() + (1.0 - q) * (1.0 - p + floor).log()).sum(1)


def logit_distance(logits: Tensor, target: Tensor, smooth_l1: bool = False) -> Tensor:
    """Squared difference, or the smooth absolute one, of logits B K H W; sum over classes / sqrt(K): B H W."""
    logits, target = logits.float(), target.float()
    distance = F.smooth_l1_loss if smooth_l1 else F.mse_loss
    return distance(logits, target, reduction="none").sum(1) / logits.shape[1] ** 0.5


CONSISTENCY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "var": lambda logits, target: squared_distance(logits.float().softmax(1), target.float().softmax(1)),
    "bce": lambda logits, target: robust_binary_cross_entropy(logits.float().softmax(1), target.float().softmax(1)),
    "kld": lambda logits, target: kl_divergence(target.float().softmax(1), logits),
    "logits_var": logit_distance,
    "logits_smoothl1": lambda logits, target: logit_distance(logits, target, smooth_l1=True),
}
"""How far logits are from a teacher's, B K H W both -> B H W, by the names in the official code of CutMix-Seg."""


def self_information(logits: Tensor) -> Tensor:
    """Weighted self-information of each class, -p log p / log K: B K H W, its sum over classes in [0, 1].

    What AdvEnt shows its discriminators (Vu et al., CVPR 2019, section 3.2).

    Args:
        logits: B K H W with K of 2 or more.
    """
    log_p = logits.float().log_softmax(1)
    return log_p.exp() * log_p / -math.log(logits.shape[1])


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the class probabilities, in [0, 1]: B H W from logits B K H W (Vu et al., CVPR 2019, equation 2)."""
    return self_information(logits).sum(1)


def lovasz_softmax(logits: Tensor, target: Tensor) -> Tensor:
    """The Lovász extension of 1 - IoU, mean over the classes that the labels show (Berman et al., CVPR 2018, eq. 13).

    The batch counts as one image, as in ProCA.

    Args:
        logits: B K H W.
        target: B H W class indices or 255.

    Returns:
        scalar float32; 0 without a label.
    """
    probability = logits.float().softmax(1).transpose(0, 1).flatten(1)  # K N
    label = target.flatten()
    known = label != IGNORE
    own = label == torch.arange(len(probability), device=label.device).unsqueeze(1)  # K N
    error = torch.where(known, (own.float() - probability).abs(), -1.0)  # pixels without a label come last
    error, order = error.sort(1, descending=True)
    own = own.gather(1, order).float()
    number = own.sum(1, keepdim=True)
    left, union = number - own.cumsum(1), number + (1 - own).cumsum(1)
    distance = 1 - left / union  # of Jaccard, with the pixels up to here wrong
    step = torch.cat([distance[:, :1], distance[:, 1:] - distance[:, :-1]], 1)
    loss = (error.clamp(min=0) * step).sum(1)
    present = number.squeeze(1) > 0
    return torch.where(present, loss, 0.0).sum() / present.sum().clamp(min=1)


def missing_classes(logits: Tensor, ratio: Tensor, relaxation: float, valid: Tensor) -> Tensor:
    """How far images predict less of a class than the source has of it: the class-ratio prior of MinEnt and AdvEnt.

    Sum over classes of max(0, relaxation x ratio - mean probability of the class over an image's pixels), mean over
    the images (Vu et al., CVPR 2019, section 3.3).

    Args:
        logits: B K H W.
        ratio: K, share of each class in the source's pixels.
        relaxation: in [0, 1]; 0 asks for nothing.
        valid: B H W bool, the pixels that count.
    """
    counted = valid.unsqueeze(1)
    probability = torch.where(counted, logits.float().softmax(1), 0.0).sum((2, 3)) / counted.sum((2, 3)).clamp(min=1)
    return (relaxation * ratio - probability).clamp(min=0).sum(1).mean()


class ClassRatioPrior(nn.Module):
    """Weighted ``missing_classes`` of a source whose class shares are learned before training.

    Args:
        weight: of the term.
        relaxation: in [0, 1].
    """

    ratio: Tensor  # K

    def __init__(self, weight: float, relaxation: float) -> None:
        super().__init__()
        self.weight, self.relaxation = weight, relaxation
        self.register_buffer("ratio", torch.zeros(0), persistent=False)

    def learn(self, frequency: np.ndarray) -> None:
        """The share (K,) of each class in the labeled pixels."""
        self.ratio = torch.tensor(frequency, dtype=torch.float32, device=self.ratio.device)

    def forward(self, logits: Tensor, valid: Tensor) -> Tensor:
        """The term for logits B K H W of target images, of which ``valid`` pixels B H W count."""
        return self.weight * missing_classes(logits, self.ratio, self.relaxation, valid)


def sigmoid_rampup(step: float, length: float) -> float:
    """exp(-5 (1 - t)²) with t = step / length held in [0, 1] (Laine and Aila, ICLR 2017); 1.0 when length is 0."""
    return math.exp(-5.0 * (1.0 - linear_rampup(step, length)) ** 2)


def cosine_rampup(step: int, length: int, start: int = 0) -> float:
    """(1 - cos(pi t)) / 2 with t = (step - start) / length held in [0, 1] (PS-MT, Liu et al., 2022).

    When length is 0 it is 1.0, from ``start`` on.
    """
    return (1.0 - math.cos(math.pi * linear_rampup(step - start, length))) / 2.0 if step >= start else 0.0


def linear_rampup(step: float, length: float) -> float:
    """step / length held in [0, 1]; 1.0 when length is 0."""
    return min(max(step / length, 0.0), 1.0) if length > 0 else 1.0
