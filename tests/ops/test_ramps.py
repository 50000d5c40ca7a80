import math

import pytest

from seglab.ops.ramps import linear_rampup, sigmoid_rampup


def test_sigmoid_rampup_follows_the_formula():
    assert sigmoid_rampup(0, 100) == pytest.approx(math.exp(-5))
    assert sigmoid_rampup(50, 100) == pytest.approx(math.exp(-1.25))
    assert sigmoid_rampup(100, 100) == sigmoid_rampup(10_000, 100) == 1.0


def test_linear_rampup_is_held_in_the_unit_interval():
    assert [linear_rampup(step, 4) for step in (-1, 0, 1, 4, 9)] == [0.0, 0.0, 0.25, 1.0, 1.0]


def test_length_zero_means_no_ramp():
    assert sigmoid_rampup(0, 0) == linear_rampup(0, 0) == 1.0
