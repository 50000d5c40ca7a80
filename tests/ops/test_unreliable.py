import pytest
import torch

from seglab.labels import IGNORE
from seglab.ops.unreliable import class_rank, likely_negatives, lowest_entropy, unreliable_negatives

TOY = torch.tensor([[0.1, 0.5, 0.15, 0.25]])  # one pixel, four classes: 1 > 3 > 2 > 0


def certainties(count: int = 200) -> torch.Tensor:
    """Logits 1 2 1 N of ever more certain pixels."""
    return torch.stack([torch.linspace(0, 5, count), torch.zeros(count)]).view(1, 2, 1, count)


@pytest.mark.parametrize(("share", "kept"), [(1.0, 200), (0.9, 180), (0.8, 160), (0.0, 1)])
def test_the_most_certain_share_is_kept(share, kept):
    reliable = lowest_entropy(certainties(), torch.ones(1, 1, 200, dtype=torch.bool), share)
    assert reliable.sum().item() == kept
    assert reliable[..., -1].item()
    assert (reliable.int().diff() >= 0).all()


def test_unknown_pixels_neither_count_nor_are_kept():
    known = torch.zeros(1, 1, 200, dtype=torch.bool)
    known[..., :100] = True
    reliable = lowest_entropy(certainties(), known, 0.9)
    assert reliable.sum() == 90
    assert reliable[..., 10:100].all()


def test_rank_of_a_toy_pixel():
    assert class_rank(TOY).tolist() == [[3, 0, 2, 1]]


def test_an_unreliable_pixel_is_a_negative_of_the_classes_in_the_middle():
    for low, high, expected in ((1, 3, [False, False, True, True]), (3, 20, [True, False, False, False])):
        assert unreliable_negatives(TOY, torch.tensor([True]), low, high).tolist() == [expected]
    assert not unreliable_negatives(TOY, torch.tensor([False]), 1, 3).any()


@pytest.mark.parametrize(
    ("label", "expected"), [(1, [False, False, False, True]), (0, [False, True, False, True]), (IGNORE, [False] * 4)]
)
def test_a_labeled_pixel_is_a_negative_of_the_other_classes_it_takes_for_likely(label, expected):
    assert likely_negatives(TOY, torch.tensor([label]), 2).tolist() == [expected]
