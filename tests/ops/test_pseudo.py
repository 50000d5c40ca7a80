"""ops/pseudo.py"""

import pytest
import torch

from seglab.labels import IGNORE
from seglab.ops.pseudo import (
    LEVELS,
    ClassBalanced,
    Fixed,
    batch_ratio,
    class_boundaries,
    class_rank,
    dynamic_threshold,
    hard_label,
    image_confidence,
    image_ratio,
    likely_negatives,
    lowest_entropy,
    masked_quantile,
    pixel_threshold,
    pseudo_label,
    unreliable_negatives,
    without_borders,
)
from seglab.types import SeglabError

CONFIDENCE = torch.tensor([[[0.97, 0.90]], [[0.968, 0.97]]])  # B 1 2
THRESHOLD = 0.968


def test_pseudo_label_is_the_most_probable_class_and_its_probability():
    probability = torch.tensor([0.2, 0.7, 0.1]).view(1, 3, 1, 1)
    label, confidence = pseudo_label(probability.log().requires_grad_())
    assert label.tolist() == [[[1]]]
    assert confidence.item() == pytest.approx(0.7)
    assert not confidence.requires_grad
    assert label.dtype == torch.int64


def test_hard_label_is_the_argmax_and_the_first_of_equals():
    logits = torch.randn(2, 19, 5, 7).round()  # many are equal
    assert torch.equal(hard_label(logits), logits.argmax(1))


def test_confidence_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert pseudo_label(torch.randn(1, 3, 2, 2, dtype=torch.bfloat16)).confidence.dtype == torch.float32


def test_pixel_threshold_includes_the_threshold():
    assert pixel_threshold(CONFIDENCE, THRESHOLD).tolist() == [[[1, 0]], [[1, 1]]]


def test_image_ratio_is_the_share_in_each_image():
    assert image_ratio(CONFIDENCE, THRESHOLD).tolist() == [[[0.5, 0.5]], [[1, 1]]]


def test_batch_ratio_is_the_share_in_the_whole_batch():
    confidence = torch.tensor([[[0.97, 0.90]], [[0.968, 0.5]]])
    weight = batch_ratio(confidence, THRESHOLD)
    assert weight.tolist() == [[[0.5, 0.5]], [[0.5, 0.5]]]
    weight[0, 0, 0] = 0.0  # border masks write into weights, so pixels must not share memory
    assert weight.sum().item() == 1.5


def test_batch_ratio_leaves_padding_out():
    confidence = torch.tensor([[[0.99, 0.5], [0.99, 0.99]]])
    valid = torch.tensor([[[True, True], [False, False]]])
    assert batch_ratio(confidence, THRESHOLD, valid).unique().tolist() == [0.5]


def test_rows_at_the_borders_weigh_nothing_even_where_they_are_all():
    assert without_borders(torch.ones(1, 5, 2), 1, 2)[0, :, 0].tolist() == [0, 1, 1, 0, 0]
    assert without_borders(torch.ones(1, 5, 2), 0, 9).max() == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.83, 1.0])
def test_masked_quantile_is_the_quantile_of_what_the_mask_shows(share):
    torch.manual_seed(0)
    value, mask = torch.randn(2, 7, 9), torch.rand(2, 7, 9) < 0.6
    assert masked_quantile(value, mask, share).item() == pytest.approx(value[mask].quantile(share).item(), abs=1e-6)


def test_masked_quantile_of_nothing_is_infinite_and_of_one_value_that_value():
    value = torch.tensor([3.0, 4.0])
    assert masked_quantile(value, torch.zeros(2, dtype=torch.bool), 0.5).item() == float("inf")
    assert masked_quantile(value, torch.tensor([False, True]), 0.2).item() == 4.0


def test_masked_quantile_does_not_wait_for_the_device(no_host_sync):
    with no_host_sync:
        masked_quantile(torch.randn(5), torch.rand(5) < 0.5, 0.8)


def counts(*classes: list[float]) -> torch.Tensor:
    table = torch.zeros(len(classes), LEVELS + 1, dtype=torch.int64)
    for row, confidences in zip(table, classes, strict=True):
        for confidence in confidences:
            row[round(confidence * LEVELS)] += 1
    return table


