"""ops/grid.py"""

import pytest
import torch
import torch.nn.functional as F
from spaces import classes

from seglab.labels import IGNORE
from seglab.networks import Segmenter
from seglab.ops.grid import at_cells, feature_distance, majority_class, pad_label, rows


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
    network = Segmenter(classes(2), encoder="tu-test_efficientnet", weights="none").eval()
    with torch.no_grad():
        features = network(torch.rand(1, 3, *size)).features
    extent = network.extent(size)
    assert all(
        side >= own and side % cells == 0 for side, own, cells in zip(extent, size, features.shape[-2:], strict=True)
    )
    assert extent == network.prepare(torch.rand(1, 3, *size)).shape[-2:]


def test_distance_is_the_mean_norm_over_the_masked_cells():
    difference = torch.tensor([[3.0, 0.0, 100.0], [4.0, 1.0, 100.0]]).view(1, 2, 1, 3)
    mask = torch.tensor([[[True, True, False]]])
    assert feature_distance(difference, torch.zeros(1, 2, 1, 3), mask).item() == pytest.approx(3.0)
    assert 0.005 * feature_distance(torch.zeros(1, 2, 1, 3), difference, mask).item() == pytest.approx(0.015)


def test_nothing_masked_and_nothing_different_are_zero_with_finite_gradients():
    features = torch.rand(2, 4, 3, 3, requires_grad=True)
    none = feature_distance(features, torch.rand(2, 4, 3, 3), torch.zeros(2, 3, 3, dtype=torch.bool))
    same = feature_distance(features, features.detach(), torch.ones(2, 3, 3, dtype=torch.bool))
    (none + same).backward()
    assert none.item() == same.item() == 0.0
    assert features.grad.abs().max() == 0.0


def test_distance_is_float32_whatever_comes_in():
    features = torch.full((1, 512, 1, 1), 100.0, dtype=torch.float16)
    assert feature_distance(features, -features, torch.ones(1, 1, 1, dtype=torch.bool)).item() == pytest.approx(4525.48)


def test_majority_class_needs_its_share_and_ignored_pixels_compete():
    label = torch.zeros(1, 4, 8, dtype=torch.long)
    label[0, :3, :4] = 5  # 12 of the 16 pixels of the left cell
    label[0, :2, 4:] = IGNORE  # half of the right one
    assert majority_class(label, (1, 2), 0.75).tolist() == [[[5, IGNORE]]]
    assert majority_class(label, (1, 2), 0.76).tolist() == [[[IGNORE, IGNORE]]]
    label[0, 0, 4:] = 0
    assert majority_class(label, (1, 2), 0.75).tolist() == [[[5, 0]]]


def test_majority_class_is_the_pooled_one_hot_of_the_paper():
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, 24, 32))
    label[:, :12] = label[:, :12].clamp(max=1)
    label[label == 2] = IGNORE
    one_hot = F.one_hot(torch.where(label == IGNORE, 2, label), 3).permute(0, 3, 1, 2).float()
    ratio, winner = F.avg_pool2d(one_hot, 4).max(1)
    expected = torch.where((ratio >= 0.5) & (winner != 2), winner, IGNORE)
    assert torch.equal(majority_class(label, (6, 8), 0.5), expected)
    assert len(expected.unique()) == 3


def test_majority_class_does_not_wait_for_the_device(no_host_sync):
    with no_host_sync:
        majority_class(torch.randint(0, 19, (2, 64, 64)), (2, 2), 0.75)


def test_padding_is_ignored():
    assert pad_label(torch.ones(1, 1, 2, dtype=torch.long), (2, 3)).tolist() == [[[1, 1, 255], [255, 255, 255]]]
