"""Contrast between a few cells of a batch, as many of them of each class and half of them hard."""

from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.contrast import supervised_info_nce
from seglab.ops.grid import rows
from seglab.ops.losses import pixel_mean
from seglab.ops.memory import hard_and_easy


def sampled_contrast(
    embedding: Tensor,
    label: Tensor,
    predicted: Tensor,
    sure: Tensor,
    temperature: float,
    num_classes: int,
    views: int,
    samples: int,
) -> Tensor:
    """Supervised contrast of cells that ``hard_and_easy`` draws, pairs weighing sure x sure (TADA, ECCV 2022).

    Args:
        embedding: B D h w, as they are compared.
        label: B h w class indices; 255 belongs to no class.
        predicted: B h w class indices.
        sure: B h w, how far the class of a cell is trusted; without gradient.
        temperature: divides the dot products.
        num_classes: K.
        views: cells of a class in an image, at most; a class takes part in an image that has more.
        samples: cells altogether, at most.

    Returns:
        Mean over the cells drawn, those without another one of their class included; 0 where there is none.
    """
    index, of = hard_and_easy(label.flatten(1), predicted.flatten(1), num_classes, views, samples)
    cells, weight = rows(embedding)[index], sure.flatten()[index]
    loss = supervised_info_nce(cells, cells, of, of, temperature, key_weight=weight, same_rows=True)
    return pixel_mean(weight * loss, of != IGNORE)
