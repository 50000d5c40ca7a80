"""Pseudo-labels, and which of their pixels are trusted."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.losses import entropy, pixel_mean
from seglab.ops.mixing import IDS, one_hot
from seglab.types import Output, require


class PseudoLabel(NamedTuple):
    """The most probable class of each pixel and its probability."""

    label: Tensor  # B H W int64
    confidence: Tensor  # B H W float32


@torch.no_grad()
def pseudo_label(logits: Tensor) -> PseudoLabel:
    """Pseudo-label of logits B K H W, from a float32 softmax."""
    confidence, label = logits.float().softmax(1).max(1)
    return PseudoLabel(label, confidence)


def hard_label(logits: Tensor) -> Tensor:
    """The most probable class of logits or probabilities: B K H W -> B H W, int64."""
    return logits.max(1).indices  # argmax takes a CPU four times as long


@torch.no_grad()
def joint_label(output: Output) -> Tensor:
    """B H W, the most probable class by the mean of the main and, where there is one, the auxiliary prediction."""
    maps = [output.logits, *(side.logits for name, side in output.side.items() if name == "aux")]
    return hard_label(torch.stack([logits.float().softmax(1) for logits in maps]).mean(0))


def assisted(core: Tensor, assistant: Tensor, number: int) -> Tensor:
    """The assistant's logits of its ``number`` most probable classes, the core's of all others: B K H W each.

    PS-MT's (Liu et al., CVPR 2022) filter of the teacher whose turn it is not. In the published code an assistant's
    logit of 0 is replaced, too; here it is a logit like any other.
    """
    least = assistant.topk(min(number, assistant.shape[1]), dim=1).values[:, -1:]
    return torch.where(assistant >= least, assistant, core)


def pixel_threshold(confidence: Tensor, threshold: float | Tensor) -> Tensor:
    """1.0 on the pixels with confidence >= threshold, else 0.0; B H W (FixMatch, Sohn et al., NeurIPS 2020)."""
    return (confidence >= threshold).float()


def class_aware_selection(probability: Tensor, share: float, least: float) -> Tensor:
    """The pixels near the highest probability of one class in their image: B H W bool (DSSN, ACM MM 2023).

    A class whose highest probability M in an image exceeds ``least`` selects the pixels above ``share`` x M there, any
    other class none.

    Args:
        probability: B K H W.
        share: in [0, 1].
        least: in [0, 1]; at share x least of 0.5 or more, no pixel is selected by two classes.
    """
    highest = probability.amax((2, 3), keepdim=True)
    threshold = torch.where(highest > least, share * highest, highest)
    return (probability > threshold).sum(1) == 1


def image_ratio(confidence: Tensor, threshold: float, valid: Tensor | None = None) -> Tensor:
    """On all pixels of an image, the share of its confident ones, or among its valid ones (bool B H W); B H W.

    ReCo (Liu et al., ICLR 2022).
    """
    confident = pixel_threshold(confidence, threshold)
    valid = torch.ones_like(confident, dtype=torch.bool) if valid is None else valid
    share = (confident * valid).sum((1, 2), keepdim=True) / valid.sum((1, 2), keepdim=True).clamp(min=1)
    return share * torch.ones_like(confidence)


def batch_ratio(
    confidence: Tensor, threshold: float, valid: Tensor | None = None, borders: tuple[int, int] = (0, 0)
) -> Tensor:
    """On all pixels, the share of confident pixels in the whole batch, or among its valid ones (bool B H W); B H W.

    DACS (Tranheden et al., WACV 2021) and its followers; CutMix-Seg (French et al., BMVC 2020). ``borders``: rows at
    the top and at the bottom that get 0, where target labels cannot be right (DAFormer); they count in the share.
    """
    confident = pixel_threshold(confidence, threshold)
    share = confident.mean() if valid is None else pixel_mean(confident, valid)
    return without_borders(share * torch.ones_like(confidence), *borders)


def image_confidence(logits: Tensor, valid: Tensor) -> Tensor:
    """How sure a prediction is of each image: mean over valid pixels of (1 - entropy / log K) x confidence, (B,).

    In [0, 1]: 0 where all classes are equally probable, 1 where one is certain (AugSeg, Zhao et al., CVPR 2023).

    Args:
        logits: B K H W.
        valid: B H W bool; an image without a valid pixel has 0.
    """
    sure = (1.0 - entropy(logits)) * pseudo_label(logits).confidence
    return torch.where(valid, sure, 0.0).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)


def dynamic_threshold(
    confidence: Tensor, valid: Tensor, base: float, slope: float, limits: tuple[float, float]
) -> Tensor:
    """A threshold that rises with the mean confidence c: base / (1 + exp(-slope (c - 1/2))), held in ``limits``.

    Scalar, for B H W confidences and which of them count (CW-BASS, Tarubinga et al., IJCNN 2025).
    """
    mean = pixel_mean(confidence, valid)
    return (base * torch.sigmoid(slope * (mean - 0.5))).clamp(*limits)


def class_boundaries(label: Tensor, num_classes: int) -> Tensor:
    """B H W bool: pixels at which the Sobel gradient of some class's mask is not zero (CW-BASS).

    Both columns of a vertical edge between two classes are; so is the border of the image, beyond which there is no
    class.

    Args:
        label: B H W class indices.
        num_classes: K.
    """
    masks = (label.unsqueeze(1) == torch.arange(num_classes, device=label.device).view(-1, 1, 1)).float()  # B K H W
    difference = torch.arange(-1.0, 2.0, device=label.device)
    smooth = 2.0 - difference.abs()
    kernels = torch.stack([smooth.outer(difference), difference.outer(smooth)]).unsqueeze(1)  # 2 1 3 3
    with torch.autocast(label.device.type, enabled=False):
        gradient = F.conv2d(masks.flatten(0, 1).unsqueeze(1), kernels, padding=1)  # B*K 2 H W
    return (gradient != 0).any(1).unflatten(0, (len(label), num_classes)).any(1)


def reliable_classes(label: Tensor, reliability: Tensor, num_classes: int) -> Tensor:
    """Half of the classes of each image, rounded up: those of the highest mean reliability; B 256 bool (STvM).

    Args:
        label: B H W class indices or 255, which is no class.
        reliability: B H W in [0, 1].
        num_classes: K.
    """
    member = one_hot(label, num_classes).flatten(2)  # B K n
    count = member.sum(2)
    mean = (member * reliability.float().flatten(1).unsqueeze(1)).sum(2) / count.clamp(min=1)
    rank = mean.masked_fill(count == 0, -1.0).argsort(1, descending=True).argsort(1)
    present = count > 0
    best = present & (rank < (present.sum(1, keepdim=True) + 1) // 2)
    return F.pad(best, (0, IDS - num_classes))


def without_borders(weight: Tensor, top: int, bottom: int) -> Tensor:
    """B H W with 0 on the ``top`` first and ``bottom`` last rows, where target labels cannot be right (DAFormer)."""
    row = torch.arange(weight.shape[1], device=weight.device).view(1, -1, 1)
    return weight * ((row >= top) & (row < weight.shape[1] - bottom))


LEVELS = 50_000  # confidences are counted in steps of 1 / LEVELS


def masked_quantile(value: Tensor, mask: Tensor, share: float) -> Tensor:
    """Quantile of the values where the mask is True, linear between neighbours, without a wait for the device.

    Args:
        value: any shape, float.
        mask: the same shape, bool.
        share: in [0, 1]; 0.5 is the median.

    Returns:
        Scalar; infinity if the mask is True nowhere.
    """
    ordered = torch.where(mask, value, torch.inf).flatten().sort().values
    place = share * (mask.sum() - 1).clamp(min=0)
    low, high = ordered[torch.stack([place.floor(), place.ceil()]).long()]
    return torch.where(high > low, torch.lerp(low, high, (place - place.floor()).to(low.dtype)), low)


@dataclass(frozen=True)
class ClassBalanced:
    """A class keeps the most confident share of the pixels that are predicted as it (SPCL, ProCA, CBST).

    Its threshold is the quantile of their confidences, but at most ``cap``: from there on every pixel is kept.

    Attributes:
        quantile: share of the pixels below the threshold, in [0, 1]: 0.5 in SPCL, 0.6 in ProCA.
        cap: largest threshold, in [0, 1].

    Raises:
        SeglabError: an attribute is outside its range.
    """

    quantile: float = 0.5
    cap: float = 0.9

    def __post_init__(self) -> None:
        for name in ("quantile", "cap"):
            require(0.0 <= getattr(self, name) <= 1.0, name, getattr(self, name), "give a number in [0, 1]")

    def __call__(self, counts: Tensor) -> Tensor:
        """Thresholds K of counts K (LEVELS + 1): pixels predicted as a class, by level of confidence.

        The value of rank round(quantile n), as in the published code of SPCL; ``cap`` for a class never predicted.
        """
        number = counts.sum(1, keepdim=True)
        rank = (self.quantile * number.double()).round().clamp(max=number - 1)
        level = (counts.cumsum(1) <= rank).sum(1)
        return torch.where(number[:, 0] > 0, level / LEVELS, self.cap).clamp(max=self.cap)


@dataclass(frozen=True)
class Fixed:
    """One threshold for all classes (ProDA: 0.95).

    Attributes:
        threshold: in [0, 1].

    Raises:
        SeglabError: it is not.
    """

    threshold: float = 0.95

    def __post_init__(self) -> None:
        require(0.0 <= self.threshold <= 1.0, "threshold", self.threshold, "give a number in [0, 1]")

    def __call__(self, counts: Tensor) -> Tensor:
        """Thresholds K, whatever the counts K (LEVELS + 1)."""
        return torch.full((len(counts),), self.threshold)


def lowest_entropy(logits: Tensor, known: Tensor, share: float) -> Tensor:
    """The share of the known pixels (B H W bool) whose prediction is the most certain: B H W bool (section 3.2)."""
    uncertainty = entropy(logits)
    return known & (uncertainty <= masked_quantile(uncertainty, known, share))


def class_rank(probability: Tensor) -> Tensor:
    """Place of each class when the classes of a pixel are sorted by probability, 0 for the first: N K -> N K."""
    return probability.argsort(1, descending=True).argsort(1)


def likely_negatives(probability: Tensor, label: Tensor, low_rank: int) -> Tensor:
    """N K bool: labeled pixels of another class that rank class K before ``low_rank`` (section 3.3)."""
    other = (label.unsqueeze(1) != torch.arange(probability.shape[1], device=label.device)) & (label != IGNORE)[:, None]
    return other & (class_rank(probability) < low_rank)


def unreliable_negatives(probability: Tensor, unreliable: Tensor, low_rank: int, high_rank: int) -> Tensor:
    """N K bool: unreliable pixels that rank class K from ``low_rank`` on and before ``high_rank`` (section 3.3)."""
    rank = class_rank(probability)
    return unreliable.unsqueeze(1) & (rank >= low_rank) & (rank < high_rank)
