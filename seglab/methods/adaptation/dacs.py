"""DACS: regions of labeled source images are pasted into target images that the teacher has labeled."""

from typing import Any

from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.mixing import Pixels, classmix, ground_truth
from seglab.ops.pseudo import batch_ratio, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import KorniaView, View
from seglab.types import Batch, require


class DACS(Method):
    """DACS (Tranheden et al., WACV 2021): domain adaptation via cross-domain mixed sampling.

    An EMA teacher labels target images; half of the classes of a labeled source image are pasted onto each, and the
    student learns from the mixed images. Target pixels weigh as much as the batch has confident ones, pasted pixels 1.

    Deviations:
        Exactly two images per domain -> any number; target image i meets source image i modulo their number.
        Colours and blur are drawn once for both images -> for each image.
        Pixels without a label may be pasted, as if they were a class -> only labelled pixels are.
        The mean runs over all pixels -> padding does not count.
        The teacher keeps the running statistics of its first day, which nothing reads -> they follow the target images,
            and the teacher is evaluated with them.

    Args:
        threshold: confidence from which a pixel counts as confident, in [0, 1].
        weight: of the loss on mixed images.
        decay: share of the old teacher kept per step.
        batch_statistics: the teacher's BatchNorm normalises with its own batch, not with running statistics.
        update_bn_on_strong: let mixed images enter the running statistics of batch normalisation, as published: they
            are all that the student sees of the target domain, on which it is evaluated.
        ignore_top: rows at the top of a target crop whose labels are not trusted, pixels. DAFormer's: 15 of 512.
        ignore_bottom: likewise at the bottom, where the bonnet of the car is. DAFormer's: 120 of 512.
        strong: photometric perturbation of the mixed images.
    """

    def __init__(
        self,
        threshold: float = 0.968,
        weight: float = 1.0,
        decay: float = 0.99,
        batch_statistics: bool = True,
        update_bn_on_strong: bool = True,
        ignore_top: int = 0,
        ignore_bottom: int = 0,
        strong: View = lazy_instance(KorniaView, strength=0.25),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        name = type(self).__name__
        require(0 <= threshold <= 1, f"{name}.threshold", threshold, "give a confidence in [0, 1]")
        require(ignore_top >= 0, f"{name}.ignore_top", ignore_top, "give a number of pixels, 0 or more")
        require(ignore_bottom >= 0, f"{name}.ignore_bottom", ignore_bottom, "give a number of pixels, 0 or more")
        self.threshold, self.weight, self.decay = threshold, weight, decay
        self.batch_statistics, self.update_bn_on_strong = batch_statistics, update_bn_on_strong
        self.borders, self.strong = (ignore_top, ignore_bottom), strong

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, batch_statistics=self.batch_statistics)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]

        answer = target["answer"] = self.teacher(target["image"])
        label, confidence = pseudo_label(answer.logits)
        trust = batch_ratio(confidence, self.threshold, target["valid"], self.borders)
        self.log_pseudo_quality(label, target["valid"] & (confidence >= self.threshold))

        truth = ground_truth(source["image"], source["mask"], source["valid"])
        mixed = classmix(truth, Pixels(target["image"], label, trust, target["valid"]))

        strong = self.strong(mixed.image)
        out_s, out_m = self.student.apart(source["image"], strong, frozen=(False, not self.update_bn_on_strong))
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "mixed": self.weight * self.pixel_loss(out_m, mixed.label, mixed.weight, mixed.valid),
        }
