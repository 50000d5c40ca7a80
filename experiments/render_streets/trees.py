"""Trees and bushes. Makers take a generator and a kind, and return geometry by label id, the ground at z = 0."""

import numpy as np

from experiments.render_streets.ids import VEGETATION
from experiments.render_streets.soup import Soup, unit

FOLIAGE = [[0.075, 0.13, 0.035], [0.11, 0.14, 0.03], [0.05, 0.10, 0.04], [0.17, 0.12, 0.03]]


def make_tree(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """ "broad" with leaves, "bare", "conifer" or "bush"."""
    soup, bark = Soup(), np.array([0.10, 0.075, 0.05]) * rng.uniform(0.6, 1.6)
    if kind == "conifer":
        conifer(soup, rng, bark)
    elif kind == "bush":
        bush(soup, rng)
    else:
        tips = branches(soup, rng, bark, depth=6 if kind == "bare" else 4)
        if kind == "broad":
            leaves(soup, rng, tips)
    return {VEGETATION: soup}


def conifer(soup: Soup, rng: np.random.Generator, bark: np.ndarray) -> None:
    """A trunk inside a cone of twigs."""
    n, height, radius = 4200, rng.uniform(7, 11), rng.uniform(1.6, 2.6)
    soup.tube([0, 0, 0], [0, 0, height], 0.2, 0.03, "bark", bark)
    z = 1 - np.sqrt(rng.random(n))
    angle, r = rng.random(n) * 2 * np.pi, radius * (1 - z) * np.sqrt(rng.uniform(0.3, 1, n))
    centres = np.stack([r * np.cos(angle), r * np.sin(angle), 0.8 + z * (height - 0.8) - 0.25 * r], -1)
    soup.cards(centres, 0.38, rng, "leaf", rng.uniform(0.5, 1.2, (n, 1)) * np.array([0.05, 0.09, 0.04]))


def bush(soup: Soup, rng: np.random.Generator) -> None:
    """A dark ball with leaves round it."""
    n = 1500
    d = rng.normal(size=(n, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    centres = d * np.array([0.9, 0.9, 0.65]) * rng.uniform(0.75, 1.05, (n, 1)) + [0, 0, 0.55]
    soup.ball([0, 0, 0.5], (0.75, 0.75, 0.55), "leaf", (0.03, 0.05, 0.02))
    colours = rng.uniform(0.5, 1.4, (n, 1)) * np.array([0.07, 0.12, 0.04])
    soup.cards(np.maximum(centres, [-9, -9, 0.02]), 0.2, rng, "leaf", colours)


def branches(soup: Soup, rng: np.random.Generator, bark: np.ndarray, depth: int) -> np.ndarray:
    """A trunk that forks ``depth`` times; returns the ends of its last twigs, N 3."""
    tips: list[np.ndarray] = []

    def grow(p: np.ndarray, d: np.ndarray, length: float, radius: float, forks: int) -> None:
        q = p + d * length
        soup.tube(p, q, radius, radius * 0.72, "bark", bark, 7 if forks < 2 else 4 if forks < 4 else 3)
        if forks >= depth:
            tips.append(q)
            return
        for _ in range(3 if forks < 5 else 4):
            turn = unit(d + rng.normal(size=3) * 0.52 + np.array([0, 0, 0.12]))
            start = q if rng.random() < 0.7 else p + d * length * rng.uniform(0.6, 1)
            shorter = length * rng.uniform(0.62, 0.84)
            grow(start, turn, shorter, max(radius * rng.uniform(0.5, 0.68), 0.012), forks + 1)

    height = rng.uniform(1.8, 3.0)
    lean = unit([rng.normal() * 0.05, rng.normal() * 0.05, 1])
    grow(np.zeros(3), lean, height, rng.uniform(0.14, 0.24), 0)
    return np.array(tips)


def leaves(soup: Soup, rng: np.random.Generator, tips: np.ndarray) -> None:
    """12,000 leaves in balls round the ends of twigs."""
    ball = rng.uniform(0.65, 1.0)
    centres = np.repeat(tips, int(12000 / len(tips)), 0)
    n = len(centres)
    off = rng.normal(size=centres.shape)
    off *= ball * rng.uniform(0.2, 1.25, (n, 1)) / np.linalg.norm(off, axis=1, keepdims=True)
    colour = np.array(FOLIAGE[rng.integers(4)])
    soup.cards(centres + off * [1, 1, 0.75], 0.19, rng, "leaf", rng.uniform(0.45, 1.4, (n, 1)) * colour)
