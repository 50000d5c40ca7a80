"""CorrMatch's head (Sun et al., CVPR 2024): which positions of an image correlate, and what logits gain from it."""

from collections.abc import Sequence

from torch import Tensor, nn

from seglab.networks.base import Network
from seglab.ops.correlation import correlation_map, propagate, random_rows, regions
from seglab.ops.grid import last_map, to_cells


class CorrelationHead(nn.Sequential):
    """B channels h w -> B 2*num_classes h w: a query, then a key, for each position of an encoder's coarsest map."""

    def __init__(self, channels: int, num_classes: int, dim: int = 256) -> None:
        super().__init__(
            nn.Conv2d(channels, dim, 3, padding=1),
            nn.BatchNorm2d(dim),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(dim, 2 * num_classes, 1),
        )

    def propagate(self, network: Network, stages: Sequence[Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits B K H W, without their gradient, propagated by the correlation B h*w h*w, and that itself."""
        features, size = last_map(stages), logits.shape[-2:]
        query, key = self(features).chunk(2, 1)
        correlation = correlation_map(query, key)
        cells = to_cells(logits.detach(), features.shape[-2:], network.extent(size), network.align_corners)
        return network.restore(propagate(cells, correlation), size), correlation

    def random_regions(
        self, network: Network, stages: Sequence[Tensor], correlation: Tensor, size: Sequence[int], number: int
    ) -> Tensor:
        """Regions of random positions, the same in each image: B number H W bool at the ``size`` of the images."""
        if not number:
            return correlation.new_zeros((len(correlation), 0, *size)).bool()
        maps = random_rows(correlation, number, last_map(stages).shape[-2:])
        return regions(network.restore(maps, size))
