"""FiniteCheck worked out by hand."""

import math

import pytest

from seglab.report.estimate import estimate, paired_difference, t_quantile


def test_mean_and_sample_deviation() -> None:
    found = estimate({1: 0.40, 2: 0.44, 3: 0.48})
    assert found.mean == pytest.approx(0.44)
    assert found.std == pytest.approx(0.04)  # sqrt((0.04^2 + 0 + 0.04^2) / 2)
    assert found.n == 3


def test_the_interval_of_three_seeds() -> None:
    found = estimate({1: 0.40, 2: 0.44, 3: 0.48})
    assert found.half_width == pytest.approx(4.302653 * 0.04 / math.sqrt(3), abs=1e-7)
    assert (found.low, found.high) == (found.mean - found.half_width, found.mean + found.half_width)


@pytest.mark.parametrize(("n", "t"), [(2, 12.7062), (3, 4.3027), (5, 2.7764), (11, 2.2281)])
def test_t_of_the_tables(n: int, t: float) -> None:
    assert t_quantile(n) == pytest.approx(t, abs=1e-4)


def test_differences_are_paired_by_seed() -> None:
    own = {1: 0.51, 2: 0.62, 3: 0.73, 4: 0.99}
    baseline = {3: 0.70, 2: 0.60, 1: 0.50, 5: 0.10}
    found = paired_difference(own, baseline)  # 0.01, 0.02, 0.03: seeds 4 and 5 have no partner
    assert (found.n, found.mean, found.std) == (3, pytest.approx(0.02), pytest.approx(0.01))
    assert found.low == pytest.approx(0.02 - 4.302653 * 0.01 / math.sqrt(3), abs=1e-7)
    assert not found.excludes_zero  # 0.02 - 0.0248 < 0, though every seed is better


def test_an_interval_on_one_side_of_zero() -> None:
    assert paired_difference({1: 0.52, 2: 0.521, 3: 0.522}, {1: 0.5, 2: 0.5, 3: 0.5}).excludes_zero
    assert paired_difference({1: 0.48, 2: 0.479, 3: 0.478}, {1: 0.5, 2: 0.5, 3: 0.5}).excludes_zero


def test_one_value_has_no_interval() -> None:
    found = paired_difference({1: 0.9}, {1: 0.1})
    assert (found.n, found.mean) == (1, pytest.approx(0.8))
    assert math.isnan(found.std)
    assert math.isnan(found.half_width)
    assert not found.excludes_zero


def test_values_that_are_not_finite_are_no_values() -> None:
    found = estimate({1: 0.5, 2: math.nan, 3: math.inf})
    assert (found.n, found.mean) == (1, 0.5)
    assert math.isnan(estimate({}).mean)
    assert paired_difference({1: 0.5}, {2: 0.5}).n == 0
