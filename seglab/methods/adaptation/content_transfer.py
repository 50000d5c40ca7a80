"""Content transfer: features without style classify, and rare classes of the source are pasted into target features."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.compat import lazy_instance
from seglab.methods.base import Method
from seglab.networks.heads import ZeroStyle
from seglab.ops.grid import at_cells, last_map
from seglab.ops.losses import pixel_mean
from seglab.ops.mixing import IDS, select
from seglab.ops.norm import frozen_statistics
from seglab.ops.pseudo import hard_label
from seglab.ops.views import StrongView, View
from seglab.types import Batch, require


class ContentTransfer(Method):
    """Adaptation by content transfer (Lee et al., AAAI 2021), reduced to its features.

    No code is public, and the paper's equations could not be read: this is our reading of its abstract, in a form of
    our own. Its branch that reconstructs images, with style encoders, a decoder and discriminators, is left out.
    Style is the mean and the standard deviation of a channel over an image; content is what instance normalisation
    leaves of every stage of the encoder. The classifier sees content alone. The zero-style loss is its cross-entropy on
    source images and the L1 distance between the content of an image and that of a photometric view of it, in both
    domains. Cells of the source's rarer half of classes are pasted into the content of target images, where the student
    learns them.

    Args:
        content: weight of the distance of contents.
        transfer: weight of the pasted cells' cross-entropy.
        share: of the classes that the source shows, the rarest, that are pasted, in (0, 1].
        strong: photometric view.
    """

    needs_class_counts = True
    tail: Tensor  # 256 bool

    def __init__(
        self,
        content: float = 1.0,
        transfer: float = 1.0,
        share: float = 0.5,
        strong: View = lazy_instance(StrongView),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(content >= 0, "ContentTransfer.content", content, "give a weight of 0 or more")
        require(transfer >= 0, "ContentTransfer.transfer", transfer, "give a weight of 0 or more")
        require(0 < share <= 1, "ContentTransfer.share", share, "give a share above 0, at most 1")
        self.content, self.transfer, self.share, self.strong = content, transfer, share, strong

    def build(self) -> None:
        super().build()
        self.student.add_head("bridge", ZeroStyle())
        self.register_buffer("tail", torch.zeros(IDS, dtype=torch.bool), persistent=False)

    def on_fit_start(self) -> None:
        frequency = torch.from_numpy(self.class_counts.frequency)
        order = frequency.masked_fill(frequency == 0, torch.inf).argsort()
        self.tail[order[: max(1, int(self.share * (frequency > 0).sum()))]] = True

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        source, target = batch["labeled"], batch["unlabeled"]
        images = [source["image"], target["image"], self.strong(source["image"]), self.strong(target["image"])]
        stages = self.student.encode_apart(*images, frozen=(False, False, True, True))
        source_content, target_content, *views = (self.student.heads["bridge"](part) for part in stages)

        pairs = zip((source_content, target_content), views, (source["valid"], target["valid"]), strict=True)
        distance = [self.distance(content, view, valid) for content, view, valid in pairs]
        label = like(source["mask"].unsqueeze(1), target["image"]).squeeze(1)
        pasted = select(label, self.tail.expand(len(label), -1))
        mixed = [
            torch.where(self.cells(pasted, theirs), like(ours, theirs), theirs) if theirs.ndim == 4 else theirs
            for ours, theirs in zip(source_content, target_content, strict=True)
        ]
        sizes = [image.shape[-2:] for image in images]
        out_s, out_m = self.student.decode_apart([source_content, mixed], sizes[:2])
        with torch.no_grad(), frozen_statistics(self.student):
            self.log_pseudo_quality(hard_label(self.student.decode(target_content, sizes[1]).logits), target["valid"])
        return {
            "supervised": self.supervised(out_s, source["mask"]),
            "content": self.content * (distance[0] + distance[1]) / 2,
            "transfer": self.transfer * self.pixel_loss(out_m, label, pasted.float(), pasted),
        }

    def cells(self, mask: Tensor, stage: Tensor) -> Tensor:
        """B H W bool at the cells of a stage, B 1 h w; False on padding."""
        return at_cells(mask, stage.shape[-2:], self.student.extent(mask.shape[-2:]), False).unsqueeze(1)

    def distance(self, content: list[Tensor], view: list[Tensor], valid: Tensor) -> Tensor:
        """L1 of the coarsest contents of two views, mean over channels and the cells of valid pixels."""
        first, second = last_map(content), last_map(view)
        return pixel_mean((first.float() - second.float()).abs().mean(1), self.cells(valid, first).squeeze(1))


def like(x: Tensor, other: Tensor) -> Tensor:
    """Image i modulo their number of B C h w, at the height and width of other ones; labels by the nearest."""
    x = x[torch.arange(len(other), device=x.device) % len(x)]
    if x.shape[-2:] == other.shape[-2:]:
        return x
    if x.is_floating_point():
        return F.interpolate(x, other.shape[-2:], mode="bilinear")
    return F.interpolate(x.float(), other.shape[-2:], mode="nearest-exact").to(x.dtype)
