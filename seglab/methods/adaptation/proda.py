"""ProDA: how near a pixel is to each class's prototype corrects the soft labels that a warm-up gave it."""

from typing import Any

import torch
import torch.nn.functional as F
from jsonargparse import lazy_instance
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.boxes import FixedAreaBox
from seglab.ops.grid import at_cells, rows
from seglab.ops.losses import pixel_cross_entropy, pixel_mean, reverse_cross_entropy
from seglab.ops.memory import Prototypes
from seglab.ops.mixing import CutOut, Pixels
from seglab.ops.nearness import denoised_label, image_means, log_nearness
from seglab.ops.pseudo import hard_label
from seglab.ops.ranks import total
from seglab.ops.teacher import Teacher
from seglab.ops.views import StrongView, View
from seglab.types import Batch, Output, require_positive, require_shares


class ProDA(Method):
    """ProDA's first stage (Zhang et al., CVPR 2021): denoised pseudo-labels and the structure of the target.

    The student begins as that of a warm-up (``init_from``), a copy of which gives target pixels soft labels for good.
    They are multiplied by how near the teacher's feature is to the prototype of each class (equations 3 to 5), and the
    most probable class is learned by symmetric cross-entropy. Nearness to the prototypes, of a weak view by the teacher
    and of a strong view by the student, should agree (equation 8). ``ProDADistillation`` are the stages after it;
    ``chain/proda_gta5_to_cityscapes.yaml`` runs all four.

    Deviations from the official code:
        Soft labels are stored -> computed by the copy. The teacher sees whole images -> the crops.
        Losses at a quarter of the resolution -> at the full one, with nearness upsampled.
        The strong view also turns and shears -> colours and a hidden box.
        Each image moves the prototypes for itself -> the step's, over all ranks, together, by fewer cells than 10, too.
        Two backward passes -> one, of the sum.

    Args:
        decay: share of the old teacher kept per step.
        momentum: share of the old prototype kept per step.
        temperature: divides distances to the prototypes.
        threshold: probability from which a corrected label counts, in [0, 1].
        cross_entropy: weight of the cross-entropy with corrected labels.
        reverse: weight of the reverse cross-entropy.
        smoothness: of -mean log p over pixels and classes; 0.1 from GTA5, 0 from SYNTHIA.
        structure: weight of the agreement of both views.
        strong: photometric perturbation of the strong view.
        hidden: largest share of the strong view that a box hides.
    """

    def __init__(
        self,
        decay: float = 0.999,
        momentum: float = 0.9999,
        temperature: float = 1.0,
        threshold: float = 0.0,
        cross_entropy: float = 0.1,
        reverse: float = 1.0,
        smoothness: float = 0.1,
        structure: float = 10.0,
        strong: View = lazy_instance(StrongView),
        hidden: float = 0.1,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_positive(self, temperature=temperature)
        require_shares(self, threshold=threshold)
        self.decay, self.momentum, self.temperature, self.threshold = decay, momentum, temperature, threshold
        self.cross_entropy, self.reverse = cross_entropy, reverse
        self.smoothness, self.structure, self.strong = smoothness, structure, strong
        self.hide = CutOut(FixedAreaBox(proportion=(hidden / 10, hidden)))

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, warmup=False)
        self.warmup = Teacher(self.student, decay=1.0, warmup=False)  # as the student is now, and in checkpoints
        self.prototypes = Prototypes(self.num_classes, self.student.feature_channels, self.momentum)

    def before_first_step(self) -> None:
        sums = torch.zeros(self.num_classes, self.student.feature_channels + 1, device=self.device)
        for sample in self.one_pass("unlabeled"):  # mean over images of the mean of an image
            out = self.student(sample["image"])
            label = self.at_cells(hard_label(out.logits), out).flatten()
            sums += image_means(rows(out.features), label, self.num_classes)
        self.prototypes.start(total(sums))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        image, valid = target["image"], target["valid"]

        answer = target["answer"] = self.teacher(image)
        near = log_nearness(answer.features, self.prototypes, self.temperature).exp()  # B K h w
        soft = self.warmup(image).logits.float().softmax(1)
        label, confidence = denoised_label(soft, self.student.restore(near, image.shape[-2:]))
        trusted = valid & (confidence >= self.threshold)
        self.log_pseudo_quality(label, trusted)

        view = Pixels(self.strong(image), label, confidence, valid)
        strong = self.hide(view, view)
        out_s, out_t, out_v = self.student(source["image"]), self.student(image), self.student(strong.image)

        shown = self.at_cells(torch.where(valid, strong.label, IGNORE), answer) != IGNORE
        ours = log_nearness(out_v.features, self.prototypes, self.temperature)
        apart = F.kl_div(ours, near, reduction="none").mean(1)  # B h w
        self.prototypes.update(rows(answer.features), self.at_cells(hard_label(answer.logits), answer).flatten())
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "corrected": self.cross_entropy * pixel_mean(pixel_cross_entropy(out_t.logits, label), trusted),
            "reverse": self.reverse * pixel_mean(reverse_cross_entropy(out_t.logits, label), trusted),
            "smooth": self.smoothness * pixel_mean(-out_t.logits.float().log_softmax(1).mean(1), valid),
            "structure": self.structure * pixel_mean(apart, shown),
        }

    def at_cells(self, label: Tensor, out: Output) -> Tensor:
        """B h w labels at the cells of an output's features."""
        return at_cells(label, out.features.shape[-2:], self.student.extent(label.shape[-2:]), IGNORE)
