"""FixMatch: confident predictions on a weak view are the labels of a strong view."""

from typing import Any

from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.boxes import AreaBox, BoxSampler
from seglab.ops.mixing import Pixels, cutmix, cutmix_partner, ground_truth
from seglab.ops.pseudo import pixel_threshold, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import StrongView, View
from seglab.types import Batch, require_shares


class FixMatch(Method):
    """FixMatch (Sohn et al., NeurIPS 2020) for segmentation, as UniMatch V2 (Yang et al., TPAMI 2025) sets it up.

    An EMA teacher labels the weak view of an unlabeled image; pixels above a threshold supervise the student on a
    strong view, into which CutMix pastes a box of another image.

    Deviations:
        Sohn et al. label with the network itself -> an EMA teacher; ``decay: 0`` is the network in training mode
            (UniMatch V1, which normalises labeled and weak images as one batch), and without ``batch_statistics`` in
            evaluation mode.
        Both codes halve the sum of the losses -> the paper's sum, so with SGD their learning rates are halved in
            recipes.
        The CutMix partner may be another crop of the same image -> the neighbour in the batch; a labeled image at batch
            1.
        Strong views enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``, because
            evaluation on clean images uses them.

    Args:
        threshold: confidence from which a pixel is trusted, in [0, 1]; 0 in UniMatch on Cityscapes.
        weight: of the consistency term.
        decay: share of the old teacher kept per step; 0: the student itself.
        batch_statistics: the teacher's BatchNorm normalises with its own batch. With running statistics, which are
            those of labeled images, labels of another drive are wrong and sure of it: experiments/README.md.
        update_bn_on_strong: let strong views enter the running statistics of batch normalisation.
        strong: photometric perturbation of the student's view.
        boxes: how the CutMix boxes are drawn.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        weight: float = 1.0,
        decay: float = 0.996,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(StrongView),
        boxes: BoxSampler = lazy_instance(AreaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold)
        self.threshold, self.weight = threshold, weight
        self.decay, self.batch_statistics = decay, batch_statistics
        self.update_bn_on_strong = update_bn_on_strong
        self.strong, self.boxes = strong, boxes

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid = unlabeled["image"], unlabeled["valid"]

        answer = unlabeled["answer"] = self.teacher(weak)
        label, confidence = pseudo_label(answer.logits)
        trusted = pixel_threshold(confidence, self.threshold)
        self.log_pseudo_quality(label, trusted > 0)

        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        view = Pixels(self.strong(weak), label, trusted, valid)
        mixed = cutmix(self.boxes, cutmix_partner(view, truth), view)

        frozen = False, not self.update_bn_on_strong
        out_l, out_s = self.student.apart(labeled["image"], mixed.image, frozen=frozen)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "consistency": self.weight * self.pixel_loss(out_s, mixed.label, mixed.weight, mixed.valid),
        }
