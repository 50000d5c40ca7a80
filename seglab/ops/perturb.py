"""Perturbations of the maps between encoder and decoder; entries that are no maps (class tokens) pass through."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.compat import Dropout
from seglab.types import require


def drop_channels(stages: Sequence[Tensor], share: float = 0.5) -> list[Tensor]:
    """Whole channels of B D h w set to 0 with probability ``share``, the others multiplied by 1 / (1 - share).

    The feature perturbation of UniMatch (Yang et al., CVPR 2023, section 3.2): drawn for each image and each map.

    Raises:
        SeglabError: ``share`` is outside [0, 1).
    """
    require(0.0 <= share < 1.0, "the share of dropped channels", share, "give a share in [0, 1)")
    return [F.dropout2d(stage, share) if stage.ndim == 4 else stage for stage in stages]


def complementary_dropout(stages: Sequence[Tensor], intact: float = 0.5) -> list[Tensor]:
    """Channel dropout of two views of the same images, each of which sees the channels that the other does not.

    The complementary dropout of UniMatch V2 (Yang et al., TPAMI 2025, section 3.3). Maps of one width share their
    masks, as the four of a vision transformer do there.

    Args:
        stages: maps 2B D h w, the first view of B images and then the second of the same.
        intact: share of the images whose views keep all channels, in [0, 1]; rounded down to a number of images.
    """
    batch = len(stages[0]) // 2
    widths = sorted({stage.shape[1] for stage in stages if stage.ndim == 4})
    whole = torch.randperm(batch, device=stages[0].device) < int(batch * intact)
    masks = {width: complementary_masks(whole, width) for width in widths}
    return [
        stage * masks[stage.shape[1]].to(stage.dtype)[:, :, None, None] if stage.ndim == 4 else stage
        for stage in stages
    ]


def complementary_masks(whole: Tensor, channels: int) -> Tensor:
    """Factors 2B D of 0 and 2 whose two halves sum to 2; 1 on the images where ``whole`` (bool B) is True."""
    first = 2.0 * (torch.rand(len(whole), channels, device=whole.device) < 0.5)
    first = torch.where(whole.unsqueeze(1), 1.0, first)
    return torch.cat([first, 2.0 - first])


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Inside the block, dropout layers pass everything; all else stays in its mode. For labels that a student makes."""
    active = [part for part in module.modules() if isinstance(part, Dropout) and part.training]
    for part in active:
        part.training = False
    try:
        yield
    finally:
        for part in active:
            part.training = True
