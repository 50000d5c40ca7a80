"""Block masks: hide most of an image, so that the rest must speak for it."""

import torch
import torch.nn.functional as F
from torch import Tensor


def block_mask(shape: tuple[int, int, int], block: int, ratio: float, device: torch.device) -> Tensor:
    """B H W bool, True on the blocks that stay: each with probability 1 - ratio (MIC, Hoyer et al., CVPR 2023, eq. 4).

    Args:
        shape: B, H, W.
        block: side of a block in pixels. An image whose side is no multiple has round(side / block) blocks, at least
            one, of equal size.
        ratio: share of the blocks that are hidden, in [0, 1].
    """
    batch, height, width = shape
    rows, columns = max(1, round(height / block)), max(1, round(width / block))
    return stretch(torch.rand((batch, rows, columns), device=device) >= ratio, height, width)


def stretch(grid: Tensor, height: int, width: int) -> Tensor:
    """A grid B h w bool as B height width."""
    return F.interpolate(grid.unsqueeze(1).float(), (height, width), mode="nearest").squeeze(1) > 0
