"""DAFormer: DACS with a slower teacher, whose source features of things stay close to those of ImageNet."""

from typing import Any

from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.adaptation.dacs import DACS
from seglab.ops.grid import THINGS, thing_classes, thing_distance
from seglab.ops.mixing import Pixels, classmix, ground_truth
from seglab.ops.pseudo import batch_ratio, pseudo_label
from seglab.ops.teacher import Frozen
from seglab.ops.views import KorniaView, View
from seglab.types import Batch, require


class DAFormer(DACS):
    """DAFormer (Hoyer, Dai and Van Gool, CVPR 2022): DACS that does not forget what ImageNet taught it.

    Added to DACS: on source images, where one class of countable things fills a cell of the encoder's last stage, the
    feature is held close to that of a frozen ImageNet encoder; rows of a crop where target labels cannot be right may
    be ignored. The paper's sampling of rare classes is the data's ``rare_classes``, its warm-up ``schedule.warmup``,
    its network ``experiments/network/daformer_mitb5.yaml``.

    Deviations:
        The teacher is updated before a step and begins as a copy of the untrained student -> after the step, so that
            the first copy is of step one.
        Pasted classes are drawn from those of the whole batch -> from those of the source image.
        Both losses are divided by all pixels -> by labelled ones and by those that are not padding.
        Without a cell of things the feature distance is NaN -> 0.
        Three backward passes -> one, of the sum.
        Weight decay spares what has "norm" in its name -> all norms and biases (``decay_norms: false``); over the run
            it would shrink them by 1 percent in the encoder and 11 in the head.
        Those of ``DACS`` that concern mixing.

    Args:
        distance_weight: of the feature distance.
        distance_share: of a cell's pixels that one class must have, in [0, 1].
        things: names of the classes to hold; those that the data lacks do not count.
        decay: share of the old teacher kept per step.
        strong: photometric perturbation of the mixed images.

    Raises:
        SeglabError: a setting is outside its range, or none of ``things`` is a class of the data.
    """

    needs_pretrained = True

    held: Tensor  # 256 bool

    def __init__(
        self,
        distance_weight: float = 0.005,
        distance_share: float = 0.75,
        things: tuple[str, ...] = THINGS,
        decay: float = 0.999,
        strong: View = lazy_instance(KorniaView, strength=0.2),
        **common: Any,
    ) -> None:
        super().__init__(decay=decay, strong=strong, **common)
        name = type(self).__name__
        require(0 <= distance_share <= 1, f"{name}.distance_share", distance_share, "give a share in [0, 1]")
        self.distance_weight, self.distance_share = distance_weight, distance_share
        self.register_buffer("held", thing_classes(self.class_names, things, f"{name}.things"), persistent=False)

    def build(self) -> None:
        super().build()
        # Another network, because ``init_from`` may have given the student other weights than the published ones.
        self.imagenet = Frozen(self.network(self.space))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        size = source["image"].shape[-2:]

        answer = target["answer"] = self.teacher(target["image"])
        label, confidence = pseudo_label(answer.logits)
        trust = batch_ratio(confidence, self.threshold, target["valid"], self.borders)
        self.log_pseudo_quality(label, target["valid"] & (confidence >= self.threshold))

        truth = ground_truth(source["image"], source["mask"], source["valid"])
        mixed = classmix(truth, Pixels(target["image"], label, trust, target["valid"]))

        strong = self.strong(mixed.image)
        frozen = False, not self.update_bn_on_strong
        stages, stages_m = self.student.encode_apart(source["image"], strong, frozen=frozen)
        out_s, out_m = self.student.decode_apart([stages, stages_m], [size, strong.shape[-2:]], frozen)

        reference = self.imagenet.encode(source["image"])
        distance = thing_distance(
            stages, reference, source["mask"], self.student.extent(size), self.held, self.distance_share
        )
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "mixed": self.weight * self.pixel_loss(out_m, mixed.label, mixed.weight, mixed.valid),
            "feature_distance": self.distance_weight * distance,
        }
