"""TADA: a source and a target that tell different classes apart, and a few labels of what the source does not tell."""

from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.data import SegmentationData
from seglab.labels import IGNORE
from seglab.methods.adaptation.dacs import DACS
from seglab.networks.heads import projection_head
from seglab.ops.grid import at_cells
from seglab.ops.mixing import Pixels, classmix, ground_truth
from seglab.ops.pseudo import batch_ratio, hard_label, pseudo_label
from seglab.ops.sampled_contrast import sampled_contrast
from seglab.ops.taxonomy import keep_classes, of_domain, other_parts, relabelled, spread, unknown_classes
from seglab.ops.teacher import Teacher
from seglab.types import Batch, Output, require

HEAD = "contrast"
SOURCE, TARGET = 0, 1


class TADA(DACS):
    """TADA (Gong et al., ECCV 2022, "TACS"): taxonomy adaptive domain adaptation.

    The target has classes that the source leaves out (open), joins (coarse to fine), or both (overlapping): what
    ``data.refines`` says. A few labeled target images (``data.target_labeled_batch``) show those classes. Half of them
    are pasted into target images that the teacher labels, then half of the classes of a source image on top (bilateral
    mixing). Cells of mixed images are drawn to those of their class, pairs weighing as much as the student is sure of
    both. A coarse source label is one of its classes at random. In a second run (``relabel``, ``init_from`` the first)
    the teacher's prediction replaces it, and no label, where that is a class which the label may be.

    Deviations from the official code:
        Class 0 is no anchor, weights are permuted, a step without anchors fails -> all classes, the right order, 0.
        A few-shot image has labels of the one class it was chosen for -> of all that the source does not tell.
        Of labels that may be three classes 60 percent are exchanged -> ``exchanged`` as of all.
        Those of ``DACS``.

    Args:
        contrast_weight: of the contrast.
        temperature: of the cosine similarities.
        dim: of the embeddings.
        samples: cells compared in a step, per process.
        views: cells of a class in an image, at most; a class takes part in an image that has more.
        relabel: let the teacher replace source labels that leave the class open.
        exchanged: share of those then exchanged for another class that the label may be.
    """

    reads = {"labeled": ("mask", "domain"), "unlabeled": ()}
    adapts_classes = True

    def __init__(
        self,
        contrast_weight: float = 0.01,
        temperature: float = 0.07,
        dim: int = 256,
        samples: int = 1024,
        views: int = 100,
        relabel: bool = False,
        exchanged: float = 0.45,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(temperature > 0 and 0 <= exchanged <= 1, "TADA.exchanged", exchanged, "give [0, 1]; temperature > 0")
        require(min(dim, samples, views) >= 1, "TADA.samples, views and dim", (samples, views, dim), "give 1 or more")
        self.contrast_weight, self.temperature, self.dim = contrast_weight, temperature, dim
        self.number, self.relabel, self.exchanged = (views, samples), relabel, exchanged

    def build(self) -> None:
        super().build()
        self.student.add_head(HEAD, projection_head(self.student.feature_channels, self.dim))
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def on_fit_start(self) -> None:
        data = cast(SegmentationData, self.trainer.datamodule)  # type: ignore[attr-defined]
        self.learn_classes(torch.from_numpy(data.may_become).to(self.device))

    def learn_classes(self, may_become: Tensor) -> None:
        """Which classes a source pixel may be of, ``may_become`` 256 K bool."""
        self.may_become, self.parts, self.few = may_become, other_parts(may_become), unknown_classes(may_become)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, target = batch["labeled"], batch["unlabeled"]
        domain, number = labeled["domain"], len(target["image"])

        answer = target["answer"] = self.teacher(target["image"])
        label, confidence = pseudo_label(answer.logits)
        trust = batch_ratio(confidence, self.threshold, target["valid"], self.borders)
        self.log_pseudo_quality(label, target["valid"] & (confidence >= self.threshold))

        mask = spread(labeled["mask"], self.parts)
        if self.relabel:
            predicted = hard_label(self.teacher(labeled["image"]).logits)
            mask = spread(relabelled(mask, predicted, self.may_become, self.parts), self.parts, self.exchanged)
        ours = (domain == SOURCE).view(-1, 1, 1)
        mask = torch.where(ours & labeled["valid"], mask, labeled["mask"])
        truth = ground_truth(labeled["image"], mask, labeled["valid"])
        few = keep_classes(of_domain(truth, domain, TARGET, number), self.few)
        mixed = classmix(few, Pixels(target["image"], label, trust, target["valid"]))
        mixed = classmix(of_domain(truth, domain, SOURCE, number), mixed)

        frozen = False, not self.update_bn_on_strong
        out_l, out_m = self.student.apart(labeled["image"], self.strong(mixed.image), frozen=frozen)
        return {
            "supervised": self.supervised(out_l, mask.masked_fill(~ours, IGNORE)),
            "mixed": self.weight * self.pixel_loss(out_m, mixed.label, mixed.weight, mixed.valid),
            "contrast": self.contrast_weight * self.contrast(out_m, torch.where(mixed.valid, mixed.label, IGNORE)),
        }

    def contrast(self, out: Output, label: Tensor) -> Tensor:
        """Of the cells of images with labels B H W."""
        cell = partial(at_cells, grid=out.features.shape[-2:], extent=self.student.extent(label.shape[-2:]))
        predicted, sure = (cell(x, outside=0) for x in pseudo_label(out.logits))
        embedding = F.normalize(self.student.heads[HEAD](out.features).float(), dim=1)
        return sampled_contrast(
            embedding, cell(label, outside=IGNORE), predicted, sure, self.temperature, self.num_classes, *self.number
        )
