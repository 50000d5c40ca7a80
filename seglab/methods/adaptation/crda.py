"""CRDA: DAFormer whose student relates the pixels of mixed images to each other as its teacher does."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.methods.adaptation.daformer import DAFormer
from seglab.ops.grid import thing_distance
from seglab.ops.mixing import Pixels, classmix, ground_truth
from seglab.ops.pseudo import batch_ratio, pseudo_label
from seglab.types import Batch, require_least


class CRDA(DAFormer):
    """CRDA (Koh and Fernando, ECCV workshop OOD-CV 2022): DAFormer with consistent relations between pixels.

    Added to DAFormer: student and teacher see the same mixed images; the cosine similarities of the logits of every
    pair of some pixels, drawn at random, should be the same for both.

    Deviations from the official code:
        The student sees the mixed images a second time, with other dropout -> one forward serves both losses.
        The gradient reaches a part of the teacher that no optimiser holds -> the teacher has none.
        Those of ``DAFormer``.

    Args:
        relation_weight: of the mean squared difference of similarities.
        pixels: drawn in a step, the same places in all images.
    """

    def __init__(self, relation_weight: float = 1.0, pixels: int = 512, **common: Any) -> None:
        super().__init__(**common)
        require_least(self, 0, relation_weight=relation_weight)
        require_least(self, 2, pixels=pixels)
        self.relation_weight, self.pixels = relation_weight, pixels

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        size = source["image"].shape[-2:]

        answer = target["answer"] = self.teacher(target["image"])
        label, confidence = pseudo_label(answer.logits)
        trust = batch_ratio(confidence, self.threshold, target["valid"], self.borders)
        self.log_pseudo_quality(label, target["valid"] & (confidence >= self.threshold))

        truth = ground_truth(source["image"], source["mask"], source["valid"])
        mixed = classmix(truth, Pixels(target["image"], label, trust, target["valid"]))

        strong = self.strong(mixed.image)
        frozen = False, not self.update_bn_on_strong
        stages, stages_m = self.student.encode_apart(source["image"], strong, frozen=frozen)
        out_s, out_m = self.student.decode_apart([stages, stages_m], [size, strong.shape[-2:]], frozen)

        ours, theirs = out_m.logits.flatten(2), self.teacher(strong).logits.flatten(2)  # B K HW
        drawn = torch.randperm(ours.shape[2], device=ours.device)[: self.pixels]
        relation = F.mse_loss(similarities(ours[..., drawn]), similarities(theirs[..., drawn]))

        reference = self.imagenet.encode(source["image"])
        distance = thing_distance(
            stages, reference, source["mask"], self.student.extent(size), self.held, self.distance_share
        )
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "mixed": self.weight * self.pixel_loss(out_m, mixed.label, mixed.weight, mixed.valid),
            "feature_distance": self.distance_weight * distance,
            "relation": self.relation_weight * relation,
        }


def similarities(logits: Tensor) -> Tensor:
    """Cosine of the logits of every two of n pixels of an image: B n n from B K n."""
    unit = F.normalize(logits.float(), dim=1)
    with torch.autocast(logits.device.type, enabled=False):
        return unit.transpose(1, 2) @ unit
