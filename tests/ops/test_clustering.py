"""Pairs of cells: the card of CDAC, reversed gradients, and balanced choices."""

import pytest
import torch

from seglab.ops.clustering import (
    balanced_cells,
    pair_cross_entropy,
    reverse_gradient,
    same_top_channels,
    similar_pairs,
)

P = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
Q = torch.tensor([[0.9, 0.1], [0.4, 0.6]])


def test_the_pairs_of_the_card() -> None:
    """P = [[.74, .44], [.34, .54]], the identity as target: mean 0.478156."""
    every = torch.ones(2, dtype=torch.bool)
    assert pair_cross_entropy(P, Q, torch.eye(2) > 0, every).item() == pytest.approx(0.478156, abs=1e-5)
    one = pair_cross_entropy(P, Q, torch.eye(2) > 0, torch.tensor([True, False]))
    assert one.item() == pytest.approx(0.301105, abs=1e-5)
    assert pair_cross_entropy(P, Q, torch.eye(2) > 0, ~every).item() == 0


def test_certain_pairs_have_a_finite_loss_and_gradient() -> None:
    p = torch.eye(2, requires_grad=True)
    loss = pair_cross_entropy(p, p, torch.eye(2) == 0, torch.ones(2, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(p.grad).all()


def test_the_order_of_the_largest_channels_does_not_matter() -> None:
    """(9, 8, 7, 6, 5, 1) and (8, 9, 5, 7, 6, 2): equal sets; a third vector has others."""
    features = torch.tensor([[9.0, 8, 7, 6, 5, 1], [8, 9, 5, 7, 6, 2], [9, 8, 7, 6, 1, 5]])
    same = same_top_channels(features, 5)
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_too_few_equal_sets_leave_it_to_the_cosine() -> None:
    features = torch.tensor([[9.0, 8, 7, 6, 5, 1], [9, 8, 7, 6, 1, 5], [-9, 8, -7, 6, -5, 1]])
    by_set, rate = similar_pairs(features, 5, least=0.0, cosine=0.9)
    assert rate.item() == 0
    assert by_set.sum() == 3
    by_cosine, _ = similar_pairs(features, 5, least=0.001, cosine=0.9)
    assert by_cosine.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_a_reversed_gradient() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = reverse_gradient(x)
    assert torch.equal(y, x)
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-3.0, -5.0]


def test_classes_are_equally_probable_and_no_cell_comes_twice() -> None:
    torch.manual_seed(0)
    label = torch.tensor([[0] * 90 + [1] * 10 + [255] * 20])
    found = torch.zeros(256)
    for _ in range(400):
        index, valid = balanced_cells(label, 4, 3)
        assert valid.all()
        assert len(set(index[0].tolist())) == 4
        found += torch.bincount(label[0, index[0]], minlength=256)
    assert found[255] == 0
    assert 0.4 < found[1] / found.sum() < 0.55
    index, valid = balanced_cells(torch.full((1, 5), 255), 8, 3)
    assert index.shape == (1, 5)
    assert not valid.any()
