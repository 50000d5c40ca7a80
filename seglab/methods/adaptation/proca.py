"""ProCA: features and predictions of both domains are drawn to the class prototypes of both."""

from typing import Any

import torch
import torch.nn.functional as F
from jsonargparse import lazy_instance
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.contrast import prototype_cross_entropy
from seglab.ops.grid import at_cells, rows
from seglab.ops.losses import lovasz_softmax
from seglab.ops.memory import RunningMeans, class_sums
from seglab.ops.ranks import total
from seglab.ops.views import NoView, View
from seglab.types import Batch, Output, require


class ProCA(Method):
    """ProCA (Jiang et al., ECCV 2022): prototypical contrast adaptation.

    Each class has the mean of its features, and that of its logits, over all cells seen so far: of source cells by
    their labels, of target cells by the student's predictions. Cells of both domains are classified by their cosine
    similarity with the means (equation 4). The paper's stages are source training, this method with
    ``init_prototypes``, pseudo-labels and training on them: ``chain/proca_gta5_to_cityscapes.yaml``.

    Deviations from the official code:
        A label at a cell -> the label at the cell's centre; cells of padding do not count.
        Logits of a cell -> those of the image at the cell's centre.

    Args:
        feature_weight: of the contrast of features.
        output_weight: of the contrast of logits.
        lovasz_weight: of the Lovász-softmax loss of source images.
        temperature: of the cosine similarities; the official 50 makes classes nearly equal.
        least_logit: largest logit from which a target cell has a label. Not a probability: nearly all cells have.
        init_prototypes: begin with the means over all source images.
        view: photometric perturbation of the source images.
    """

    features: RunningMeans
    outputs: RunningMeans

    def __init__(
        self,
        feature_weight: float = 1.0,
        output_weight: float = 1.0,
        lovasz_weight: float = 0.75,
        temperature: float = 50.0,
        least_logit: float = 0.9,
        init_prototypes: bool = False,
        view: View = lazy_instance(NoView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(temperature > 0, "ProCA.temperature", temperature, "give a positive number")
        require(lovasz_weight >= 0, "ProCA.lovasz_weight", lovasz_weight, "give a weight of 0 or more")
        self.feature_weight, self.output_weight, self.lovasz_weight = feature_weight, output_weight, lovasz_weight
        self.temperature, self.least_logit = temperature, least_logit
        self.init_prototypes, self.view = init_prototypes, view

    def build(self) -> None:
        super().build()
        self.features = RunningMeans(self.num_classes, self.student.feature_channels)
        self.outputs = RunningMeans(self.num_classes, self.num_classes)

    def before_first_step(self) -> None:
        if not self.init_prototypes:
            return
        for sample in self.one_pass("labeled"):
            out = self.student(sample["image"])
            label = self.at_cells(sample["mask"], out).flatten()
            for means, maps in ((self.features, out.features), (self.outputs, self.logits(out))):
                means.add(class_sums(rows(maps), label, self.num_classes))
        for means in (self.features, self.outputs):  # this rank's images so far
            sums = torch.cat([means.mean * means.number.float().unsqueeze(1), means.number.float().unsqueeze(1)], 1)
            means.mean.zero_()
            means.number.zero_()
            means.add(total(sums))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        out_s, out_t = self.student.apart(self.view(source["image"]), target["image"])
        logit, label_t = out_t.logits.detach().float().max(1)
        label_t = label_t.masked_fill(~target["valid"] | (logit < self.least_logit), IGNORE)
        self.log_pseudo_quality(label_t, label_t != IGNORE)

        cells_s, cells_t = self.at_cells(source["mask"], out_s), self.at_cells(label_t, out_t)
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "lovasz": self.lovasz_weight * lovasz_softmax(out_s.logits, source["mask"]),
            "features": self.feature_weight
            * self.contrast(self.features, out_s.features, cells_s, out_t.features, cells_t),
            "outputs": self.output_weight
            * self.contrast(self.outputs, self.logits(out_s), cells_s, self.logits(out_t), cells_t),
        }

    def contrast(self, means: RunningMeans, source: Tensor, label_s: Tensor, target: Tensor, label_t: Tensor) -> Tensor:
        """Both domains against the means that have taken them in: maps B D h w with labels B h w."""
        means.update(rows(target.detach()), label_t.flatten())
        means.update(rows(source.detach()), label_s.flatten())
        prototypes = F.normalize(means.mean, dim=1)
        return sum(
            (
                prototype_cross_entropy(F.normalize(maps.float(), dim=1), label, prototypes, self.temperature)
                for maps, label in ((source, label_s), (target, label_t))
            ),
            start=torch.zeros((), device=source.device),
        )

    def logits(self, out: Output) -> Tensor:
        """B K h w at the cells of the features."""
        return at_cells(out.logits, out.features.shape[-2:], self.student.extent(out.logits.shape[-2:]), 0.0)

    def at_cells(self, label: Tensor, out: Output) -> Tensor:
        """B h w labels at the cells of an output's features."""
        return at_cells(label, out.features.shape[-2:], self.student.extent(label.shape[-2:]), IGNORE)
