"""From the pixels of an image to the cells of a network's feature grid."""

from collections.abc import Sequence

import torch
from torch import Tensor


def at_cells(x: Tensor, grid: Sequence[int], extent: Sequence[int], outside: float) -> Tensor:
    """The values of pixels at the centres of the cells of a grid.

    Args:
        x: ... H W, labels, masks or maps of an image.
        grid: rows h and columns w of the features.
        extent: height and width in pixels that the grid covers from the top left corner of the image, its padding
            included (``Network.extent``).
        outside: value of cells whose centre is on the padding.

    Returns:
        ... h w of the same dtype.
    """
    (row, inside_rows), (column, inside_columns) = (
        _centres(cells, pixels, limit, x.device)
        for cells, pixels, limit in zip(grid, extent, x.shape[-2:], strict=True)
    )
    return torch.where(inside_rows.unsqueeze(1) & inside_columns, x[..., row.unsqueeze(1), column], outside)


def rows(x: Tensor) -> Tensor:
    """Maps B C h w as one row per cell, B h w C flattened to N C."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _centres(cells: int, pixels: int, limit: int, device: torch.device) -> tuple[Tensor, Tensor]:
    centre = (2 * torch.arange(cells, device=device) + 1) * pixels // (2 * cells)
    return centre.clamp(max=limit - 1), centre < limit
