"""CLUDA: DAFormer whose fused features of a class agree, within and across domains."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.adaptation.daformer import DAFormer
from seglab.ops.contrast import supervised_info_nce
from seglab.ops.grid import at_cells, rows, thing_distance
from seglab.ops.losses import pixel_mean
from seglab.ops.mixing import Pixels, classmix, ground_truth
from seglab.ops.pseudo import batch_ratio, pseudo_label
from seglab.types import Batch, require


class CLUDA(DAFormer):
    """CLUDA (Vayyat et al., 2022) with DAFormer: contrast between the classes of the decoder's fused features.

    Added to DAFormer: in the batch of source images, and in the batch of mixed images, which show both domains, each
    cell's feature is drawn to the features of its class and away from those of the others. Pairs weigh as much as the
    labels of both their cells.

    Deviations:
        The code trains with HRDA alone: a learned map weights pairs of context features against pairs of a context and
            a detail feature, and mixed images show their detail at the window of highest entropy -> its loss at one
            resolution, which the paper puts on DAFormer. Theirs is half the sum, so a ``contrast_weight`` of 0.5.
        With more than one image, features are in another order than their labels and weights -> in the same.
        Ignored pixels are a class -> they do not count.
        Labels and weights of a cell -> those at its centre.

    Args:
        contrast_weight: of the contrast, the sum over both batches.
        temperature: divides the cosine similarities.
        side: the longer side of the grid of cells that are compared; larger feature maps are resized to it. The number
            of pairs grows with its fourth power, memory with its square. Published: 65.
    """

    def __init__(self, contrast_weight: float = 1.0, temperature: float = 1.0, side: int = 65, **common: Any) -> None:
        super().__init__(**common)
        require(temperature > 0, "CLUDA.temperature", temperature, "give a positive number")
        require(side >= 1, "CLUDA.side", side, "give 1 cell or more")
        self.contrast_weight, self.temperature, self.side = contrast_weight, temperature, side

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        mask, size = source["mask"], source["image"].shape[-2:]

        answer = target["answer"] = self.teacher(target["image"])
        label, confidence = pseudo_label(answer.logits)
        trust = batch_ratio(confidence, self.threshold, target["valid"], self.borders)
        self.log_pseudo_quality(label, target["valid"] & (confidence >= self.threshold))

        truth = ground_truth(source["image"], mask, source["valid"])
        mixed = classmix(truth, Pixels(target["image"], label, trust, target["valid"]))

        strong = self.strong(mixed.image)
        frozen = False, not self.update_bn_on_strong
        stages, stages_m = self.student.encode_apart(source["image"], strong, frozen=frozen)
        out_s, out_m = self.student.decode_apart([stages, stages_m], [size, strong.shape[-2:]], frozen)

        reference = self.imagenet.encode(source["image"])
        distance = thing_distance(stages, reference, mask, self.student.extent(size), self.held, self.distance_share)
        within = self.contrast(out_s.features, mask, torch.ones_like(mask, dtype=torch.float32))
        across = self.contrast(out_m.features, torch.where(mixed.valid, mixed.label, IGNORE), mixed.weight)
        return {
            "supervised": self.supervised(out_s, mask),
            "mixed": self.weight * self.pixel_loss(out_m, mixed.label, mixed.weight, mixed.valid),
            "feature_distance": self.distance_weight * distance,
            "contrast": self.contrast_weight * (within + across),
        }

    def contrast(self, features: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        """Mean over labelled cells of the contrast of features B D h w with pixels' labels and weights B H W."""
        shrink = min(1.0, self.side / max(features.shape[-2:]))
        grid = [max(1, round(shrink * cells)) for cells in features.shape[-2:]]
        extent = self.student.extent(label.shape[-2:])
        label = at_cells(label, grid, extent, IGNORE).flatten()
        weight = at_cells(weight, grid, extent, 0.0).flatten()
        features = F.interpolate(features.float(), grid, mode="bilinear", align_corners=False)
        cells = rows(F.normalize(features))
        loss = supervised_info_nce(cells, cells, label, label, self.temperature, key_weight=weight, same_rows=True)
        return pixel_mean(weight * loss, label != IGNORE)
