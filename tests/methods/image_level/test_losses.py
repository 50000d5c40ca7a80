"""BAS and W-OoD on the numbers of their cards."""

import pytest
import torch

from seglab.methods.image_level.bas import against_negatives, hide, suppression
from seglab.methods.image_level.wood import distances, metric
from seglab.ops.clustering import k_means


def test_suppression_is_a_ratio_and_without_a_gradient_where_the_outside_is_stronger() -> None:
    outside = torch.tensor([0.3, 0.9], requires_grad=True)
    value = suppression(outside, torch.tensor([0.8, 0.8]))
    torch.testing.assert_close(value, torch.tensor([0.375, 1.0]))
    value.sum().backward()
    assert outside.grad is not None
    assert outside.grad[0] > 0
    assert outside.grad[1] == 0


def test_tags_compete_with_negatives_alone() -> None:
    score, tags = torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([[True, True, False, False]])
    assert against_negatives(score, tags).item() == pytest.approx(0.577452, abs=1e-6)
    assert against_negatives(score, tags & False).item() == 0
    assert against_negatives(score, tags | True).item() == pytest.approx(0, abs=1e-6), "no class is left to compete"


def test_a_mask_hides_stages_of_any_grid_and_leaves_tokens() -> None:
    mask = torch.ones(1, 1, 2, 2)
    assert not hide(torch.rand(1, 4, 8, 8), mask).any()
    token = torch.rand(1, 4)
    assert hide(token, mask) is token


def test_the_metric_of_the_card() -> None:
    to_class, tags = torch.tensor([[3.0] + [9.0] * 19]), torch.tensor([[1.0] + [0.0] * 19])
    to_centre = torch.tensor([[1.0, 2.0, 4.0, 5.0, 6.0]])
    assert metric(to_class, to_centre, tags, 0.2).item() == pytest.approx(0.4, abs=1e-6)


def test_distances_are_euclidean_and_have_a_gradient_where_points_meet() -> None:
    features = torch.tensor([[3.0, 4.0]], requires_grad=True)
    found = distances(features, torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([[5.0, 0.0]]), atol=1e-5, rtol=0)
    found.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_k_means_finds_groups_and_takes_few_features() -> None:
    features = torch.tensor([[0.0, 0.0], [5.0, 5.0], [0.0, 0.2], [5.0, 5.2]])
    torch.testing.assert_close(k_means(features, 2), torch.tensor([[0.0, 0.1], [5.0, 5.1]]))
    assert k_means(features[:1], 3).shape == (3, 2)
