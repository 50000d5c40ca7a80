"""CAMix: what usually lies where, and what belongs together, says which target pixels are pasted into source images."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.adaptation.dacs import DACS
from seglab.ops.context import SpatialPrior, companions, with_companions
from seglab.ops.losses import entropy, sigmoid_rampup
from seglab.ops.mixing import Pixels, classes_present, classmix, cycled, ground_truth, half, mix, select
from seglab.ops.norm import frozen_statistics
from seglab.ops.perturb import noisy_mean
from seglab.ops.pseudo import batch_ratio, hard_label, pseudo_label
from seglab.types import Batch, Sample, require

TOGETHER = {
    **{"traffic light": ("pole",), "traffic sign": ("pole",), "sign": ("pole",)},
    **{"pole": ("traffic light", "traffic sign", "sign"), "rider": ("bicycle", "motorcycle")},
}


class CAMix(DACS):
    """CAMix (Zhou et al., TCSVT 2022): DACS that mixes images, labels and what is significant by context.

    The share of each class at each place of the source images, counted before step 0, times the teacher's
    probabilities gives a contextual label of target pixels. Half of its classes, with those that belong to them, are
    pasted into a source image. Pixels count where the entropy of the teacher's mean answer to noisy views is below
    (0.75 + 0.25 exp(-5 (1 - t / ramp_up)^2)) log K, t the share of the run that is done; of source pixels all count.
    The loss is the mean over those of weight x cross-entropy. Before ``warm_up``, ClassMix is what DACS does.

    Deviations from the official code:
        The loss is averaged before it is multiplied by the significance, which cancels -> it is weighted by pixel;
            ``significance`` false is the loss of the official code.
        Noise of a tenth of a grey level, all equal by exchanged arguments -> N(0, ``noise``) of a range of 1.
        The prior comes in a file of 1024x2048 places -> counted in ``grid`` cells and interpolated.
        Warm-up and ramp in steps -> shares of the run: 110,000 and 130,000 of 250,000, from SYNTHIA 40,000 and 10,000.
        Those of ``DACS``.

    Args:
        warm_up: share of the run with ClassMix, in [0, 1].
        ramp_up: share of the run after which every pixel counts but those of which nothing is known.
        significance: leave out target pixels of high entropy.
        passes: noisy views.
        noise: their standard deviation, at most twice as far from the image.
        grid: rows and columns of the spatial prior.
        together: class -> classes that are pasted along with it.
    """

    reads = {"labeled": ("mask",), "unlabeled": ("box", "flip", "size")}

    prior: SpatialPrior
    table: Tensor  # 256 256 bool

    def __init__(
        self,
        warm_up: float = 0.44,
        ramp_up: float = 0.52,
        significance: bool = True,
        passes: int = 8,
        noise: float = 0.02,
        grid: tuple[int, int] = (128, 256),
        together: Mapping[str, Sequence[str]] = TOGETHER,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        for name, share in (("warm_up", warm_up), ("ramp_up", ramp_up)):
            require(0 <= share <= 1, f"CAMix.{name}", share, "give a share of the run, in [0, 1]")
        require(passes >= 1, "CAMix.passes", passes, "give 1 or more")
        self.warm_up, self.ramp_up, self.significance = warm_up, ramp_up, significance
        self.passes, self.noise, self.grid = passes, noise, grid
        self.register_buffer("table", companions(self.class_names, together), persistent=False)

    def build(self) -> None:
        super().build()
        self.prior = SpatialPrior(self.num_classes, self.grid)

    def before_first_step(self) -> None:
        for sample in self.one_pass("labeled"):
            self.prior.add(sample["mask"])
        self.prior.finish()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        valid, size = target["valid"], target["image"].shape[-2:]

        answer = target["answer"] = self.teacher(target["image"])
        label, confidence = pseudo_label(answer.logits)
        trust = batch_ratio(confidence, self.threshold, valid, self.borders)
        self.log_pseudo_quality(label, valid & (confidence >= self.threshold))

        counted = valid & self.significant(target["image"]) if self.significance else valid
        unlabeled = Pixels(target["image"], label, trust, counted)
        truth = ground_truth(source["image"], source["mask"], source["valid"])
        if self.progress < self.warm_up:
            mixed = classmix(truth, unlabeled)
        else:
            mixed = mix(self.context_mask(target, answer.logits), unlabeled, cycled(truth, len(label), size))

        frozen = False, not self.update_bn_on_strong
        out_s, out_m = self.student.apart(source["image"], self.strong(mixed.image), frozen=frozen)
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "mixed": self.weight * self.pixel_loss(out_m, mixed.label, mixed.weight, mixed.valid),
        }

    def context_mask(self, target: Sample, logits: Tensor) -> Tensor:
        """B H W bool, the pixels of target images that are pasted."""
        prior = self.prior(target["box"], target["flip"], target["size"], logits.shape[-2:])
        label = hard_label(prior * logits.float().softmax(1)).masked_fill(~target["valid"], IGNORE)
        present = classes_present(label)
        return select(label, with_companions(half(present), present, self.table))

    def significant(self, image: Tensor) -> Tensor:
        """B H W bool: pixels of which the teacher knows enough at this step."""
        with frozen_statistics(self.teacher.network):
            mean = noisy_mean(lambda view: self.teacher(view).logits, image, self.passes, self.noise)
        most = 0.75 + 0.25 * sigmoid_rampup(self.progress, self.ramp_up)
        return entropy(mean.log()) < most - 1e-6  # 1, of equal probabilities, may be rounded down
