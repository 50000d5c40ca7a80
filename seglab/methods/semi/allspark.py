"""AllSpark: labeled features are reborn from unlabeled ones, so that few labels cannot be learned by heart."""

from typing import Any, cast

import torch
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.networks.allspark import AllSparkBlock
from seglab.ops.perturb import evaluation_mode
from seglab.ops.pseudo import hard_label
from seglab.ops.views import StrongView, View
from seglab.types import Batch, require, require_least


class AllSpark(Method):
    """AllSpark (Wang, Zhang, Li and Li, CVPR 2024): reborn labeled features from unlabeled in a transformer.

    Each channel of the labeled images' last encoder stage is replaced by a mixture of channels of unlabeled images, or
    of a memory of channels by class (S-Mem). The student labels unlabeled images itself, and learns from all pixels of
    the same view. Made for SegFormer (``network/segformer_mitb5.yaml``); any network will do. Only this method knows
    the block: a run of another method that begins as this student leaves it out.

    Deviations:
        The sum of the losses is halved -> the sum; with SGD, learning rates are halved in recipes.
        At inference and for pseudo-labels, images of a batch are each other's unlabeled half -> each is its own.
        Stages need equal batches and square crops of one size -> any; the memory is interpolated to the grid.
        Labeled and unlabeled images form one batch -> they go through the encoder apart.
        Padding counts in the unlabeled term -> it does not.

    Args:
        weight: of the unlabeled term.
        memory_from: step from which the labeled channels come from the memory; 5 epochs on VOC, 15 on Cityscapes.
        heads: of the attention between channels.
        dropout: of the attention, in [0, 1).
        grid: rows and columns of the channels in the memory: crop // 32 + 1 in the paper.
        strong: photometric perturbation of the labeled images.
    """

    def __init__(
        self,
        weight: float = 1.0,
        memory_from: int = 0,
        heads: int = 2,
        dropout: float = 0.1,
        grid: int = 17,
        strong: View = lazy_instance(StrongView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_least(self, 1, heads=heads, grid=grid)
        require(0 <= dropout < 1, "AllSpark.dropout", dropout, "give a share in [0, 1)")
        self.weight, self.memory_from = weight, memory_from
        self.heads, self.dropout, self.grid, self.strong = heads, dropout, grid, strong

    def build(self) -> None:
        super().build()
        channels = self.student.coarsest_channels()
        block = AllSparkBlock(channels, self.num_classes, self.heads, self.dropout, self.grid)
        self.student.add_head("bridge", block)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, valid = unlabeled["image"], unlabeled["valid"]

        with torch.no_grad(), evaluation_mode(self.student):
            answer = unlabeled["answer"] = self.student(image)
        label = hard_label(answer.logits)
        self.log_pseudo_quality(label, valid)

        stages_l, stages_u = self.student.encode(self.strong(labeled["image"])), self.student.encode(image)
        block = cast(AllSparkBlock, self.student.heads["bridge"])
        stages_l, stages_u = block.reborn(stages_l, stages_u, answer.logits, self.global_step >= self.memory_from)
        out_l = self.student.decode(stages_l, labeled["image"].shape[-2:])
        out_u = self.student.decode(stages_u, image.shape[-2:])
        return {
            "supervised": self.supervised(out_l, labeled["mask"]),
            "unsupervised": self.weight * self.pixel_loss(out_u, label, valid.float(), valid),
        }
