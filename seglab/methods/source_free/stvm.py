"""STvM: a metric network says how far the teacher's labels are to be trusted; no image of the source is seen."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.ops.grid import at_cells
from seglab.ops.losses import balanced_cross_entropy
from seglab.ops.mixing import Pixels, mix, select
from seglab.ops.pseudo import hard_label, reliable_classes
from seglab.ops.teacher import Teacher
from seglab.ops.views import StrongView, View
from seglab.types import Batch, Output, SeglabError, require


class STvM(Method):
    """Self-training via metric learning (Akkaya and Halici, CVIU 2024): source-free domain adaptation.

    No code is public, and the paper's equations could not be read: this is our reading of its abstract, in a form of
    our own. The student begins as that of a run on the source (``init_from``). A metric network on the teacher's
    features learns one proxy per class from the teacher's own labels; the softmax of the cosines to the proxies, at the
    label, is the reliability r of a pixel. The student learns from all labels, each weighed by r, on images into which
    the more reliable half of the classes of the next image are pasted (metric-based online ClassMix).

    Args:
        decay: share of the old teacher kept per step.
        temperature: of the cosines.
        hidden: width of the metric network.
        dim: width of its embeddings and of the proxies.
        warm_up: steps in which the metric network alone learns: its first proxies are random.
        weight: of the metric network's loss; that of the student has 1.
        strong: photometric perturbation of the mixed images.
    """

    reads = {"unlabeled": ()}

    def __init__(
        self,
        decay: float = 0.999,
        temperature: float = 0.1,
        hidden: int = 256,
        dim: int = 128,
        warm_up: int = 200,
        weight: float = 1.0,
        strong: View = lazy_instance(StrongView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(temperature > 0, "STvM.temperature", temperature, "give a positive number")
        require(min(hidden, dim) >= 1, "STvM.dim", min(hidden, dim), "give widths of 1 or more")
        require(min(warm_up, weight) >= 0, "STvM.warm_up", min(warm_up, weight), "give 0 or more, as for weight")
        self.decay, self.temperature, self.hidden, self.dim = decay, temperature, hidden, dim
        self.warm_up, self.weight, self.strong = warm_up, weight, strong

    def build(self) -> None:
        super().build()
        self.teacher = Teacher(self.student, self.decay, warmup=False)
        channels = self.student.feature_channels
        self.metric = nn.Sequential(nn.Conv2d(channels, self.hidden, 1), nn.ReLU(), nn.Conv2d(self.hidden, self.dim, 1))
        self.proxies = nn.Parameter(torch.randn(self.num_classes, self.dim))

    def before_first_step(self) -> None:
        if not self.init_from:
            raise SeglabError("STvM begins with a network of the source domain: give --init_from the run that has it")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        target = batch["unlabeled"]
        image, valid = target["image"], target["valid"]

        answer = target["answer"] = self.teacher(image)
        label = hard_label(answer.logits)
        self.log_pseudo_quality(label, valid)
        label = label.masked_fill(~valid, IGNORE)
        cells = at_cells(label, answer.features.shape[-2:], self.student.extent(image.shape[-2:]), IGNORE)
        similarity = self.similarity(answer)  # B K h w
        metric = balanced_cross_entropy(similarity, cells)
        view = Pixels(image, label, self.reliability(similarity.detach(), cells, image.shape[-2:]), valid)

        following = Pixels(*(x.roll(-1, 0) for x in view))
        pasted = select(following.label, reliable_classes(following.label, following.weight, self.num_classes))
        mixed = mix(pasted, following, view)
        out = self.student(self.strong(mixed.image))
        segmentation = self.pixel_loss(out, mixed.label, mixed.weight, mixed.valid)
        return {"target": (self.global_step >= self.warm_up) * segmentation, "metric": self.weight * metric}

    def similarity(self, answer: Output) -> Tensor:
        """Cosines of the cells' embeddings and the proxies over the temperature, B K h w; features are constants."""
        with torch.autocast(answer.features.device.type, enabled=False):
            embedding = F.normalize(self.metric(answer.features.float()), dim=1)
            return torch.einsum("bdhw,kd->bkhw", embedding, F.normalize(self.proxies, dim=1)) / self.temperature

    def reliability(self, similarity: Tensor, label: Tensor, size: torch.Size) -> Tensor:
        """Softmax of the similarities B K h w at the labels B h w, for each pixel: B H W in [0, 1]."""
        at_label = similarity.softmax(1).gather(1, label.where(label != IGNORE, 0).unsqueeze(1))
        return self.student.restore(at_label, size).squeeze(1)
