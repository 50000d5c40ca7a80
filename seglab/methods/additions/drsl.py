"""DRSL: each class has several modes, and cells of source and target that share a mode are drawn together."""

import torch
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.methods.base import Addition, Method
from seglab.ops.clustering import mode_alignment, mode_cross_entropy, mode_distances, nearest_mode
from seglab.ops.grid import at_cells, rows
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import pseudo_label
from seglab.ops.ranks import total
from seglab.types import Batch, Output, require


class DRSL(Addition):
    """Distribution regularised self-supervised learning (Iqbal et al., IVC 2022), on top of any method of adaptation.

    No code is public, and the paper's equations could not be read: this is our reading of its abstract, in a form of
    our own. A second head embeds the features; every class has M learnable modes there. The share of a class in a
    mixture of Gaussians around all modes is trained by cross-entropy with the source's labels and confident labels of
    target cells, so that differences within a class are learned apart from the classifier. Stochastic mode alignment
    pairs source and target cells of one mode at random and brings them together.

    Args:
        weight: of the cross-entropy of the modes.
        alignment: weight of the mode alignment.
        modes: M of a class.
        dim: width of the embeddings.
        pairs: drawn of each mode.
        least: cells that either domain must have of a mode to be aligned.
        threshold: confidence from which a target label counts, in [0, 1].
    """

    reads = {"labeled": ("mask",), "unlabeled": ()}
    scaled: Tensor  # scalar bool, whether the modes are as long as embeddings are

    def __init__(
        self,
        weight: float = 0.1,
        alignment: float = 0.01,
        modes: int = 3,
        dim: int = 64,
        pairs: int = 64,
        least: int = 8,
        threshold: float = 0.9,
    ) -> None:
        super().__init__()
        require(min(weight, alignment) >= 0, "DRSL.weight", weight, "give 0 or more, as for alignment")
        for name, value in (("modes", modes), ("dim", dim), ("pairs", pairs), ("least", least)):
            require(value >= 1, f"DRSL.{name}", value, "give 1 or more")
        require(0 <= threshold <= 1, "DRSL.threshold", threshold, "give a confidence in [0, 1]")
        self.weight, self.alignment, self.modes, self.dim = weight, alignment, modes, dim
        self.pairs, self.least, self.threshold = pairs, least, threshold

    def build(self, method: Method) -> None:
        self.head = nn.Conv2d(method.student.feature_channels, self.dim, 1)
        self.centres = nn.Parameter(torch.randn(method.num_classes, self.modes, self.dim))  # K M D
        self.register_buffer("scaled", torch.tensor(False))

    def losses(self, method: Method, batch: Batch) -> dict[str, Tensor]:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        with frozen_statistics(method.student):
            out_s, out_t = method.student.apart(labeled["image"], unlabeled["image"])
        label, confidence = pseudo_label(self.answer(method, unlabeled, out_t).logits)
        sure = unlabeled["valid"] & (confidence >= self.threshold)

        source, source_label = self.cells(method, out_s, labeled["mask"])
        target, target_label = self.cells(method, out_t, label.masked_fill(~sure, IGNORE))
        if method.global_step == 0:
            self.scale(torch.cat([source, target]).detach())
        embedding, known = torch.cat([source, target]), torch.cat([source_label, target_label])
        distance = mode_distances(embedding, self.centres)
        mode = nearest_mode(distance.detach(), known).split([len(source), len(target)])
        number = method.num_classes * self.modes
        aligned = mode_alignment(source, target, mode[0], mode[1], number, self.pairs, self.least)
        return {"modes": self.weight * mode_cross_entropy(distance, known), "alignment": self.alignment * aligned}

    def cells(self, method: Method, out: Output, label: Tensor) -> tuple[Tensor, Tensor]:
        """Of each feature cell: embedding N D, and label N or 255."""
        grid, extent = out.features.shape[-2:], method.student.extent(label.shape[-2:])
        with torch.autocast(out.features.device.type, enabled=False):
            embedding = rows(self.head(out.features.float()))
        return embedding, at_cells(label, grid, extent, IGNORE).flatten()

    @torch.no_grad()
    def scale(self, embedding: Tensor) -> None:
        """Once: make the modes as long as the first embeddings are in the mean, over all ranks."""
        norm = embedding.norm(dim=1)
        length, number = total(torch.stack([norm.sum(), torch.ones_like(norm).sum()])).unbind()
        factor = length / number / self.centres.norm(dim=2).mean()
        self.centres.mul_(torch.where(self.scaled, 1.0, factor))
        self.scaled.fill_(True)
