"""The fully connected conditional random field that sharpens predictions along the edges of the image."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.types import SeglabError

CELL = (6 / 5) ** 0.5  # of a grid, in standard deviations
BLUR = (0.5, 0.25, 0.25)  # a vertex, its neighbours


@dataclass(frozen=True)
class DenseCRF:
    """Mean field of a dense CRF (Krähenbühl and Koltun, NIPS 2011): Q <- softmax(ln p + sum over m of w_m K_m Q).

    K_1 = exp(-|dx|^2 / 2 spatial_sigma^2) smooths, K_2 = exp(-|dx|^2 / 2 bilateral_sigma^2 - |dI|^2 / 2 colour_sigma^2)
    joins pixels of like colour; x in pixels, I in 0..255. Both include the pixel itself and are normalised on both
    sides by the roots of their row sums, so that a weight is the strength at a pixel and no sum over the image.

    DeepLab (Chen et al., ICLR 2015 and TPAMI 2017) has 10 iterations and (3, 3) for the first kernel, and searched the
    second on 100 validation images: weights of 4 to 10, 30 to 100 pixels, 3 to 6 grey levels.

    Attributes:
        iterations: of the mean field; 0 returns the probabilities as they are.
        spatial_weight: of the smoothing, 0 or more.
        spatial_sigma: pixels, above 0.
        bilateral_weight: of the colour kernel, 0 or more.
        bilateral_sigma: pixels, above 0.
        colour_sigma: grey levels, above 0.
    """

    iterations: int = 10
    spatial_weight: float = 3.0
    spatial_sigma: float = 3.0
    bilateral_weight: float = 4.0
    bilateral_sigma: float = 67.0
    colour_sigma: float = 3.0

    def check(self) -> None:
        """Raise ``SeglabError`` if a value has no meaning."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and "sigma" in field.name):
                least = "a number above 0" if "sigma" in field.name else "0 or more"
                raise SeglabError(f"crf.{field.name} is {value}: give {least}")

    def __call__(self, probability: Tensor, image: Tensor) -> Tensor:
        """Refine class probabilities.

        Args:
            probability: B K H W.
            image: B 3 H W float in [0, 1].

        Returns:
            B K H W float32, which sum to 1.
        """
        return torch.stack([self._refine(p.float(), x.float()) for p, x in zip(probability, image, strict=True)])

    def _refine(self, probability: Tensor, image: Tensor) -> Tensor:
        classes, height, width = probability.shape
        unary = probability.clamp(min=1e-20).log().flatten(1).T.contiguous()  # N K: filters read whole rows
        q = probability.flatten(1).T.contiguous()
        places = pixel_features(image)  # N 5
        near = Kernel(places[:, :2] / self.spatial_sigma)
        scale = [self.bilateral_sigma] * 2 + [self.colour_sigma] * 3
        alike = Kernel(places / places.new_tensor(scale))
        for _ in range(self.iterations):
            q = (unary + self.spatial_weight * near(q) + self.bilateral_weight * alike(q)).softmax(1)
        return q.T.reshape(classes, height, width)


def pixel_features(image: Tensor) -> Tensor:
    """Column, row, red, green and blue (0..255) of the pixels of an image 3 H W in [0, 1], row by row: N 5."""
    y, x = torch.meshgrid(*(torch.arange(side, device=image.device) for side in image.shape[-2:]), indexing="ij")
    return torch.cat([torch.stack([x, y]), image * 255]).flatten(1).T


class Kernel:
    """The kernel exp(-|f_i - f_j|^2 / 2) of N points in d dimensions, normalised on both sides, on a sparse grid.

    Each point is shared out between the 2^d corners of its cell (linear weights), the M corners that any point touches
    are blurred by (1, 2, 1) / 4 along each axis, and each point reads its corners. The variance of the three is 5/6 of
    a cell's square, so a cell is sqrt(6/5) wide.

    Args:
        features: N d.
    """

    def __init__(self, features: Tensor) -> None:
        place = features / CELL
        first = place.floor()
        right = place - first
        share = place.new_ones(len(place), 1)
        for one in right.split(1, 1):  # N 2^d, bit by bit
            share = torch.cat([share * (1 - one), share * one], 1)

        first = first.long()
        low = first.amin(0) - 1  # a margin, so that a neighbour's number is that of no other cell
        radix = F.pad((first.amax(0) - low + 3).cumprod(0), (1, -1), value=1)
        corners = torch.zeros(1, dtype=torch.long, device=place.device)
        for step in radix:
            corners = torch.cat([corners, corners + step])
        cells, cell = torch.unique(((first - low) * radix).sum(1), return_inverse=True)
        keys, vertex = torch.unique(cells.unsqueeze(1) + corners, return_inverse=True)

        self.corner, self.share = vertex[cell], share  # N 2^d
        entries = self.corner.flatten()
        order = entries.argsort(stable=True)
        count = torch.bincount(entries, minlength=len(keys))
        self.point, self.part = order // len(corners), share.flatten()[order]
        self.offset = F.pad(
            count.cumsum(0), (1, 0)
        )  # M + 1 bags, the last of them empty: it stands for absent vertices
        self.beside = [_beside(keys, step) for step in radix]
        self.scale = torch.ones_like(place[:, :1])
        self.scale = self(self.scale).clamp(min=1e-20).rsqrt()

    def __call__(self, values: Tensor) -> Tensor:
        """The weighted sums over all points: N K -> N K."""
        scaled = self.scale * values
        grid = F.embedding_bag(self.point, scaled, self.offset, mode="sum", per_sample_weights=self.part)
        blur = grid.new_tensor(BLUR).repeat(len(grid), 1)
        for beside in self.beside:
            grid = F.embedding_bag(beside, grid, mode="sum", per_sample_weights=blur)
        return self.scale * F.embedding_bag(self.corner, grid, mode="sum", per_sample_weights=self.share)


def _beside(keys: Tensor, step: Tensor) -> Tensor:
    """Each of M sorted vertices and its neighbours, whose numbers differ by ``step``, M where absent: M + 1 3."""
    absent = len(keys)
    found = [torch.arange(absent, device=keys.device)]
    for wanted in (keys + step, keys - step):
        at = torch.searchsorted(keys, wanted).clamp(max=absent - 1)
        found.append(torch.where(keys[at] == wanted, at, absent))
    return F.pad(torch.stack(found, 1), (0, 0, 0, 1), value=absent)
