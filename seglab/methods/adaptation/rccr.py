"""RCCR: a region of a target image looks the same to the student in a source image as to the teacher in its own."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.methods.adaptation.dacs import DACS
from seglab.ops.boxes import UniformBox
from seglab.ops.contrast import info_nce
from seglab.ops.grid import at_cells, rows
from seglab.ops.losses import pixel_mean
from seglab.ops.memory import RecentSteps
from seglab.ops.mixing import Pixels, classmix, cycled, ground_truth, mix, stretch
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import batch_ratio, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.types import Batch, require, require_positive, require_shares

HEAD = "region"


class RCCR(DACS):
    """RCCR (Zhou et al., ICME 2022): DACS with regional contrastive consistency.

    Added to DACS: a square of each target image is pasted into a source image. Its cells, embedded by the student, are
    drawn to the teacher's embeddings of the same cells in the unmixed image and away from cells of other classes, of
    both images in this and the two steps before, where the teacher is sure (equation 5). The weight of the term grows
    as w exp(-5 (1 - sqrt(t))), t the share of the run that is done.

    Deviations from the official code:
        The head of the embeddings never reaches the optimiser -> it learns.
        From GTA5 the contrast begins after the last step -> at step 0, as from SYNTHIA.
        A small number inside the logarithm caps each term at 18.4 -> no cap.
        Cells without a label are negatives -> they are not. A cell's label -> that at its centre, of the logits in full
            resolution.
        4000 cells of either image are drawn -> half of ``cells``, over all ranks.
        Those of ``DACS``.

    Args:
        contrast_weight: of the contrast at the end of the run.
        temperature: of the cosine similarities.
        sure: confidence above which a target cell is an anchor, in [0, 1].
        cells: kept of a step as negatives.
        kept: steps whose cells are negatives, the present one included.
        dim: of the embeddings.
    """

    recent: RecentSteps

    def __init__(
        self,
        contrast_weight: float = 0.01,
        temperature: float = 0.1,
        sure: float = 0.75,
        cells: int = 8000,
        kept: int = 3,
        dim: int = 128,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_positive(self, temperature=temperature)
        require_shares(self, sure=sure)
        require(min(cells // 2, kept, dim) >= 1, "RCCR.cells", cells, "give 2 or more, of 1 step or more")
        self.contrast_weight, self.temperature, self.sure = contrast_weight, temperature, sure
        self.cells, self.kept, self.dim, self.region = cells, kept, dim, UniformBox()

    def build(self) -> None:
        super().build()
        width = self.student.feature_channels
        head = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(inplace=True), nn.Conv2d(width, self.dim, 1))
        self.student.add_head(HEAD, head)  # a part of the student, so that the teacher averages it too
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)
        self.recent = RecentSteps(2 * self.kept, self.cells // 2, self.dim)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]

        answer = target["answer"] = self.teacher(target["image"])
        label, confidence = pseudo_label(answer.logits)
        trust = batch_ratio(confidence, self.threshold, target["valid"], self.borders)
        self.log_pseudo_quality(label, target["valid"] & (confidence >= self.threshold))

        truth = ground_truth(source["image"], source["mask"], source["valid"])
        unlabeled = Pixels(target["image"], label, trust, target["valid"])
        mixed = classmix(truth, unlabeled)
        size, grid = target["image"].shape[-2:], answer.features.shape[-2:]
        extent = self.student.extent(size)
        region = self.region(1, grid[0], grid[1], answer.features.device)  # 1 h w
        pasted = stretch(region, *extent)[:, : size[0], : size[1]]
        other = mix(pasted, unlabeled, cycled(truth, len(label), size))

        strong, strong_other = self.strong(mixed.image), self.strong(other.image)
        out_s = self.student(source["image"])
        with frozen_statistics(self.student, not self.update_bn_on_strong):
            out_m, out_o = self.student(strong), self.student(strong_other)

        label_t, label_o = (
            at_cells(torch.where(part.valid, part.label, IGNORE), grid, extent, IGNORE).flatten()
            for part in (unlabeled, other)
        )
        sure = at_cells(target["valid"] & (confidence > self.sure), grid, extent, False)  # B h w
        ours = rows(F.normalize(self.student.heads[HEAD](out_o.features).float(), dim=1))
        theirs = rows(F.normalize(self.teacher.head(HEAD, answer.features).float(), dim=1))
        self.recent.push(ours.detach(), label_o)
        self.recent.push(theirs, label_t)
        negatives, labels = self.recent.all()
        contrast = info_nce(ours, theirs, negatives, self.temperature, labels=(label_t, labels)).view_as(sure)
        growing = math.exp(-5 * (1 - math.sqrt(self.progress)))
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "mixed": self.weight * self.pixel_loss(out_m, mixed.label, mixed.weight, mixed.valid),
            "contrast": growing * self.contrast_weight * pixel_mean(contrast, region & sure),
        }
