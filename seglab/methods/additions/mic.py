"""MIC: predict the hidden parts of a target image from the parts that are left."""

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Addition, Method
from seglab.ops.mixing import Pixels, block_mask, ground_truth, paste, resized
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import batch_ratio, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import KorniaView, View
from seglab.types import Batch, Sample, require


class MIC(Addition):
    """Masked image consistency (Hoyer, Dai, Wang and Van Gool, CVPR 2023), on top of any method.

    The student sees an unlabeled image with most of its blocks replaced by the mean colour and must predict the label
    that the teacher gives to the whole image, at every pixel. The pixels weigh as much as the batch has confident ones.

    Uses the method's teacher, and its answers where it has labeled these images already; a method without a teacher
    gets one, which is then evaluated too.

    Deviations:
        The code shares weights with the method where it can -> threshold and ignored rows are set here and should equal
            the method's.
        Masked images enter the running statistics of batch normalisation -> only with ``update_bn_on_strong``.
        The mean divides by all pixels -> by those that are not padding.

    Args:
        block: side of a block, pixels: 64 for crops of 1024, 32 for 512.
        ratio: share of the blocks that are hidden, in [0, 1].
        weight: of the term.
        threshold: confidence from which a pixel counts as confident, in [0, 1].
        decay: of the teacher, where the method has none.
        ignore_top: rows at the top of a crop whose labels are not trusted, pixels.
        ignore_bottom: likewise at the bottom.
        with_source: half of the masked images, rounded up, are labeled ones with their truth, as the code does from
            Cityscapes to ACDC and Dark Zurich (its mode ``separate``, without colour jitter: ``strong: NoView``).
        update_bn_on_strong: let masked images enter the running statistics of batch normalisation.
        strong: photometric perturbation under the mask.
    """

    reads = {"unlabeled": ()}

    def __init__(
        self,
        block: int = 32,
        ratio: float = 0.7,
        weight: float = 1.0,
        threshold: float = 0.968,
        decay: float = 0.999,
        ignore_top: int = 0,
        ignore_bottom: int = 0,
        with_source: bool = False,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(KorniaView, strength=0.2),
    ) -> None:
        super().__init__()
        require(block >= 1, "MIC.block", block, "give a side of 1 pixel or more")
        require(0.0 <= ratio <= 1.0, "MIC.ratio", ratio, "give a share in [0, 1]")
        require(0.0 <= threshold <= 1.0, "MIC.threshold", threshold, "give a confidence in [0, 1]")
        require(
            min(ignore_top, ignore_bottom) >= 0,
            "MIC.ignore_top and ignore_bottom",
            (ignore_top, ignore_bottom),
            "give 0 or more",
        )
        self.block, self.ratio, self.weight, self.threshold, self.decay = block, ratio, weight, threshold, decay
        self.borders = ignore_top, ignore_bottom
        if with_source:
            self.reads = {"labeled": ("mask",), "unlabeled": ()}
        self.with_source, self.update_bn_on_strong, self.strong = with_source, update_bn_on_strong, strong

    def build(self, method: Method) -> None:
        if not method.has_teacher:
            method.teacher = Teacher(method.student, self.decay)

    def losses(self, method: Method, batch: Batch) -> dict[str, Tensor]:
        unlabeled = batch["unlabeled"]
        image, valid = unlabeled["image"], unlabeled["valid"]

        answer = unlabeled["answer"] if "answer" in unlabeled else method.teacher(image)
        label, confidence = pseudo_label(answer.logits)
        weight = batch_ratio(confidence, self.threshold, valid, self.borders)
        if "unlabeled" not in type(method).reads:  # otherwise the method shows its own labels
            method.log_pseudo_quality(label, weight > 0)

        pixels = Pixels(image, label, weight, valid)
        if self.with_source:
            pixels = with_truth(pixels, batch["labeled"])
        image = pixels.image
        batch_size, _, height, width = image.shape
        seen = block_mask((batch_size, height, width), self.block, self.ratio, image.device)
        masked = paste(seen, self.strong(image), method.student.mean.to(image.dtype).expand_as(image))
        with frozen_statistics(method.student, not self.update_bn_on_strong):
            out = method.student(masked)
        return {"masked": self.weight * method.pixel_loss(out, pixels.label, pixels.weight, pixels.valid)}


def with_truth(pixels: Pixels, labeled: Sample) -> Pixels:
    """Half of the images, rounded up, give way to labeled images with their truth."""
    truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"] & (labeled["mask"] != IGNORE))
    count = min((len(pixels.image) + 1) // 2, len(truth.image))
    truth = resized(Pixels(*(x[:count] for x in truth)), pixels.image.shape[-2:])
    return Pixels(*(torch.cat([theirs, ours[: len(ours) - count]]) for theirs, ours in zip(truth, pixels, strict=True)))
