"""The block of AllSpark: channels of labeled features are built anew from channels of unlabeled ones."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.ops.grid import last_map
from seglab.ops.memory import ClassQueue

Stages = list[Tensor]


class ChannelAttention(nn.Module):
    """Attention between channels, whose features are their values at the N cells of a map.

    Args:
        channels: C.
        heads: the width of queries, keys and values is C times as many.
        separate: every head attends by itself; else all H C channels attend to all of the source.
        dropout: of the attention and of the result, in [0, 1).
    """

    def __init__(self, channels: int, heads: int, separate: bool, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(channels, channels * heads, bias=False) for _ in range(3))
        self.out = nn.Linear(channels * heads, channels, bias=False)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
        self.heads, self.dropout = heads if separate else 1, nn.Dropout(dropout)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Cells B N C with channels made of those of a source B S N C, or 1 S N C for all: B N C."""
        query, key, value = (
            part(y).unflatten(-1, (self.heads, -1)).permute(0, 3, 1, 4, 2).flatten(2, 3)  # B heads S*width N
            for part, y in ((self.query, x.unsqueeze(1)), (self.key, source), (self.value, source))
        )
        likeness = F.instance_norm(query.float() @ key.float().transpose(-1, -2))
        mixed = self.dropout(likeness.softmax(-1)).to(value.dtype) @ value  # B heads width N
        result: Tensor = self.dropout(self.out(mixed.permute(0, 3, 2, 1).flatten(2)))
        return result


class AllSparkBlock(nn.Module):
    """AllSpark (Wang, Zhang, Li and Li, CVPR 2024, section 3): the last stage of an encoder, reborn.

    While a method trains, it calls ``reborn`` with labeled and unlabeled stages. Everywhere else an image is its own
    source, as in the paper's inference.

    Args:
        channels: C of the last stage.
        num_classes: K.
        heads: of the attention.
        dropout: of the attention, in [0, 1).
        grid: rows and columns at which the semantic memory keeps channels; another grid is interpolated.
    """

    def __init__(self, channels: int, num_classes: int, heads: int = 2, dropout: float = 0.1, grid: int = 17) -> None:
        super().__init__()
        self.num_classes, self.grid = num_classes, grid
        self.enter, self.leave = (nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU()) for _ in range(2))
        self.before, self.after = (nn.LayerNorm(channels, eps=1e-6) for _ in range(2))
        self.own = ChannelAttention(channels, heads, True, dropout)
        self.cross = ChannelAttention(channels, heads, False, dropout)
        self.memory = ClassQueue(grid * grid, [channels] * num_classes)
        self.memory.storage[:-1].normal_()

    def forward(self, stages: Sequence[Tensor]) -> Stages:
        """Stages whose last map is made of its own channels."""
        x = self.enter(last_map(stages))
        cells = self.before(tokens(x))
        return replaced(stages, self.finish(x, self.cross(cells, cells.unsqueeze(1))))

    def reborn(
        self, labeled: Sequence[Tensor], unlabeled: Sequence[Tensor], logits: Tensor, use_memory: bool
    ) -> tuple[Stages, Stages]:
        """Labeled stages made of channels of all unlabeled images, and unlabeled stages of their own.

        Args:
            labeled, unlabeled: stages of any number of images each.
            logits: B K H W, predicted for the unlabeled images; channels like class k join its memory.
            use_memory: the source of the labeled channels is the memory.
        """
        x, u = self.enter(last_map(labeled)), self.enter(last_map(unlabeled))
        cells, others = self.before(tokens(x)), self.before(tokens(u))
        self.remember(others.detach(), u.shape[-2:], logits)
        source = self.remembered(x.shape[-2:]) if use_memory else tokens(resized(maps(others, u), x))
        taken, own = self.cross(cells, source.to(cells.dtype).unsqueeze(0)), self.own(others, others.unsqueeze(1))
        return replaced(labeled, self.finish(x, taken)), replaced(unlabeled, self.finish(u, own))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The map B C h w after attention B N C: residual, normalisation, 1x1 convolution."""
        result: Tensor = self.leave(maps(self.after(tokens(x) + attended), x))
        return result

    @torch.no_grad()
    def remember(self, cells: Tensor, size: Sequence[int], logits: Tensor) -> None:
        """Add each channel of B N C to the memory of the class whose map of logits is most like it."""
        scores = F.interpolate(logits.float(), list(size), mode="bilinear", align_corners=False).flatten(2)  # B K N
        like = F.normalize(scores, dim=2) @ F.normalize(cells.float(), dim=1)  # B K C
        label = like.argmax(1).flatten()  # B*C
        channels = cells.float().transpose(1, 2).unflatten(2, tuple(size))  # B C h w
        channels = F.interpolate(channels, [self.grid] * 2, mode="bilinear", align_corners=False)
        self.memory.append(channels.flatten(2).flatten(0, 1), label)

    def remembered(self, size: Sequence[int]) -> Tensor:
        """The memory of each class as cells K N C of a map of a size."""
        kept = self.memory.contents()[0].view(self.num_classes, -1, self.grid, self.grid)
        return tokens(F.interpolate(kept, list(size), mode="bilinear", align_corners=False))


def replaced(stages: Sequence[Tensor], new: Tensor) -> Stages:
    """The stages with another coarsest map."""
    old = last_map(stages)
    return [new if stage is old else stage for stage in stages]


def tokens(x: Tensor) -> Tensor:
    """B C h w as B N C."""
    return x.flatten(2).transpose(1, 2)


def maps(cells: Tensor, like: Tensor) -> Tensor:
    """B N C as B C h w of another map's h and w."""
    return cells.transpose(1, 2).unflatten(2, like.shape[-2:])


def resized(x: Tensor, like: Tensor) -> Tensor:
    """A map at the h and w of another."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, list(like.shape[-2:]), mode="bilinear", align_corners=False)
