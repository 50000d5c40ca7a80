"""What bounds a garden, a park or a pavement: walls, hedges, board fences, hoardings and railings."""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from experiments.render_streets.ids import FENCE, VEGETATION, WALL
from experiments.render_streets.street import Street


def boundary(street: Street, s0: float, s1: float, d: float, kind: str | None = None) -> None:
    """A boundary along the street at ``d``.

    Args:
        kind: "wall", "hedge", "boards", "railing" or "panel"; none: drawn.
    """
    rng = street.rng
    kind = kind or str(rng.choice(["wall", "hedge", "boards", "railing", "panel"], p=[0.24, 0.20, 0.16, 0.28, 0.12]))
    # every kind draws its height, so that what follows does not depend on the kind
    height = {
        "wall": rng.uniform(0.6, 1.3),
        "hedge": rng.uniform(0.8, 1.9),
        "boards": rng.uniform(1.2, 1.9),
        "railing": rng.uniform(0.95, 1.4),
        "panel": rng.uniform(1.6, 2.3),
    }[kind]
    build = {"wall": wall, "hedge": hedge, "boards": boards, "railing": railing, "panel": hoarding}[kind]
    build(street, s0, s1, d, height)


def sheet(
    street: Street, label: int, s0: float, s1: float, d: float, half: float, height: float, mat: str, col: ArrayLike
) -> None:
    """A long upright box, ``half`` metres to each side of ``d``."""
    s, soup, top = street.along(s0, s1), street.soup(label), np.array([0, 0, height])
    a, b = street.at(s, d - half), street.at(s, d + half)
    soup.grid(np.stack([a, a + top, b + top, b], 1), mat, col, smooth=False)
    for end in (0, -1):
        soup.quad(np.array([a[end], b[end], b[end] + top, a[end] + top]), mat, col)


def wall(street: Street, s0: float, s1: float, d: float, height: float) -> None:
    skin = str(street.rng.choice(["brick", "stone"]))
    sheet(street, WALL, s0, s1, d, 0.12, height, skin, np.array((0.28, 0.17, 0.11)) * street.rng.uniform(0.6, 1.6))


def hedge(street: Street, s0: float, s1: float, d: float, height: float) -> None:
    rng = street.rng
    sheet(street, VEGETATION, s0, s1, d, 0.3, height - 0.1, "leaf", (0.03, 0.05, 0.02))
    n = min(int((s1 - s0) * 220 * (height / 1.3)), 2600)
    centres = street.at(rng.uniform(s0, s1, n), d + rng.uniform(-0.4, 0.4, n), rng.uniform(0.02, height, n))
    colours = rng.uniform(0.5, 1.4, (n, 1)) * np.array([0.07, 0.12, 0.04])
    street.soup(VEGETATION).cards(centres, 0.2, rng, "leaf", colours)


def boards(street: Street, s0: float, s1: float, d: float, height: float) -> None:
    colour = np.array((0.26, 0.18, 0.11)) * street.rng.uniform(0.5, 1.5)
    sheet(street, FENCE, s0, s1, d, 0.02, height, "roof", colour)
    for s in np.arange(s0, s1, 1.9):
        street.soup(FENCE).box(street.at(s, d, height / 2), (0.12, 0.12, height + 0.1), "plain", (0.2, 0.14, 0.09))


def hoarding(street: Street, s0: float, s1: float, d: float, height: float) -> None:
    """Corrugated sheet, as round a building site."""
    colour = street.rng.choice([(0.1, 0.2, 0.4), (0.5, 0.5, 0.5), (0.1, 0.25, 0.15), (0.4, 0.38, 0.3)])
    sheet(street, FENCE, s0, s1, d, 0.02, height, "plaster", colour)
    for s in np.arange(s0, s1, 0.6):
        street.soup(FENCE).box(street.at(s, d, height / 2), (0.08, 0.08, height), "plain", (0.3, 0.3, 0.3))


def railing(street: Street, s0: float, s1: float, d: float, height: float) -> None:
    """Rails, posts and bars; the label shows it filled."""
    colours = [(0.25, 0.26, 0.27), (0.02, 0.02, 0.02), (0.03, 0.08, 0.05), (0.45, 0.45, 0.45)]
    colour = colours[street.rng.integers(4)]
    soup, span = street.soup(FENCE), street.along(s0, s1)
    for z in (0.12, height):
        for a, b in pairwise(street.at(span, d, z)):
            soup.tube(a, b, 0.03, 0.03, "plain", colour, 5)
    for s in np.arange(s0, s1 + 0.01, 2.0):
        soup.tube(street.at(s, d, 0), street.at(s, d, height + 0.05), 0.045, 0.045, "plain", colour, 6)
    bars = np.arange(s0, s1, 0.16 if s0 < 40 else 0.4)  # fewer where they are too thin to see
    for a, b in zip(street.at(bars, d, 0.12), street.at(bars, d, height), strict=True):
        soup.tube(a, b, 0.018, 0.018, "plain", colour, 3)
    filled = np.stack([street.at(span, d, 0.1), street.at(span, d, height + 0.02)], 1)
    street.soup(-FENCE).grid(filled, "plain", colour, smooth=False)