def test_class_balanced_thresholds_are_capped_medians():
    thresholds = ClassBalanced()(counts([0.5, 0.6, 0.7, 0.8], [0.95, 0.97, 0.99], [0.3], []))
    assert thresholds.tolist() == pytest.approx([0.7, 0.9, 0.3, 0.9])  # the value of rank round(n / 2)


@pytest.mark.parametrize("quantile", [0.0, 0.25, 0.6, 1.0])
def test_class_balanced_thresholds_keep_the_share_above_the_quantile(quantile):
    torch.manual_seed(0)
    confidence = torch.rand(1000)
    table = torch.zeros(1, LEVELS + 1, dtype=torch.int64)
    level = (confidence * LEVELS).round().long()
    table[0].index_add_(0, level, torch.ones_like(level))
    (threshold,) = ClassBalanced(quantile, cap=1.0)(table)
    assert (level >= round(threshold.item() * LEVELS)).float().mean().item() == pytest.approx(1 - quantile, abs=0.003)


def test_a_fixed_threshold_is_that_of_every_class():
    assert Fixed(0.8)(counts([0.5], [])).tolist() == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize("rule", [lambda: ClassBalanced(quantile=1.5), lambda: ClassBalanced(cap=-1), lambda: Fixed(2)])
def test_rules_outside_the_unit_interval_are_refused(rule):
    with pytest.raises(SeglabError, match=r"in \[0, 1\]"):
        rule()


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


def test_image_confidence_has_the_published_values():
    sure, even = torch.zeros(2, 21)
    sure = torch.tensor([0.9] + [0.1 / 20] * 20).log()
    certain = torch.tensor([50.0] + [0.0] * 20)
    logits = torch.stack([sure, even, certain]).view(3, 21, 1, 1).expand(-1, -1, 2, 3)
    valid = torch.ones(3, 2, 3, dtype=torch.bool)
    assert image_confidence(logits, valid).tolist() == pytest.approx([0.71534, 0.0, 1.0], abs=1e-5)

    mixed = torch.cat([logits[:1, :, :1], logits[1:2, :, :1]], 2)  # a sure row, an undecided one
    valid = torch.tensor([[[True, True, False], [True, False, False]]])
    assert image_confidence(mixed, valid).item() == pytest.approx(0.71534 * 2 / 3, abs=1e-5)
    assert image_confidence(mixed, torch.zeros_like(valid)).item() == 0.0


@pytest.mark.parametrize(
    ("mean", "threshold"), [(0.1, 0.3), (0.5, 0.3), (0.7, 0.31499), (0.9, 0.32990), (1.0, 0.33731)]
)
def test_dynamic_threshold_has_the_published_values(mean, threshold):
    confidence, valid = torch.full((2, 3, 4), mean), torch.ones(2, 3, 4, dtype=torch.bool)
    confidence[0, 0], valid[0, 0] = 0.0, False
    assert dynamic_threshold(confidence, valid, 0.6, 0.5, (0.3, 0.8)).item() == pytest.approx(threshold, abs=1e-5)
    assert dynamic_threshold(confidence, valid, 3.0, 0.5, (0.3, 0.8)).item() == pytest.approx(0.8)


def test_boundaries_are_both_sides_of_an_edge_and_the_border_of_the_image(no_host_sync):
    label = torch.zeros(1, 6, 8, dtype=torch.long)
    label[..., 4:] = 2
    with no_host_sync:
        found = class_boundaries(label, 3)
    expected = torch.zeros(1, 6, 8, dtype=torch.bool)
    expected[..., 3:5] = True
    expected[:, [0, -1]] = True
    expected[..., [0, -1]] = True
    assert torch.equal(found, expected)


def test_boundaries_of_images_are_their_own():
    label = torch.zeros(2, 5, 5, dtype=torch.long)
    label[1, 2, 2] = 1
    found = class_boundaries(label, 2)
    assert not found[0, 1:-1, 1:-1].any()
    assert found[1, 1:-1, 1:-1].sum() == 8  # all around the one pixel; in its own place the gradients cancel
