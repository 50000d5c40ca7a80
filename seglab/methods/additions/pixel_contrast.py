"""PixelContrast: pixels of one class are drawn together across images, and away from those of the others."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.methods.base import Addition, Method
from seglab.networks.heads import projection_head
from seglab.ops.contrast import supervised_info_nce
from seglab.ops.grid import at_cells, cat_padded
from seglab.ops.memory import hard_and_easy
from seglab.ops.norm import frozen_statistics, replace_norms
from seglab.ops.pixel_memory import PixelMemory
from seglab.ops.pseudo import hard_label, pseudo_label
from seglab.types import Batch, Output, require_least, require_positive, require_shares


class PixelContrast(Addition):
    """Cross-image pixel contrast (Wang et al., ICCV 2021), on top of any method.

    Of each class and image, half of the anchors are pixels that the student takes for another class (section 3.3). An
    anchor is compared with the other anchors, or with a memory of pixels and of class means of images; each positive
    stands against the negatives alone (equation 3).

    Deviations:
        Embeddings come from the forward of the method -> from one of their own, which leaves running statistics alone.
        The head sees the encoder's last stage -> the network's features. It computes in float32.
        An anchor without another one of its class makes the loss NaN -> it counts as 0.
        The memory begins with random vectors, leaves out class 0, advances by one place for ten pixels, and a key is
            lost to each anchor (the one of its number) -> none of this: it holds what was enqueued, of all classes.
        The paper draws memory keys by their difficulty -> all are compared, as in the code.
        Labeled images alone -> with ``on_unlabeled``, confident pseudo-labels too.

    Args:
        weight: of the term; the code's factor temperature / base_temperature comes on top.
        temperature: of the cosine similarities.
        base_temperature: the loss is multiplied by temperature / base_temperature.
        samples: anchors per process, at most.
        views: anchors of a class in an image, at most; a class with fewer pixels has none.
        dim: width of the embeddings.
        warmup: steps before the term begins.
        memory: pixels, and as many means, that are kept of each class; 0: anchors are compared with each other.
        enqueued: pixels of a class and image that join the memory.
        on_unlabeled: unlabeled images take part, with the teacher's labels, or the student's if there is no teacher.
        threshold: confidence from which such a label is used, in [0, 1].
    """

    reads = {"labeled": ("mask",)}

    def __init__(
        self,
        weight: float = 0.1,
        temperature: float = 0.1,
        base_temperature: float = 0.07,
        samples: int = 1024,
        views: int = 100,
        dim: int = 256,
        warmup: int = 5000,
        memory: int = 0,
        enqueued: int = 10,
        on_unlabeled: bool = False,
        threshold: float = 0.95,
    ) -> None:
        super().__init__()
        require_positive(self, temperature=temperature, base_temperature=base_temperature)
        require_least(self, 1, samples=samples, views=views, dim=dim, enqueued=enqueued)
        require_least(self, 0, memory=memory)
        require_shares(self, threshold=threshold)
        self.weight, self.temperature, self.base_temperature = weight, temperature, base_temperature
        self.samples, self.views, self.dim, self.warmup = samples, views, dim, warmup
        self.memory, self.enqueued = memory, enqueued
        self.on_unlabeled, self.threshold = on_unlabeled, threshold
        if on_unlabeled:
            self.reads = {"labeled": ("mask",), "unlabeled": ()}

    def build(self, method: Method) -> None:
        self.head = projection_head(method.student.feature_channels, self.dim)
        replace_norms(self.head)
        if self.memory:
            self.latest = PixelMemory(method.num_classes, self.memory, self.enqueued, self.dim)

    def losses(self, method: Method, batch: Batch) -> dict[str, Tensor]:
        labeled = batch["labeled"]
        with frozen_statistics(method.student):
            parts = [self.cells(method, method.student(labeled["image"]), labeled["mask"])]
            if self.on_unlabeled:
                unlabeled = batch["unlabeled"]
                out = method.student(unlabeled["image"])
                label, confidence = pseudo_label(self.answer(method, unlabeled, out).logits)
                sure = unlabeled["valid"] & (confidence >= self.threshold)
                parts.append(self.cells(method, out, torch.where(sure, label, IGNORE)))
        embeddings, labels, guesses = zip(*parts, strict=True)
        embedding = cat_padded(embeddings, 0.0)
        label, predicted = cat_padded(labels, IGNORE), cat_padded(guesses, IGNORE)

        index, anchor_label = hard_and_easy(label, predicted, method.num_classes, self.views, self.samples)
        anchors = embedding.flatten(0, 1)[index]
        if self.memory:
            keys, key_label = self.latest.contents()
            loss = supervised_info_nce(anchors, keys, anchor_label, key_label, self.temperature)
            self.latest.append(embedding.detach(), label)
        else:
            loss = supervised_info_nce(anchors, anchors, anchor_label, anchor_label, self.temperature, same_rows=True)
        mean = loss.sum() / (anchor_label != IGNORE).sum().clamp(min=1)
        weight = self.weight * self.temperature / self.base_temperature * (method.global_step >= self.warmup)
        return {"pixel_contrast": weight * mean}

    def cells(self, method: Method, out: Output, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each feature cell: embedding B P dim of length 1, label B P or 255, and predicted class B P."""
        grid, extent = out.features.shape[-2:], method.student.extent(label.shape[-2:])
        with torch.autocast(out.features.device.type, enabled=False):
            embedding = F.normalize(self.head(out.features.float()), dim=1).flatten(2).transpose(1, 2)
        predicted = at_cells(hard_label(out.logits.detach()), grid, extent, IGNORE)
        return embedding, at_cells(label, grid, extent, IGNORE).flatten(1), predicted.flatten(1)
