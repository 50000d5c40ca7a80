import pytest
import torch

from seglab.networks import Segmenter
from seglab.ops.grid import at_cells, rows


def test_cells_take_the_pixel_at_their_centre():
    x = torch.arange(32).view(1, 4, 8)
    assert at_cells(x, (2, 4), (4, 8), 255).tolist() == [[[9, 11, 13, 15], [25, 27, 29, 31]]]
    assert torch.equal(at_cells(x, (4, 8), (4, 8), 255), x)
    assert torch.equal(
        at_cells(x.unsqueeze(1).expand(1, 3, 4, 8), (2, 4), (4, 8), 0)[:, 2], at_cells(x, (2, 4), (4, 8), 0)
    )


def test_cells_on_the_padding_get_the_value_for_outside():
    label = torch.ones(1, 3, 5, dtype=torch.long)
    cells = at_cells(label, (2, 4), (4, 8), 255)
    assert cells.dtype == torch.long
    assert cells.tolist() == [[[1, 1, 255, 255], [255, 255, 255, 255]]]
    inside = at_cells(label.bool(), (2, 4), (4, 8), False)
    assert inside.dtype == torch.bool
    assert torch.equal(inside, cells == 1)


def test_rows_keep_the_order_of_labels():
    maps = torch.arange(24).view(2, 3, 2, 2)
    assert torch.equal(rows(maps)[:, 1], maps[:, 1].flatten())


@pytest.mark.parametrize("size", [(40, 70), (64, 96)])
def test_the_grid_of_a_network_covers_its_extent(size):
    network = Segmenter(2, encoder="tu-test_efficientnet", weights="none").eval()
    with torch.no_grad():
        features = network(torch.rand(1, 3, *size)).features
    extent = network.extent(size)
    assert all(
        side >= own and side % cells == 0 for side, own, cells in zip(extent, size, features.shape[-2:], strict=True)
    )
    assert extent == network.prepare(torch.rand(1, 3, *size)).shape[-2:]
