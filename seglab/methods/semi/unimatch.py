"""UniMatch: one weak view labels two strong views of the image and one perturbed view of its features."""

from typing import Any

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.ops.boxes import AreaBox, BoxSampler
from seglab.ops.mixing import partner, paste
from seglab.ops.perturb import drop_channels, feature_noise, without_dropout
from seglab.ops.pseudo import pixel_threshold, pseudo_label
from seglab.ops.views import StrongView, View
from seglab.types import Batch, require, require_least, require_shares


class UniMatch(Method):
    """UniMatch (Yang, Qi, Feng, Zhang and Shi, CVPR 2023): FixMatch with two strong views and a feature perturbation.

    The student itself labels the weak view of an unlabeled image; pixels above a threshold supervise it on two strong
    views, each with CutMix boxes of its own, and on the weak view's encoder features after channel dropout.

    What its ablations vary is here too: ``views`` 1 with perturbed features is their UniPerb, ``feature_weight`` 0
    their DusPerb, ``feature_noise`` another perturbation of features. Virtual adversarial perturbation is not here.

    Deviations:
        The code halves the sum of the losses -> the paper's sum, so with SGD its learning rates are halved in recipes.
        The CutMix partner may be another crop of the same image -> the neighbour in the batch; a labeled image at batch
            1.
        Labeled and weak images are normalised as one batch -> each with statistics of their own.
        Strong views and perturbed features enter the running statistics of batch normalisation -> only with
            ``update_bn_on_strong``, because evaluation on clean images uses them.
        Pasted boxes are labelled in evaluation mode -> in training mode like all else, with dropout off.
        Channels of the two maps that DeepLabV3+ reads are dropped -> of all maps.

    Args:
        threshold: confidence from which a pixel is trusted, in [0, 1]; 0 in UniMatch on Cityscapes.
        weight: of the consistency term, the mean over the strong views.
        feature_weight: of the same term for the perturbed features.
        views: strong views of an unlabeled image.
        dropout: share of channels that the feature perturbation drops, in [0, 1).
        feature_noise: largest relative noise of the feature perturbation; 0: none.
        update_bn_on_strong: let strong views and perturbed features enter the running statistics of batch norms.
        strong: photometric perturbation of the student's views.
        boxes: how the CutMix boxes are drawn.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        weight: float = 0.5,
        feature_weight: float = 0.5,
        views: int = 2,
        dropout: float = 0.5,
        feature_noise: float = 0.0,
        update_bn_on_strong: bool = False,
        strong: View = lazy_instance(StrongView),
        boxes: BoxSampler = lazy_instance(AreaBox),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_shares(self, threshold=threshold)
        require_least(self, 0, feature_noise=feature_noise)
        require_least(self, 1, views=views)
        require(0 <= dropout < 1, "UniMatch.dropout", dropout, "give a share in [0, 1)")
        self.threshold, self.weight, self.views = threshold, weight, views
        self.feature_weight, self.dropout, self.feature_noise = feature_weight, dropout, feature_noise
        self.update_bn_on_strong = update_bn_on_strong
        self.strong, self.boxes = strong, boxes

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, valid, size = unlabeled["image"], unlabeled["valid"], unlabeled["image"].shape[-2:]
        number, height, width = valid.shape
        still = not self.update_bn_on_strong

        # Images are mixed before they have labels, so that all go through the encoder together.
        boxes = [self.boxes(number, height, width, weak.device) for _ in range(self.views)]
        views = self.strong(torch.cat([weak] * self.views)).chunk(self.views)
        strong = [paste(box, partner(view, labeled["image"]), view) for box, view in zip(boxes, views, strict=True)]
        stages_w, stages_l, stages_s = self.student.encode_apart(
            weak, labeled["image"], torch.cat(strong), frozen=(False, False, still)
        )

        with torch.no_grad(), without_dropout(self.student):
            label, confidence = pseudo_label(self.student.decode(stages_w, size).logits)
        trusted = pixel_threshold(confidence, self.threshold)
        self.log_pseudo_quality(label, trusted > 0)

        perturbed = feature_noise(drop_channels(stages_w, self.dropout), self.feature_noise)
        out_l, out_s, out_f = self.student.decode_apart(
            [stages_l, stages_s, perturbed],
            [labeled["image"].shape[-2:], size, size],
            frozen=(False, still, still),
        )
        truth = labeled["mask"], torch.ones_like(labeled["valid"], dtype=torch.float32), labeled["valid"]
        known = [(own, partner(own, of)) for own, of in zip((label, trusted, valid), truth, strict=True)]
        consistency = [
            self.pixel_loss(out, *(paste(box, other, own) for own, other in known))
            for out, box in zip(out_s.split([number] * self.views), boxes, strict=True)
        ]
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "consistency": self.weight * torch.stack(consistency).mean(),
            "feature_consistency": self.feature_weight * self.pixel_loss(out_f, label, trusted, valid),
        }
