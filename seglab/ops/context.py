"""Context of classes: where in an image they usually are, and which belong together."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.ops.mixing import IDS
from seglab.ops.ranks import total
from seglab.types import require


class SpatialPrior(nn.Module):
    """How often each class is seen at each place of the labeled images, which share a frame: 0 to 1 in both directions.

    Args:
        num_classes: K.
        grid: rows and columns of the cells in which it is counted.

    Raises:
        SeglabError: the grid is empty.
    """

    count: Tensor  # K h w float32

    def __init__(self, num_classes: int, grid: tuple[int, int]) -> None:
        super().__init__()
        require(min(grid) >= 1, "the spatial prior's grid", grid, "give 1 row and column or more")
        self.register_buffer("count", torch.zeros(num_classes, *grid))

    @torch.no_grad()
    def add(self, mask: Tensor) -> None:
        """Count the pixels of whole images B H W (class indices or 255), each image with a weight of 1."""
        classes, rows, columns = self.count.shape
        height, width = mask.shape[1:]
        row = torch.arange(height, device=mask.device) * rows // height
        column = torch.arange(width, device=mask.device) * columns // width
        cell = (row.unsqueeze(1) * columns + column).expand_as(mask)
        place = torch.where(mask < classes, mask * (rows * columns) + cell, classes * rows * columns)
        counted = torch.zeros(classes * rows * columns + 1, device=mask.device)
        counted.scatter_add_(0, place.flatten(), torch.ones_like(place, dtype=torch.float32).flatten())
        self.count += counted[:-1].view_as(self.count) / (height * width)

    @torch.no_grad()
    def finish(self) -> None:
        """Take in what other ranks have counted: once, after the last image."""
        self.count.copy_(total(self.count))

    def forward(self, box: Tensor, flip: Tensor, size: Tensor, shape: Sequence[int]) -> Tensor:
        """Share of each class at the pixels of crops: B K H W float32; all alike where nothing was labeled.

        Args:
            box: B 4, ``Sample.box``.
            flip: B bool, ``Sample.flip``.
            size: B 2, ``Sample.size``.
            shape: H and W of the crops.
        """
        axes = []
        for axis, length in enumerate(shape):
            share = (torch.arange(length, device=box.device) + 0.5) / length
            start, extent, whole = box[:, axis], box[:, 2 + axis], size[:, axis]
            axes.append(2 * (start.unsqueeze(1) + share * extent.unsqueeze(1)) / whole.unsqueeze(1) - 1)  # B length
        rows, columns = axes
        columns = torch.where(flip.unsqueeze(1), columns.flip(1), columns)
        grid = torch.stack(
            [columns.unsqueeze(1).expand(-1, shape[0], -1), rows.unsqueeze(2).expand(-1, -1, shape[1])], 3
        )
        with torch.autocast(box.device.type, enabled=False):
            maps = self.count.expand(len(box), -1, -1, -1)
            seen = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
        number = seen.sum(1, keepdim=True)
        return torch.where(number > 0, seen / number.clamp(min=torch.finfo(seen.dtype).tiny), 1.0 / len(self.count))


def companions(names: Sequence[str], together: Mapping[str, Sequence[str]]) -> Tensor:
    """256 256 bool: True in row i, column j if class i brings class j along.

    Args:
        names: of the classes, in index order.
        together: class -> classes that it brings along; those that ``names`` lacks do not count.
    """
    table = torch.zeros(IDS, IDS, dtype=torch.bool)
    for first, others in together.items():
        for other in others:
            if first in names and other in names:
                table[names.index(first), names.index(other)] = True
    return table


def with_companions(chosen: Tensor, present: Tensor, table: Tensor) -> Tensor:
    """Chosen classes and those that they bring along, and what those bring: B 256 bool (CAMix, Zhou et al., 2022).

    Args:
        chosen: B 256 bool.
        present: B 256 bool; a class that is not brings nothing and is not brought.
        table: of ``companions``.
    """
    for _ in range(2):
        chosen = chosen | (present & (chosen.unsqueeze(2) & table).any(1))
    return chosen
