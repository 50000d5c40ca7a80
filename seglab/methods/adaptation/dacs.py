"""DACS: regions of labeled source images are pasted into target images that the teacher has labeled."""

from typing import Any, NamedTuple

from torch import Tensor

from seglab.methods.base import Method
from seglab.ops.losses import weighted_cross_entropy
from seglab.ops.mixing import Pixels, classmix, ground_truth
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import batch_ratio, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import StrongView
from seglab.types import Batch, Output, Sample, require


class Step(NamedTuple):
    """What the student has seen and said in one step."""

    labeled: Sample
    stages: list[Tensor]  # its encoder's, of the labeled images
    out_l: Output  # of the labeled images
    mixed: Pixels
    out_m: Output  # of the mixed images


class DACS(Method):
    """DACS (Tranheden et al., WACV 2021): domain adaptation via cross-domain mixed sampling.

    An EMA teacher labels target images; half of the classes of a labeled source image are pasted onto each, and the
    student learns from the mixed images. Target pixels weigh as much as the batch has confident ones, pasted pixels 1.

    Deviations: the official code takes exactly two images per domain, draws colours and blur once for both, and may
    paste pixels that have no label as if they were a class; here any batches mix (the partner of target image i is
    source image i modulo their number), each image draws its own, and only labelled pixels are pasted. Its mean runs
    over all pixels, here padding does not count. Its teacher keeps the running statistics of its first day, which
    nothing reads; here they follow the target images, and the teacher is evaluated with them.

    Args:
        threshold: confidence from which a pixel counts as confident, in [0, 1].
        weight: of the loss on mixed images.
        decay: share of the old teacher kept per step.
        batch_statistics: the teacher's BatchNorm normalises with its own batch, not with running statistics.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation, as published: they
            are all that the student sees of the target domain, on which it is evaluated.
        strong: photometric perturbation of the mixed images.
    """

    def __init__(
        self,
        threshold: float = 0.968,
        weight: float = 1.0,
        decay: float = 0.99,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = True,
        strong: StrongView = StrongView(
            brightness=0.25,
            contrast=0.25,
            saturation=0.25,
            hue=0.25,
            grayscale_probability=0.0,
            blur_sigma=(0.15, 1.15),
        ),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(0 <= threshold <= 1, f"{type(self).__name__}.threshold", threshold, "give a confidence in [0, 1]")
        self.threshold, self.weight, self.decay = threshold, weight, decay
        self.batch_statistics, self.update_bn_on_strong = batch_statistics, update_bn_on_strong
        self.strong = strong

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled = batch["labeled"]
        mixed = self.mix(labeled, batch["unlabeled"])

        stages = self.student.encode(labeled["image"])
        out_l = self.student.decode(stages, labeled["image"].shape[-2:])
        with frozen_statistics(self.student, not self.update_bn_on_strong):
            out_m = self.student(mixed.image)
        return self.terms(Step(labeled, stages, out_l, mixed, out_m))

    def mix(self, labeled: Sample, unlabeled: Sample) -> Pixels:
        """The strong view of target images with classes of source images on them."""
        label, confidence = pseudo_label(self.teacher(unlabeled["image"]).logits)
        weight = self.trust(confidence, unlabeled["valid"])
        self.log_pseudo_quality(label, unlabeled["valid"] & (confidence >= self.threshold))

        source = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        mixed = classmix(source, Pixels(unlabeled["image"], label, weight, unlabeled["valid"]))
        return mixed._replace(image=self.strong(mixed.image))

    def trust(self, confidence: Tensor, valid: Tensor) -> Tensor:
        """Weight of each target pixel, B H W."""
        return batch_ratio(confidence, self.threshold, valid)

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The weighted losses; a method that builds on this one adds its own."""
        mixed = weighted_cross_entropy(step.out_m.logits, step.mixed.label, step.mixed.weight, step.mixed.valid)
        return {
            "supervised": self.criterion(step.out_l.logits, step.labeled["mask"]),
            "mixed": self.weight * mixed,
        }
