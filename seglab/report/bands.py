"""Curves of a method: mean and spread over its seeds, no denser than a screen shows."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seglab.runs.reading import Curve, Run

POINTS = 150  # of a longer curve: each is the mean over a stretch of steps


class Band(NamedTuple):
    """A curve with its spread; all of one length.

    Attributes:
        steps: ascending, optimiser steps done (``metrics.csv`` counts from 0, this from 1).
        mean: over the seeds that have a value there.
        std: sample standard deviation over seeds; NaN where fewer than two have a value.
    """

    steps: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def seed_bands(runs: Sequence[Run], points: int = POINTS) -> dict[str, Band]:
    """Every column of the runs' ``metrics.csv`` as one band."""
    found: dict[str, list[Curve]] = {}
    for run in runs:
        for name, curve in run.metrics.items():
            found.setdefault(name, []).append(curve)
    return {name: band(parts, points) for name, parts in found.items()}


def band(parts: Sequence[Curve], points: int = POINTS) -> Band:
    """Mean and spread of curves, one per seed, whose steps may differ.

    More than ``points`` different steps are cut into as many equal stretches: each seed's values are averaged within a
    stretch, then over seeds.
    """
    at = np.unique(np.concatenate([steps for steps, _ in parts]))
    cells = len(at)
    if cells > points:
        width = (at[-1] + 1 - at[0]) / points
        places = [((np.asarray(steps) - at[0]) / width).astype(int) for steps, _ in parts]
        at, cells = np.round(at[0] + width * (np.arange(points) + 0.5)).astype(int), points
    else:
        places = [np.searchsorted(at, steps) for steps, _ in parts]
    values = np.stack([_cell_means(place, part[1], cells) for place, part in zip(places, parts, strict=True)])
    filled = ~np.isnan(values).all(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one value has no spread: NaN, as it should be
        return Band(at[filled] + 1, np.nanmean(values[:, filled], 0), np.nanstd(values[:, filled], 0, ddof=1))


def _cell_means(place: np.ndarray, values: Sequence[float], cells: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.bincount(place, values, cells) / np.bincount(place, minlength=cells)
