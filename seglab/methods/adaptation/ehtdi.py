"""EHTDI: source objects in target views, sure target pixels in source views, and contrast between both views."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.components import edge
from seglab.ops.grid import at_cells
from seglab.ops.losses import CrossEntropy, supervised_loss
from seglab.ops.mixing import IDS, classes_present, cycled, ground_truth, half, mix, paste, select
from seglab.ops.pseudo import hard_label, joint_label, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.two_views import multi_level_contrast
from seglab.ops.views import GeometricView, ResizedCropView, StrongView, View
from seglab.types import Batch, require

SIDE = 65  # cells, at most, of a side of the grid whose pixels are compared
STUFF = ("road", "sidewalk", "building", "wall", "fence", "pavement")  # pavement: CamVid's sidewalk


class EHTDI(Method):
    """EHTDI (Li et al., ACM MM 2022): high-quality target information for domain adaptation.

    The student labels target images. Objects of half of the classes of a source view are pasted into a weak and a
    strong target view; of the strong one it learns those labels. Pixels that it is sure of in the weak view are pasted
    into a strong source view, so that it learns boundaries of the target. Each class and each pixel of one view is
    found again in the other by its probabilities. It begins source-trained (``init_from``); the mean of its weights, a
    teacher that labels nothing, is evaluated. An auxiliary head (``network.aux_weight``) learns what both heads say.

    Deviations from the official code:
        Of mixed images the first alone counts, of class contrast likewise -> all of them.
        The last class can never be pasted, and road may be -> all but ``kept`` alike.
        Logits at stride 8 -> those in full resolution at the cells' centres. Padding has labels -> none.
        With edges, the auxiliary head learns mixed images, at a weight of 0.001 -> it does not.

    Args:
        weight: of the labels of strong target views.
        mix_weight: of source views with target pixels.
        contrast_weight: of each level of contrast.
        sure: probability above which a target pixel is pasted, in [0, 1].
        edges: learn the edges of what is pasted once more, and find sure pixels without source objects around.
        kept: classes that are never pasted into the target.
        decay: share of the old teacher kept per step.
        crop: the weak view.
        strong: photometric perturbation of the strong views.
    """

    objects: Tensor  # 256 bool

    def __init__(
        self,
        weight: float = 0.1,
        mix_weight: float = 0.1,
        contrast_weight: float = 0.01,
        sure: float = 0.95,
        edges: bool = False,
        kept: tuple[str, ...] = STUFF,
        decay: float = 0.999,
        crop: GeometricView = lazy_instance(ResizedCropView),
        strong: View = lazy_instance(StrongView, brightness=0.2, contrast=0.2, saturation=0.12, hue=0.11),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(0 <= sure <= 1, "EHTDI.sure", sure, "give a probability in [0, 1]")
        self.weight, self.mix_weight, self.contrast_weight = weight, mix_weight, contrast_weight
        self.sure, self.edges, self.decay, self.crop, self.strong = sure, edges, decay, crop, strong
        objects = [i for i, name in enumerate(self.class_names) if name not in kept]
        self.register_buffer("objects", torch.isin(torch.arange(IDS), torch.tensor(objects)), persistent=False)

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, warmup=False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]

        with torch.no_grad():
            answer = target["answer"] = self.student(target["image"])
        label = hard_label(answer.logits)
        self.log_pseudo_quality(label, target["valid"])
        known = ground_truth(target["image"], label.masked_fill(~target["valid"], IGNORE), target["valid"])
        pure = self.crop(known)
        truth = self.crop(ground_truth(source["image"], source["mask"], source["valid"]))
        truth = cycled(truth, len(label), pure.image.shape[-2:])
        objects = select(truth.label, half(classes_present(truth.label) & self.objects, down=True))
        weak, strong = (mix(objects, truth, pure._replace(image=x)) for x in (pure.image, self.strong(pure.image)))

        out_s, out_a, out_w = self.student.apart(source["image"], strong.image, weak.image)
        with torch.no_grad():
            found, confidence = pseudo_label((self.student(pure.image) if self.edges else out_w).logits)
        certain = weak.valid & (confidence > self.sure)
        area = paste(objects, truth.label, torch.where(certain, found, IGNORE))
        moved = certain | objects if self.edges else certain
        out_m = self.student(paste(moved, strong.image, self.strong(truth.image)))
        label_m = paste(moved, area if self.edges else found, truth.label)

        both = joint_label(out_w).masked_fill(~weak.valid, IGNORE)
        none = torch.full_like(both, IGNORE)
        learn = partial(supervised_loss, CrossEntropy())
        pseudo, mixed = learn(out_a, strong.label, {"aux": both}), learn(out_m, label_m, {"aux": none})
        if self.edges:
            ours, theirs = edge(objects), edge(certain) & ~objects
            pseudo = pseudo + learn(out_a, paste(ours, strong.label, none), {"aux": paste(ours, both, none)})
            mixed = mixed + self.mix_weight * learn(out_m, paste(theirs, label_m, none), {"aux": none})

        cell = partial(at_cells, grid=[min(cells, SIDE) for cells in out_w.features.shape[-2:]])
        cell = partial(cell, extent=self.student.extent(label_m.shape[-2:]), outside=IGNORE)
        classes, pixels = multi_level_contrast(cell(out_a.logits.float()), cell(out_w.logits.float()), cell(area))
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "pseudo": self.weight * pseudo,
            "mixed": self.mix_weight * mixed,
            "class_contrast": self.contrast_weight * classes,
            "pixel_contrast": self.contrast_weight * pixels,
        }
