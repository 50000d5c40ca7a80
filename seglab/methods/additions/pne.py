"""PNE: a pixel that is taken for a wrong class is drawn to its own and away from that one, by equal pairs."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.base import Addition, Method
from seglab.networks.heads import projection_head
from seglab.ops.grid import at_cells
from seglab.ops.memory import choose
from seglab.ops.norm import frozen_statistics, replace_norms
from seglab.ops.pair_contrast import pair_contrast
from seglab.ops.pseudo import hard_label
from seglab.types import Batch, require


class PNE(Addition):
    """Positive-negative equal contrast, after Wang et al. (arXiv 2207.01417), in a form of our own.

    Their equations could not be read and no code is published; what is known is that anchors are pixels that the
    network has wrong, and that positive and negative pairs weigh the same. Here anchors are feature cells that the
    student takes for another class; positives are cells of the anchor's class that it has right, negatives cells that
    truly are of the class that the anchor is taken for, both of the whole batch of a process. The loss is the mean over
    pairs of a positive and a negative of softplus((s_n - s_p) / temperature), s the cosine with the anchor; or, with
    ``form`` inside, -log of the share that the positives have in the sum of exp(s / temperature) over both.

    Args:
        weight: of the term.
        temperature: of the cosine similarities.
        form: ``pairs`` or ``inside``.
        anchors: of a class in an image, at most.
        samples: anchors per process, at most.
        others: positives, and as many negatives, of each class, at most; they are drawn anew in each step.
        dim: width of the embeddings.
        warmup: steps before the term begins.
    """

    reads = {"labeled": ("mask",)}

    def __init__(
        self,
        weight: float = 0.1,
        temperature: float = 0.1,
        form: Literal["pairs", "inside"] = "pairs",
        anchors: int = 50,
        samples: int = 1024,
        others: int = 64,
        dim: int = 128,
        warmup: int = 0,
    ) -> None:
        super().__init__()
        require(temperature > 0, "PNE.temperature", temperature, "give a positive number")
        for name, number in (("anchors", anchors), ("samples", samples), ("others", others), ("dim", dim)):
            require(number >= 1, f"PNE.{name}", number, "give 1 or more")
        self.weight, self.temperature, self.form = weight, temperature, form
        self.anchors, self.samples, self.others, self.dim, self.warmup = anchors, samples, others, dim, warmup

    def build(self, method: Method) -> None:
        self.head = projection_head(method.student.feature_channels, self.dim)
        replace_norms(self.head)

    def losses(self, method: Method, batch: Batch) -> dict[str, Tensor]:
        labeled, classes = batch["labeled"], method.num_classes
        with frozen_statistics(method.student):
            out = method.student(labeled["image"])
        grid, extent = out.features.shape[-2:], method.student.extent(labeled["mask"].shape[-2:])
        with torch.autocast(out.features.device.type, enabled=False):
            embedding = F.normalize(self.head(out.features.float()), dim=1).permute(0, 2, 3, 1).flatten(0, 2)  # N dim
        label = at_cells(labeled["mask"], grid, extent, IGNORE).flatten(1)  # B P
        predicted = at_cells(hard_label(out.logits.detach()), grid, extent, IGNORE).flatten(1)

        member = label.unsqueeze(1) == torch.arange(classes, device=label.device).unsqueeze(1)  # B K P
        wrong = (predicted != label).unsqueeze(1)
        index, valid = choose((member & wrong).flatten(0, 1), self.anchors)  # B*K n
        image = torch.arange(len(index), device=label.device).unsqueeze(1) // classes
        first = (~valid).flatten().int().argsort(stable=True)[: self.samples]
        anchor, valid = (index + image * label.shape[1]).flatten()[first], valid.flatten()[first]

        pools = [x.transpose(0, 1).flatten(1) for x in (member & ~wrong, member)]  # K N: right ones, all
        keys = [choose(pool, self.others) for pool in pools]
        own, taken_for = label.flatten()[anchor], predicted.flatten()[anchor]
        loss = pair_contrast(embedding, anchor, valid, keys, (own, taken_for), self.temperature, self.form)
        return {"pne": self.weight * loss * (method.global_step >= self.warmup)}
