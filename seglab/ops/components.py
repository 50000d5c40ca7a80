"""Connected parts of masks and their edges, found on the device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def components(mask: Tensor) -> Tensor:
    """The connected components of masks, neighbours being the eight around a cell.

    Cells are numbered, and each takes the largest number that it finds around it and behind the number it has. The
    parts of a component join so fast that a fixed number of rounds, twice the binary digits of the number of cells, is
    enough for everything but mazes; nothing waits for the device to say that it is done.

    Args:
        mask: B h w bool.

    Returns:
        B h w int64: 0 outside, and one number above 0 for each component of an image.
    """
    batch, height, width = mask.shape
    inside = mask.unsqueeze(1).float()
    number = torch.arange(height * width + 1, device=mask.device).expand(batch, -1)  # of a cell; 0 is no cell
    label = number * F.pad(mask.flatten(1), (1, 0))
    for _ in range(2 * (height * width).bit_length()):
        grid = label[:, 1:].view(batch, 1, height, width).float()
        largest = F.pad((F.max_pool2d(grid, 3, stride=1, padding=1) * inside).long().flatten(1), (1, 0))
        label = largest.scatter_reduce(1, label, largest, "amax")  # the cell that was pointed at joins, too
        label = label.gather(1, label)
    return label[:, 1:].view_as(mask)


def component_box(mask: Tensor, least: float, cell: int = 8) -> tuple[Tensor, Tensor]:
    """The bounding box of a random one of each mask's components.

    Args:
        mask: B H W bool.
        least: the component has more than this share of the image's pixels.
        cell: components are told apart in cells of so many pixels a side: those that share or neighbour one are joined.

    Returns:
        B H W bool, the box; B bool, False, with an empty box, where no component is large enough.
    """
    height, width = mask.shape[-2:]
    label = components(F.max_pool2d(mask.unsqueeze(1).float(), cell, ceil_mode=True).squeeze(1) > 0)
    number = label.shape[1] * label.shape[2] + 1
    label = label.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, :height, :width] * mask
    area = torch.zeros(len(mask), number, device=mask.device)
    area.scatter_add_(1, label.flatten(1), mask.flatten(1).float())
    large = area > least * height * width
    found, chosen = large.any(1), torch.rand(large.shape, device=mask.device).masked_fill(~large, -1.0).max(1).indices
    part = mask & (label == chosen.view(-1, 1, 1)) & found.view(-1, 1, 1)
    return _between(part.any(2)).unsqueeze(2) & _between(part.any(1)).unsqueeze(1), found


def _between(line: Tensor) -> Tensor:
    """B n bool: from the first True of each row to its last."""
    return (line.cumsum(1) > 0) & (line.flip(1).cumsum(1).flip(1) > 0)


def edge(mask: Tensor) -> Tensor:
    """B H W bool: pixels that differ from their left, upper or upper left neighbour in being part of a mask.

    Dilation minus erosion by a square of 2 pixels (EHTDI, Li et al., ACM MM 2022).
    """
    value = F.pad(mask.unsqueeze(1).float(), (1, 0, 1, 0), mode="replicate")
    return (F.max_pool2d(value, 2, stride=1) + F.max_pool2d(-value, 2, stride=1)).squeeze(1) > 0
