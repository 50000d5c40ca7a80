"""BiCL: prototypes of a source image classify the pixels of a target image, and the reverse."""

import math
from typing import Any

import torch
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.networks.deeplabv2 import parallel_channels, parallel_outputs
from seglab.networks.own_layers import OwnLayers
from seglab.ops.domain_prototypes import class_means, class_weighted_cross_entropy, likeness, to_pixels
from seglab.ops.grid import at_cells
from seglab.ops.losses import entropy, pixel_mean
from seglab.ops.memory import Prototypes
from seglab.ops.pseudo import pseudo_label
from seglab.types import Batch, require


class BiCL(Method):
    """BiCL (Lee et al., ECCV 2022): bi-directional contrast between the pixels of a domain and the other's prototypes.

    Images of the two domains make pairs. The means of a source image's classes classify the target pixels of the pair
    by cosine, and those of the target image, by pseudo-labels, the source pixels: cross-entropy over pixels of classes
    that both images show. Predictions in both domains are made certain. A target pixel without a label takes that of
    the nearest source mean (label transfer), to which the usual difference of target and source means was added
    (calibration). Features are the parallel convolutions of DeepLab v2's head, or another network's features.
    Pseudo-labels are an earlier run's (``chain/bicl_gta5_to_cityscapes.yaml``); without, sure predictions are.

    Deviations from the official code:
        No label is transferred or calibrated (``transfer`` false) -> both, as we read the abstract.
        The source's own layers go on in the next round -> they begin as those of the target.
        Offline labels are the surest tenth of each class, and of each image -> of each class.
        Two pairs -> any; target image i meets source image i modulo their number. No class in common is NaN -> 0.

    Args:
        target_weight: of the target's terms beside those of the source.
        entropy_weight: of the entropy.
        contrast_weight: of either direction.
        scale: multiplies the cosines.
        transfer: let prototypes label target pixels that have no label.
        sure: probability by cosines above which they do, in [0, 1].
        momentum: share of the old difference between the domains kept per step.
        threshold: confidence from which a prediction is a pseudo-label, where there are none of an earlier run.
        own_layers: parts of the encoder that the source has for itself; those of a ResNet.
    """

    shift: Prototypes  # target mean minus source mean of each class

    def __init__(
        self,
        target_weight: float = 0.3,
        entropy_weight: float = 0.4,
        contrast_weight: float = 0.1,
        scale: float = 10.0,
        transfer: bool = True,
        sure: float = 0.8,
        momentum: float = 0.99,
        threshold: float = 0.9,
        own_layers: tuple[str, ...] = ("conv1", "bn1", "layer1"),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(scale > 0, "BiCL.scale", scale, "give more than 0")
        require(0 <= min(sure, threshold) <= max(sure, threshold) <= 1, "BiCL.sure", sure, "give a number in [0, 1]")
        self.target_weight, self.entropy_weight, self.contrast_weight = target_weight, entropy_weight, contrast_weight
        self.scale, self.transfer, self.sure, self.momentum, self.threshold = scale, transfer, sure, momentum, threshold
        self.own_layers = own_layers

    def build(self) -> None:
        super().build()
        self.for_source = OwnLayers(self.student, self.own_layers)
        self.shift = Prototypes(self.num_classes, parallel_channels(self.student), self.momentum)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.for_source(self.student, source["image"]), self.student(target["image"])
        own, confidence = pseudo_label(out_t.logits)
        own = torch.where(target["valid"] & (confidence >= self.threshold), own, IGNORE)
        label = target.get("pseudo", own)
        known = label != IGNORE
        self.log_pseudo_quality(label, known)

        doubt_s, doubt_t = (pixel_mean(entropy(o.logits), x["valid"]) for o, x in ((out_s, source), (out_t, target)))
        pair = torch.arange(len(label), device=label.device) % len(source["mask"])
        maps = parallel_outputs(self.student, out_s.features)[pair], parallel_outputs(self.student, out_t.features)
        forward, backward = self.contrast(*maps, source["mask"][pair], label, target["valid"])
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "target": self.target_weight * self.pixel_loss(out_t, label, known.float(), known),
            "entropy": self.entropy_weight * math.log(self.num_classes) * (doubt_s + self.target_weight * doubt_t),
            "contrast": self.contrast_weight * (forward.mean() + backward.mean()),
        }

    def contrast(self, maps_s: Tensor, maps_t: Tensor, label_s: Tensor, label_t: Tensor, valid: Tensor) -> list[Tensor]:
        """For pairs of features B D h w with labels B H W: B, from source to target, and B, the reverse."""
        (mean_s, shown_s), (mean_t, shown_t) = self.means(maps_s, label_s), self.means(maps_t, label_t)
        if self.transfer:
            difference, both = (mean_t - mean_s).detach().flatten(0, 1), (shown_s & shown_t).flatten()
            classes = torch.arange(self.num_classes, device=both.device).repeat(len(label_t))
            self.shift.update(difference, torch.where(both, classes, IGNORE))
            logits = self.scale * likeness((mean_s + self.shift.mean).detach(), shown_s, maps_t.detach())
            nearest, confidence = pseudo_label(self.at_pixels(logits, label_t))
            label_t = torch.where((label_t == IGNORE) & valid & (confidence > self.sure), nearest, label_t)
            mean_t, shown_t = self.means(maps_t, label_t)
        losses = []
        for mean, shown, maps, label in ((mean_s, shown_s, maps_t, label_t), (mean_t, shown_t, maps_s, label_s)):
            logits = self.at_pixels(self.scale * likeness(mean, shown, maps), label)
            losses.append(class_weighted_cross_entropy(logits, label, shown_s & shown_t))
        return losses

    def means(self, maps: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        cells = at_cells(label, maps.shape[-2:], self.student.extent(label.shape[-2:]), IGNORE)
        return class_means(maps, cells, self.num_classes)

    def at_pixels(self, logits: Tensor, label: Tensor) -> Tensor:
        """B K H W, of B K h w."""
        return to_pixels(logits, self.student.extent(label.shape[-2:]), label.shape[-2:])
