"""AEL: classes that are learned badly are pasted, cut and sampled more often."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.boxes import BoxSampler, FixedAreaBox
from seglab.ops.components import component_box
from seglab.ops.losses import pixel_mean
from seglab.ops.memory import ConfidenceBank
from seglab.ops.mixing import Pixels, cutmix_partner, ground_truth, mix, select
from seglab.ops.pseudo import hard_label, pixel_threshold, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.types import Batch, Output, require

NEVER_PASTED = (
    *("road", "sidewalk", "building", "vegetation", "sky"),
    *("pavement", "tree", "background"),  # what CamVid and Pascal VOC call theirs
)


class AEL(Method):
    """AEL (Hu, Wei, Hu, Ye, Cui and Wang, NeurIPS 2021): adaptive equalization learning, on top of a mean teacher.

    A bank has the confidence b_c of each class, a running mean of the student's probability of the true class.

        Copy-Paste: classes drawn with softmax((1 - b_c)^(1/2)) are pasted from one labeled image into another.
        CutMix: for each image a class is drawn with softmax(1 - b_c), a partner that shows it, and of that the bounding
            box of one of its components of the class.
        Sampling: a pixel that the student predicts as c counts with probability ((1 - b_c) / max_k (1 - b_k))^s.
        Re-weighting: pixels weigh q^gamma, q the teacher's confidence: sum(w CE) / sum(w), on labeled images too.

    Deviations:
        The CutMix partner comes from all unlabeled images, by a memory of which classes the teacher saw in them -> from
            the batch, by what the teacher sees now: data then depends on the position alone, and a run resumes to the
            bit. ``candidates`` makes the batch a larger pool, of which one in so many is mixed and learned from. A
            labeled image is the partner at batch 1.
        Images that are pasted from are drawn apart, at scales of 0.1 to 2 -> the neighbour in the labeled batch, as it
            is; nothing is pasted at batch 1. One draw of the classes for the batch of a process, as in the code.
        Confidences begin at random and are each process's own -> at 0, then at those of the first batch with the class,
            over all ranks. Those of absent classes shrink -> they stay, unless ``shrink_absent``.
        Components are told apart pixel by pixel -> in cells of 8 pixels.
        Classes that are never pasted have fixed numbers, those of Cityscapes, on Pascal VOC too -> names.
        Padding counts in sum(w), and is labeled as class 0 -> it does not count.
        The code divides losses by the number of processes -> recipes have the effective learning rate.
        Mixed images enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.

    Args:
        threshold: confidence from which a pixel has a pseudo-label, in [0, 1]; 0 on Cityscapes.
        weight: of the consistency terms of labeled and of mixed images.
        candidates: one unlabeled image in so many is mixed and learned from; the others are only looked at.
        paste: probability that a labeled image gets pixels of another.
        pasted_classes: classes drawn for that in a step; the same one may be drawn again.
        never_pasted: names of classes that are not; those that the data lacks do not count.
        component_area: a component whose box is cut has more than this share of the image; else any box is cut.
        class_area: share of the image from which it shows a class.
        gamma: exponent of the confidence that weighs a pixel; 0: all alike.
        sampling: exponent s of the share of pixels that count; 0: all do.
        momentum: share of the old confidence kept per step.
        shrink_absent: let the confidence of a class shrink in a step whose labeled images do not show it.
        decay: share of the old teacher kept per step, after a warm-up.
        batch_statistics: the teacher's BatchNorm normalises its own batch.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation.
        boxes: what is cut where no component is large enough.

    Raises:
        SeglabError: a setting is outside its range, or no class may be pasted.
    """

    pasted: Tensor  # K bool

    def __init__(
        self,
        threshold: float = 0.7,
        weight: float = 1.0,
        candidates: int = 1,
        paste: float = 0.5,
        pasted_classes: int = 3,
        never_pasted: tuple[str, ...] = NEVER_PASTED,
        component_area: float = 0.005,
        class_area: float = 0.01,
        gamma: float = 2.0,
        sampling: float = 1.0,
        momentum: float = 0.999,
        shrink_absent: bool = False,
        decay: float = 0.99,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = False,
        boxes: BoxSampler = lazy_instance(FixedAreaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        for name, value in (("threshold", threshold), ("paste", paste)):
            require(0 <= value <= 1, f"AEL.{name}", value, "give a number in [0, 1]")
        for name, value in (("candidates", candidates), ("pasted_classes", pasted_classes)):
            require(value >= 1, f"AEL.{name}", value, "give 1 or more")
        for name, value in (("weight", weight), ("gamma", gamma), ("sampling", sampling)):
            require(value >= 0, f"AEL.{name}", value, "give 0 or more")
        pasted = torch.tensor([name.lower() not in never_pasted for name in self.class_names])
        require(bool(pasted.any()), "AEL.never_pasted", list(never_pasted), "leave a class that may be pasted")
        self.register_buffer("pasted", pasted, persistent=False)
        self.threshold, self.weight, self.candidates = threshold, weight, candidates
        self.paste, self.pasted_classes = paste, pasted_classes
        self.component_area, self.class_area = component_area, class_area
        self.gamma, self.sampling, self.decay, self.batch_statistics = gamma, sampling, decay, batch_statistics
        self.update_bn_on_strong, self.boxes = update_bn_on_strong, boxes
        self.bank = ConfidenceBank(self.num_classes, momentum, shrink_absent)

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        truth = self.copy_paste(ground_truth(labeled["image"], labeled["mask"], labeled["valid"]))

        answer_l, answer = self.teacher.apart(truth.image, unlabeled["image"])
        unlabeled["answer"] = answer
        label, confidence = pseudo_label(answer.logits)
        self.log_pseudo_quality(label, pixel_threshold(confidence, self.threshold) > 0)
        mixed = self.cutmix(Pixels(unlabeled["image"], label, confidence, unlabeled["valid"]), truth)

        frozen = False, not self.update_bn_on_strong
        out_l, out_m = self.student.apart(truth.image, mixed.image, frozen=frozen)
        self.bank.follow(out_l.logits, truth.label)
        return {
            "supervised": self.supervised(out_l, truth.label),
            "consistency_labeled": self.weight * self.consistency(out_l, *pseudo_label(answer_l.logits), truth.valid),
            "consistency": self.weight * self.consistency(out_m, mixed.label, mixed.weight, mixed.valid),
        }

    def copy_paste(self, truth: Pixels) -> Pixels:
        """Labeled images, some with the pixels of badly learned classes of their neighbours."""
        classes = torch.zeros(IGNORE + 1, dtype=torch.bool, device=truth.label.device)
        classes.scatter_(0, self.bank.draw(self.pasted_classes, 0.5, self.pasted), True)
        other = Pixels(*(x.roll(1, 0) for x in truth))
        chosen = torch.rand(len(truth.label), 1, 1, device=truth.label.device) < self.paste
        return mix(chosen & select(other.label, classes.expand(len(other.label), -1)), other, truth)

    def cutmix(self, pool: Pixels, truth: Pixels) -> Pixels:
        """The first images of the pool, each with the box of a badly learned class of another one."""
        number = max(1, len(pool.label) // self.candidates)
        own, wanted = Pixels(*(x[:number] for x in pool)), self.bank.draw(number)
        other = self.partners(pool, wanted) if len(pool.label) > 1 else cutmix_partner(pool, truth)
        box, found = component_box(other.label == wanted.view(-1, 1, 1), self.component_area)
        any_box = self.boxes(number, box.shape[1], box.shape[2], box.device)
        return mix(torch.where(found.view(-1, 1, 1), box, any_box), other, own)

    def partners(self, pool: Pixels, wanted: Tensor) -> Pixels:
        """For each of the first n images of the pool another one: one that shows the class ``wanted`` (n), else any."""
        shows = torch.stack([(pool.label == c).float().mean((1, 2)) for c in wanted]) >= self.class_area  # n B
        score = torch.rand(shows.shape, device=shows.device) + shows.float()
        partner = score.fill_diagonal_(-1.0).max(1).indices  # never the image itself
        return Pixels(*(x[partner] for x in pool))

    def consistency(self, out: Output, label: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
        """sum(w CE) / sum(w) over valid pixels with confidence^gamma on those that are sampled; all B H W."""
        chance = self.bank.weakness(self.sampling)[hard_label(out.logits)]
        weight = confidence**self.gamma * (torch.rand_like(chance) < chance)
        mean = pixel_mean(weight, valid).clamp(min=1e-12)
        sure = torch.where(confidence >= self.threshold, label, IGNORE)
        return self.pixel_loss(out, sure, weight / mean, valid)
