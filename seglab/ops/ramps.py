"""Ramps for loss weights and thresholds, in optimiser steps."""

import math


def sigmoid_rampup(step: int, length: int) -> float:
    """exp(-5 (1 - t)²) with t = step / length held in [0, 1] (Laine and Aila, ICLR 2017); 1.0 when length is 0."""
    return math.exp(-5.0 * (1.0 - linear_rampup(step, length)) ** 2)


def linear_rampup(step: int, length: int) -> float:
    """step / length held in [0, 1]; 1.0 when length is 0."""
    return min(max(step / length, 0.0), 1.0) if length > 0 else 1.0
