"""Segmentation scores from one confusion matrix."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from seglab.labels import IGNORE
from seglab.ops.counting import counted
from seglab.types import SeglabError


class SegmentationMetric(Metric):
    """Mean IoU, IoU by class and accuracies over all pixels seen, summed over processes.

    A class that occurs neither in the truth nor in the prediction has no IoU (NaN) and is left out of every mean. A
    class that is predicted but never true has IoU 0 and counts. Pixels whose truth is 255 are not seen at all.

    Attributes:
        confusion: K x K int64 pixel counts of this process; row = truth, column = prediction.
        counted: the same over all processes, on the CPU, at the last ``compute``; a reset keeps it.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor
    counted: Tensor

    def __init__(self, class_names: Sequence[str], subsets: Mapping[str, Sequence[int]] | None = None) -> None:
        """
        Args:
            class_names: K names; the position is the class index.
            subsets: name of a further mean (``"mIoU16"``) -> class indices it averages over.

        Raises:
            SeglabError: a subset names a class index that does not exist.
        """
        super().__init__()
        self.class_names = tuple(class_names)
        self.subsets = {name: list(indices) for name, indices in (subsets or {}).items()}
        size = len(self.class_names)
        for name, indices in self.subsets.items():
            if outside := [index for index in indices if not 0 <= index < size]:
                raise SeglabError(f"subset {name} lists classes {outside}: class indices are 0 to {size - 1}")
        self.add_state("confusion", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count predicted classes B H W against true ones (both int; true 255 = ignore)."""
        size = len(self.class_names)
        pair = target.long() * size + prediction
        cell = torch.where(target == IGNORE, size * size, pair)
        self.confusion += counted(cell, size * size + 1)[:-1].view(size, size)

    def compute(self) -> dict[str, float]:
        """Scores in [0, 1] or NaN: mIoU, each subset, pixel_accuracy, mean_accuracy and IoU/<class>."""
        self.counted = self.confusion.cpu()  # inside compute the state is the sum over processes
        confusion = self.counted.double()
        hit, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        iou = hit / (truth + predicted - hit)  # 0 / 0 is the NaN wanted
        scores = {
            "mIoU": iou.nanmean(),
            **{name: iou[indices].nanmean() for name, indices in self.subsets.items()},
            "pixel_accuracy": hit.sum() / truth.sum(),
            "mean_accuracy": (hit / truth).nanmean(),
            **{f"IoU/{name}": value for name, value in zip(self.class_names, iou, strict=True)},
        }
        return {name: value.item() for name, value in scores.items()}
