"""ops/correlation.py"""

import math

import pytest
import torch

from seglab.labels import IGNORE
from seglab.ops.correlation import correlation_map, fill_regions, propagate, regions


def test_rows_of_a_correlation_map_sum_to_one_in_float32() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 5, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        correlation = correlation_map(query, key)
    assert correlation.shape == (2, 12, 12)
    assert correlation.dtype == torch.float32
    torch.testing.assert_close(correlation.sum(2), torch.ones(2, 12))


def test_correlation_and_propagation_of_a_map_of_two_positions() -> None:
    """query_1 . key = (log 3, 0) and query_2 . key = (0, 0) times sqrt(4): rows (3/4, 1/4) and (1/2, 1/2)."""
    query = torch.zeros(1, 4, 1, 2)
    key = torch.zeros(1, 4, 1, 2)
    query[0, 0, 0, 0], key[0, 0, 0, 0] = 2.0, math.log(3.0)
    correlation = correlation_map(query, key)
    torch.testing.assert_close(correlation[0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    values = torch.tensor([[[[1.0, 10.0]], [[-2.0, 0.0]]]])  # two classes
    expected = torch.tensor([[[[1 * 0.75 + 10 * 0.5, 1 * 0.25 + 10 * 0.5]], [[-1.5, -0.5]]]])
    torch.testing.assert_close(propagate(values, correlation), expected)


def test_regions_are_what_is_above_half_of_the_range() -> None:
    maps = torch.tensor([[[[0.1, 0.2], [0.3, 0.31]], [[0.5, 0.5], [0.5, 0.5]]]])
    found = regions(maps)
    assert found.tolist() == [[[[False, False], [True, True]], [[False, False], [False, False]]]]
    assert regions(torch.tensor([[[[0.0, 0.5, 1.0]]]])).tolist() == [[[[False, False, True]]]]  # half is not above half


@pytest.mark.parametrize(("share", "filled"), [(0.7, True), (0.75, True), (0.8, False)])
def test_a_region_with_three_of_four_pixels_trusted(share: float, filled: bool) -> None:
    label = torch.tensor([[[1, 1, 1, 2]]])
    trusted = torch.tensor([[[True, True, True, False]]])
    new, kept = fill_regions(label, trusted, torch.ones(1, 1, 1, 4, dtype=torch.bool), share)
    assert new.tolist() == [[[1, 1, 1, 1 if filled else 2]]]
    assert kept.tolist() == [[[True, True, True, filled]]]


@pytest.mark.parametrize(("share", "filled"), [(0.7, True), (0.75, False)])
def test_the_largest_class_must_have_more_than_the_share(share: float, filled: bool) -> None:
    label, trusted = torch.tensor([[[4, 4, 4, 7]]]), torch.ones(1, 1, 4, dtype=torch.bool)
    new, kept = fill_regions(label, trusted, torch.ones(1, 1, 1, 4, dtype=torch.bool), share)
    assert new[0, 0, 3].item() == (4 if filled else 7)
    assert kept.all()


def test_regions_see_what_those_before_them_changed_and_images_are_apart() -> None:
    label = torch.tensor([[[0, 0, 1, 1, 1]]])
    trusted = torch.tensor([[[True, True, True, False, True]]])
    first, second = torch.tensor([True, True, True, False, False]), torch.tensor([False, False, True, False, True])
    region = torch.stack([first, second]).view(1, 2, 1, 5)
    new, kept = fill_regions(label, trusted, region, 0.6)
    assert new.tolist() == [[[0, 0, 0, 1, 1]]]  # the first makes it 0; the second is then half 0, half 1
    new, _ = fill_regions(label, trusted, region.flip(1), 0.6)
    assert new.tolist() == [[[0, 0, 0, 1, 1]]]
    assert torch.equal(kept, trusted)

    both = [torch.cat([x, x]) for x in (label, trusted, region)]
    both[2][1] = False
    new, _ = fill_regions(*both, 0.6)
    assert torch.equal(new[1], label[0])


def loop(label, trusted, region, share):
    """The rule, a pixel and a region at a time."""
    label, kept = label.clone(), trusted.clone()
    for i in range(len(label)):
        for part in region[i]:
            sure = part & trusted[i]
            if not sure.any() or sure.sum() / part.sum() < share:
                continue
            classes, counts = label[i][sure].unique(return_counts=True)
            if counts.max() / counts.sum() > share:
                label[i][part] = classes[counts.argmax()]
                kept[i] |= part
    return label, kept


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
def test_filling_equals_a_loop_over_images_and_regions(share: float, no_host_sync) -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (3, 6, 8)).where(torch.rand(3, 6, 8) < 0.5, 0)
    trusted, region = torch.rand(3, 6, 8) < 0.8, torch.rand(3, 20, 6, 8) < 0.1
    label[0, 0, 0], region[0, :, 0, 0] = IGNORE, False
    with no_host_sync:
        new, kept = fill_regions(label, trusted, region, torch.tensor(share))
    expected = loop(label, trusted, region, share)
    assert torch.equal(new, expected[0])
    assert torch.equal(kept, expected[1])
    assert not torch.equal(new, label)
