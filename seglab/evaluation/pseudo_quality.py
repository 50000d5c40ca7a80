"""How good pseudo-labels are, seen with ground truth that training never reads."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from seglab.labels import IGNORE
from seglab.ops.counting import counted


class PseudoLabelQuality(Metric):
    """Accuracy and coverage of pseudo-labels, by class, since the last reset; summed over processes.

    Args:
        class_names: K names; the position is the class index.
    """

    full_state_update = False
    confusion: Tensor
    seen: Tensor

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        size = len(self.class_names)
        self.add_state("confusion", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")  # truth, label
        self.add_state("seen", torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, label: Tensor, selected: Tensor, truth: Tensor) -> None:
        """Count pseudo-labels B H W int64, of which ``selected`` (bool) are used, against hidden truth B H W uint8."""
        size, truth = len(self.class_names), truth.long()
        known = truth != IGNORE
        cell = torch.where(known & selected, truth * size + label, size * size)
        self.confusion += counted(cell, size * size + 1)[:-1].view(size, size)
        self.seen += counted(torch.where(known, truth, size), size + 1)[:-1]

    def compute(self) -> dict[str, float]:
        """In [0, 1] or NaN: ``accuracy`` of selected pixels, ``coverage`` (share of pixels selected) and both by class.

        ``accuracy/<class>`` is over pixels labelled as the class, ``coverage/<class>`` over pixels that truly are it.
        ``right/<class>`` is the share of the latter that is selected with the right label: labels can be 99 % accurate
        and give a true class to its neighbour everywhere.
        """
        confusion, seen = self.confusion.cpu().double(), self.seen.cpu().double()
        hit, truth, labelled = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        scores = {"accuracy": (hit.sum() / truth.sum()).item(), "coverage": (truth.sum() / seen.sum()).item()}
        for index, name in enumerate(self.class_names):
            scores[f"accuracy/{name}"] = (hit[index] / labelled[index]).item()
            scores[f"coverage/{name}"] = (truth[index] / seen[index]).item()
            scores[f"right/{name}"] = (hit[index] / seen[index]).item()
        return scores
