"""PS-MT: two teachers that learn in turn, and a student whose features they disturb."""

from functools import partial
from typing import Any

from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.networks import NetworkOfRun
from seglab.ops.boxes import BetaBox, BoxSampler
from seglab.ops.losses import cosine_rampup
from seglab.ops.mixing import Pixels, cutmix, cutmix_partner, ground_truth
from seglab.ops.norm import frozen_statistics
from seglab.ops.perturb import AdversarialNoise
from seglab.ops.pseudo import pseudo_label
from seglab.ops.teacher import AlternatingTeachers, Teacher
from seglab.ops.views import StrongView, View
from seglab.types import Batch, Output, require, require_least, require_shares


class PSMT(Method):
    """PS-MT (Liu, Tian, Chen, Liu, Belagiannis and Carneiro, CVPR 2022): perturbed and strict mean teachers.

    Two EMA teachers, of which one follows the student for an epoch and then the other, label the weak view of unlabeled
    images together. Confident pixels, weighted by their confidence, supervise the student on a strong view with CutMix
    boxes. Its features, of labeled images too, carry the noise that changes the teachers' prediction most (T-VAT).

    In the paper each of the three networks first learns from labeled images by itself (``seglab chain`` with
    ``chain/psmt_voc.yaml``). Without ``first`` and ``second``, both teachers are averages of the student, which learns
    from labeled images alone for ``sup_only_steps``.

    Deviations:
        Noise on the map that the decoder's 3x3 convolutions see -> on the encoder's maps, as one vector.
        A first direction of length 0.000001, which float32 loses beside the features -> of length 1.
        Teachers normalise with their batch, and their running statistics follow the student, too -> only their own
            images with ``batch_statistics``, else the student's statistics alone.
        The CutMix partner is drawn at random -> the neighbour in the batch; a labeled image at batch 1.
        On Cityscapes boxes of three images are pasted one over the other -> boxes of one image, overlaps toggle.
        Mixed views enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.

    Args:
        weight: of the unlabeled term: 1.5 on VOC with SBD's masks, 0.6 on its own (0.06 for 92), 3 on Cityscapes.
        ramp_up: steps over which it rises as (1 - cos(pi t)) / 2; 12 epochs in the paper.
        threshold: confidence from which a pixel counts, in [0, 1].
        decay: share of the old teacher kept per step.
        period: steps for which a teacher follows the student; an epoch in the paper.
        assistant: most probable classes of which the other teacher's logits count.
        noise: on the features of an image.
        sup_only_steps: steps before the unlabeled term and the turns begin.
        first, second: runs whose students the teachers begin as; empty: as the student.
        batch_statistics: the teachers' BatchNorm normalises with its own batch, except under noise.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        strong: photometric perturbation of the student's views.
        boxes: how the CutMix boxes are drawn.
    """

    teacher: AlternatingTeachers  # type: ignore[assignment]

    def __init__(
        self,
        weight: float = 1.5,
        ramp_up: int = 0,
        threshold: float = 0.6,
        decay: float = 0.996,
        period: int = 100,
        assistant: int = 7,
        noise: AdversarialNoise = AdversarialNoise(),
        sup_only_steps: int = 0,
        first: str = "",
        second: str = "",
        batch_statistics: bool = True,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(StrongView),
        boxes: BoxSampler = lazy_instance(BetaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold)
        require_least(self, 1, period=period, assistant=assistant)
        require(bool(first) == bool(second), "PSMT.first and second", (first, second), "give two runs or none")
        self.weight, self.ramp_up, self.threshold = weight, ramp_up, threshold
        self.decay, self.period, self.assistant = decay, period, assistant
        self.noise, self.sup_only_steps, self.first, self.second = noise, sup_only_steps, first, second
        self.batch_statistics, self.update_bn_on_strong = batch_statistics, update_bn_on_strong
        self.strong, self.boxes = strong, boxes

    def build(self) -> None:
        super().build()
        begin = [NetworkOfRun(self.space, run) if run else self.student for run in (self.first, self.second)]
        alone = not self.first  # a trained teacher is not to become the student
        first, second = (Teacher(net, self.decay, alone, True, self.batch_statistics) for net in begin)
        self.teacher = AlternatingTeachers(first, second, self.period, self.sup_only_steps, alone)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]

        answer = unlabeled["answer"] = self.teacher.assisted(unlabeled["image"], self.global_step, self.assistant)
        label, confidence = pseudo_label(answer.logits)
        self.log_pseudo_quality(label, confidence >= self.threshold)

        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        view = Pixels(self.strong(unlabeled["image"]), label, confidence, unlabeled["valid"])
        mixed = cutmix(self.boxes, cutmix_partner(view, truth), view)
        trusted = mixed.valid & (mixed.weight >= self.threshold)

        out_l = self.disturbed(self.strong(labeled["image"]))
        with frozen_statistics(self.student, not self.update_bn_on_strong):
            out_u = self.disturbed(mixed.image)
        weight = self.weight * cosine_rampup(self.global_step, self.ramp_up, self.sup_only_steps)
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "unsupervised": weight * self.pixel_loss(out_u, mixed.label, mixed.weight, trusted),
        }

    def disturbed(self, image: Tensor) -> Output:
        """The student's output from features with the noise that changes the teachers' prediction most."""
        stages, size = self.student.encode(image), image.shape[-2:]
        stages = self.noise(stages, partial(self.teacher.decode, size=size))
        return self.student.decode(stages, size)
