"""From the pixels of an image to the cells of a network's feature grid, and distances between features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.losses import pixel_mean
from seglab.types import require


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


def to_cells(maps: Tensor, grid: Sequence[int], extent: Sequence[int], align_corners: bool) -> Tensor:
    """Maps of an image at the cells of a grid, bilinear: the other way than ``Network.restore``.

    Args:
        maps: B C H W; beyond their border they go on as they end.
        grid: rows h and columns w.
        extent: height and width in pixels that the grid covers (``Network.extent``).
        align_corners: of the network.

    Returns:
        B C h w.
    """
    bottom, right = (whole - shown for whole, shown in zip(extent, maps.shape[-2:], strict=True))
    padded = F.pad(maps, (0, right, 0, bottom), mode="replicate")
    return F.interpolate(padded, list(grid), mode="bilinear", align_corners=align_corners)


def cat_padded(parts: Sequence[Tensor], value: float) -> Tensor:
    """Cells of batches with different grids as one batch: B1 P1 ..., B2 P2 ... -> B1+B2 P ..., filled with a value."""
    most = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, [0, 0] * (part.ndim - 2) + [0, most - part.shape[1]], value=value) for part in parts])


def rows(x: Tensor) -> Tensor:
    """Maps B C h w as one row per cell, B h w C flattened to N C."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows that cover a side; the last window ends with the side."""
    return [min(start, length - window) for start in range(0, length - window + stride, stride)]


def _centres(cells: int, pixels: int, limit: int, device: torch.device) -> tuple[Tensor, Tensor]:
    centre = (2 * torch.arange(cells, device=device) + 1) * pixels // (2 * cells)
    return centre.clamp(max=limit - 1), centre < limit


THINGS = (
    *("traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    *("sign", "pedestrian", "bicyclist"),  # what CamVid calls them
)


def thing_classes(names: Sequence[str], things: Sequence[str], setting: str) -> Tensor:
    """(256,) bool, the classes of ``names`` that are countable things; those that the data lacks do not count.

    Raises:
        SeglabError: none is, with the name of the ``setting``.
    """
    held = [index for index, name in enumerate(names) if name in things]
    require(bool(held), setting, list(things), f"give names of countable things among the classes: {', '.join(names)}")
    return torch.isin(torch.arange(IGNORE + 1), torch.tensor(held))


def thing_distance(
    stages: Sequence[Tensor],
    reference: Sequence[Tensor],
    mask: Tensor,
    extent: Sequence[int],
    things: Tensor,
    share: float,
) -> Tensor:
    """The feature distance of DAFormer (Hoyer et al., CVPR 2022, section 3.3), not yet weighted.

    Args:
        stages: of an encoder, from fine to coarse; the coarsest is compared.
        reference: of the frozen ImageNet encoder, for the same images.
        mask: B H W int64 class indices or 255.
        extent: height and width that the stages cover, padding included (``Network.extent``).
        things: (256,) bool, the classes of countable things.
        share: of a cell's pixels that one thing class must have, in [0, 1].

    Returns:
        scalar float32: mean Euclidean distance over the cells that show a thing; 0 where none does.
    """
    features, target = last_map(stages), last_map(reference)
    shown = things[majority_class(pad_label(mask, extent), target.shape[2:], share)]
    return feature_distance(features, target, shown)


def feature_distance(features: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Mean Euclidean distance of feature vectors over the cells where the mask is True.

    The term of DAFormer (Hoyer et al., CVPR 2022, section 3.3), not yet weighted.

    Args:
        features: B D h w.
        reference: B D h w.
        mask: B h w bool.

    Returns:
        scalar float32; 0, with a gradient of 0, where the mask is True nowhere.
    """
    return pixel_mean((features.float() - reference.float()).norm(dim=1), mask)


def majority_class(label: Tensor, grid: Sequence[int], share: float) -> Tensor:
    """The class that fills a cell of a feature map (DAFormer, section 3.3).

    Args:
        label: B H W int64 class indices or 255; H and W are multiples of the grid.
        grid: height h and width w of the feature map.
        share: of the cell's pixels that the class must have, in [0, 1]; ignored pixels compete like a class.

    Returns:
        B h w int64; 255 where no class has the share.
    """
    batch, height, width = label.shape
    rows, columns = grid
    cells = label.view(batch, rows, height // rows, columns, width // columns).transpose(2, 3).flatten(3)  # B h w n
    counts = torch.zeros(batch, rows, columns, IGNORE + 1, device=label.device)
    counts.scatter_add_(3, cells, torch.ones_like(cells, dtype=counts.dtype))
    count, winner = counts.max(3)
    return torch.where(count >= share * cells.shape[3], winner, IGNORE)


def pad_label(label: Tensor, size: Sequence[int]) -> Tensor:
    """B H W with 255 added at the bottom and at the right up to ``size``, as images are padded for a network."""
    return F.pad(label, (0, size[1] - label.shape[2], 0, size[0] - label.shape[1]), value=IGNORE)


def last_map(stages: Sequence[Tensor]) -> Tensor:
    """The coarsest feature map among encoder stages, which may end in class tokens."""
    return [stage for stage in stages if stage.ndim == 4][-1]
