"""Pseudo-labels and the rules that weight their pixels."""

from typing import NamedTuple

import torch
from torch import Tensor

from seglab.ops.losses import pixel_mean


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


def pixel_threshold(confidence: Tensor, threshold: float) -> Tensor:
    """1.0 on the pixels with confidence >= threshold, else 0.0; B H W (FixMatch, Sohn et al., NeurIPS 2020)."""
    return (confidence >= threshold).float()


def image_ratio(confidence: Tensor, threshold: float) -> Tensor:
    """On all pixels of an image, the share of its confident ones; B H W (ReCo, Liu et al., ICLR 2022)."""
    return pixel_threshold(confidence, threshold).mean((1, 2), keepdim=True) * torch.ones_like(confidence)


def batch_ratio(confidence: Tensor, threshold: float, valid: Tensor | None = None) -> Tensor:
    """On all pixels, the share of confident pixels in the whole batch, or among its valid ones (bool B H W); B H W.

    DACS (Tranheden et al., WACV 2021) and its followers; CutMix-Seg (French et al., BMVC 2020).
    """
    confident = pixel_threshold(confidence, threshold)
    share = confident.mean() if valid is None else pixel_mean(confident, valid)
    return share * torch.ones_like(confidence)


def without_borders(weight: Tensor, top: int, bottom: int) -> Tensor:
    """B H W with 0 on the ``top`` first and ``bottom`` last rows, where target labels cannot be right (DAFormer)."""
    row = torch.arange(weight.shape[1], device=weight.device).view(1, -1, 1)
    return weight * ((row >= top) & (row < weight.shape[1] - bottom))
