"""Curves of several seeds as one band."""

import math

import numpy as np
import pytest

from seglab.report.bands import band


def test_mean_and_spread_where_seeds_have_values() -> None:
    found = band([([9, 19], [1.0, 2.0]), ([9, 29], [3.0, 5.0])])
    assert found.steps.tolist() == [10, 20, 30]
    assert found.mean.tolist() == [2.0, 2.0, 5.0]
    assert found.std[0] == pytest.approx(math.sqrt(2))
    assert np.isnan(found.std[1:]).all()


def test_a_long_curve_is_averaged_over_stretches() -> None:
    steps = list(range(10_000))
    found = band([(steps, [2.0 * step for step in steps]), (steps, [0.0] * len(steps))], points=100)
    assert len(found.steps) == 100
    assert np.allclose(found.mean, found.steps, atol=2)
    assert (np.diff(found.steps) == 100).all()


def test_a_thinned_curve_with_holes_has_no_empty_points() -> None:
    found = band([([*range(100), 100_000], [1.0] * 101)], points=50)
    assert found.mean.tolist() == [1.0, 1.0]
