import pytest
import torch

from seglab.ops.thresholds import LEVELS, ClassBalanced, Fixed, masked_quantile
from seglab.types import SeglabError


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
