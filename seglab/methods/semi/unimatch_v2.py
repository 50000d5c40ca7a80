"""UniMatch V2: two strong views, each with the encoder channels that the other lacks."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.boxes import AreaBox, BoxSampler
from seglab.ops.mixing import Pixels, cutmix, cutmix_partner, ground_truth
from seglab.ops.perturb import complementary_dropout
from seglab.ops.pseudo import pixel_threshold, pseudo_label
from seglab.ops.teacher import Teacher
from seglab.ops.views import StrongView, View
from seglab.types import Batch, require_shares


class UniMatchV2(Method):
    """UniMatch V2 (Yang, Zhao and Zhao, TPAMI 2025): image and feature perturbation in the same two streams.

    An EMA teacher labels the weak view of an unlabeled image; pixels above a threshold supervise the student on two
    strong views, each with CutMix boxes of its own and with complementary channels of the encoder's features.

    Made for DINOv2 with a DPT head (``experiments/network/dpt_dinov2_small.yaml``); any network will do.

    Deviations:
        The code halves the sum of both losses, which AdamW does not feel -> the sum.
        The batch is mirrored, so that an image can be its own CutMix partner -> the neighbour in the batch; a labeled
            image at batch 1.
        Strong views enter the running statistics of batch normalisation, if there is any -> only with
            ``update_bn_on_strong``.

    Args:
        threshold: confidence from which a pixel is trusted, in [0, 1].
        weight: of the consistency term, the mean over both strong views.
        intact: share of the images whose two views keep all channels, in [0, 1].
        decay: share of the old teacher kept per step.
        average_buffers: average the running statistics of batch normalisation too, as the code does; else copy them.
        update_bn_on_strong: let strong views enter the running statistics of batch normalisation.
        strong: photometric perturbation of the student's views.
        boxes: how the CutMix boxes are drawn.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        weight: float = 1.0,
        intact: float = 0.5,
        decay: float = 0.996,
        average_buffers: bool = True,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(StrongView),
        boxes: BoxSampler = lazy_instance(AreaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold, intact=intact)
        self.threshold, self.weight, self.decay = threshold, weight, decay
        self.intact, self.average_buffers = intact, average_buffers
        self.update_bn_on_strong = update_bn_on_strong
        self.strong, self.boxes = strong, boxes

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, average_buffers=self.average_buffers)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid, size = unlabeled["image"], unlabeled["valid"], unlabeled["image"].shape[-2:]

        answer = unlabeled["answer"] = self.teacher(weak)
        label, confidence = pseudo_label(answer.logits)
        trusted = pixel_threshold(confidence, self.threshold)
        self.log_pseudo_quality(label, trusted > 0)

        truth = ground_truth(labeled["image"], labeled["mask"], labeled["valid"])
        images = self.strong(torch.cat([weak, weak])).chunk(2)
        views = [Pixels(image, label, trusted, valid) for image in images]
        mixed = [cutmix(self.boxes, cutmix_partner(view, truth), view) for view in views]

        frozen = False, not self.update_bn_on_strong
        strong = torch.cat([view.image for view in mixed])
        stages_l, stages_s = self.student.encode_apart(labeled["image"], strong, frozen=frozen)
        stages = [stages_l, complementary_dropout(stages_s, self.intact)]
        out_l, out_s = self.student.decode_apart(stages, [labeled["image"].shape[-2:], size], frozen)
        outs = out_s.split([len(weak)] * 2)
        consistency = [
            self.pixel_loss(out, view.label, view.weight, view.valid) for out, view in zip(outs, mixed, strict=True)
        ]
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "consistency": self.weight * torch.stack(consistency).mean(),
        }
