"""Means over seeds, and differences paired by seed with Student's t interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds.

    Attributes:
        mean: NaN without values.
        std: sample standard deviation (n - 1); NaN below two values.
        n: number of values.
    """

    mean: float
    std: float
    n: int

    @property
    def half_width(self) -> float:
        """Of the mean's 95 % interval: ``t * std / sqrt(n)`` with n - 1 degrees of freedom; NaN below two values."""
        return t_quantile(self.n) * self.std / math.sqrt(self.n) if self.n > 1 else math.nan

    @property
    def low(self) -> float:
        """Lower end of the mean's 95 % interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the mean's 95 % interval."""
        return self.mean + self.half_width

    @property
    def excludes_zero(self) -> bool:
        """Whether the 95 % interval lies on one side of 0; never with one value."""
        return self.low > 0 or self.high < 0


def estimate(values: Mapping[Any, float]) -> Estimate:
    """Mean and sample standard deviation of the finite values."""
    found = np.array([value for value in values.values() if math.isfinite(value)])
    mean = float(found.mean()) if len(found) else math.nan
    return Estimate(mean, float(found.std(ddof=1)) if len(found) > 1 else math.nan, len(found))


def paired_difference(values: Mapping[Any, float], baseline: Mapping[Any, float]) -> Estimate:
    """Mean over the seeds that both have of value minus baseline; its interval is that of the paired t test."""
    return estimate({seed: values[seed] - baseline[seed] for seed in values.keys() & baseline.keys()})


def t_quantile(n: int) -> float:
    """Student's t at 97.5 % with n - 1 degrees of freedom: half the width of a 95 % interval in standard errors."""
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
