"""Pedestrians, bicycles and their riders; they face +y. Upper clothes and bicycle frames are tinted per placement."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from experiments.render_streets.ids import BICYCLE, PERSON, RIDER
from experiments.render_streets.soup import Soup, turned, unit

SKIN = [(0.50, 0.33, 0.25), (0.42, 0.26, 0.18), (0.16, 0.09, 0.06), (0.55, 0.40, 0.32)]
HAIR = [(0.02, 0.015, 0.01), (0.08, 0.05, 0.02), (0.3, 0.2, 0.08), (0.25, 0.25, 0.25)]
HELMETS = [(0.6, 0.6, 0.6), (0.4, 0.02, 0.02), (0.02, 0.02, 0.02)]
TROUSERS = [(0.02, 0.02, 0.025), (0.03, 0.04, 0.09), (0.10, 0.08, 0.06), (0.06, 0.06, 0.06)]
TORSO = [  # part of the way from hip to neck, half the width, half the depth
    (-0.06, 0.11, 0.08), (0.0, 0.16, 0.11), (0.4, 0.15, 0.11), (0.8, 0.20, 0.12), (0.95, 0.15, 0.09), (1.0, 0.05, 0.05),
]  # fmt: skip
CLOTH = (1, 1, 1)


def limb(soup: Soup, points: Sequence[ArrayLike], radii: Sequence[float], col: ArrayLike) -> None:
    """Cloth over three joints."""
    for (a, b), (ra, rb) in zip(pairwise(points), pairwise(radii), strict=True):
        soup.tube(a, b, ra, rb, "cloth", col, 7)
        soup.ball(b, (rb, rb, rb), "cloth", col, 6)


def torso(soup: Soup, hip: ArrayLike, neck: ArrayLike, broad: float) -> None:
    """A loft of ellipses from hip to neck."""
    hip, neck = np.array(hip, float), np.array(neck, float)
    forward = unit(np.cross([1, 0, 0], unit(neck - hip)))
    t = turned(10)[:, None]
    rows = [
        hip + (neck - hip) * part + broad * (wide * np.cos(t) * [1, 0, 0] + deep * np.sin(t) * forward)
        for part, wide, deep in TORSO
    ]
    soup.grid(np.array(rows), "cloth", CLOTH, wrap=True)


def head(soup: Soup, at: ArrayLike, skin: ArrayLike, rng: np.random.Generator, helmet: bool = False) -> None:
    soup.ball(at, (0.085, 0.10, 0.125), "matt", skin, 10)
    colour: ArrayLike = HAIR[rng.integers(4)]
    if helmet:
        colour = rng.choice(HELMETS)
    soup.ball(
        np.array(at) + np.array([0, -0.02, 0.045]), (0.098, 0.115, 0.105), "plain" if helmet else "matt", colour, 10
    )


def make_person(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """Somebody who walks, or stands for the kind "stand"; some with a coat, a rucksack or a bag."""
    soup, skin = Soup(), SKIN[rng.integers(4)]
    trousers = TROUSERS[rng.integers(4)]
    stride = 0.0 if kind == "stand" else rng.uniform(0.15, 0.34)
    broad = rng.uniform(0.92, 1.18)
    for side in (-1, 1):
        step = side * stride
        hip, knee = [side * 0.09, 0, 0.92], [side * 0.10, step * 0.55 + 0.06 * (stride > 0), 0.48]
        ankle = [side * 0.10, step * 1.15 - 0.02, 0.09]
        limb(soup, [hip, knee, ankle], [0.09 * broad, 0.07 * broad, 0.05], trousers)
        soup.box([side * 0.10, step * 1.15 + 0.04, 0.045], (0.09, 0.26, 0.09), "matt", (0.015, 0.012, 0.01))
        shoulder, elbow = [side * 0.21 * broad, 0, 1.42], [side * 0.25 * broad, -step * 0.4 - 0.03, 1.14]
        hand = [side * 0.23 * broad, -step * 0.9 + 0.08, 0.90]
        limb(soup, [shoulder, elbow, hand], [0.06, 0.05, 0.038], CLOTH)
        soup.ball(hand, (0.04, 0.04, 0.06), "matt", skin, 6)
    torso(soup, [0, 0, 0.88], [0, 0, 1.50], broad)
    if rng.random() < 0.35:  # a coat or skirt down to the knee
        soup.tube([0, 0, 0.95], [0, 0, 0.55], 0.16 * broad, 0.21 * broad, "cloth", (0.9, 0.9, 0.9), 10)
    soup.tube([0, 0, 1.46], [0, 0.01, 1.56], 0.05, 0.045, "matt", skin, 7)
    head(soup, [0, 0.02, 1.64], skin, rng)
    if rng.random() < 0.4:
        soup.box([0, -0.19, 1.22], (0.30, 0.16, 0.42), "plain", rng.uniform(0.01, 0.25, 3), taper=0.85)
    elif rng.random() < 0.4:
        soup.box([0.27, 0.05, 0.72], (0.10, 0.30, 0.30), "plain", rng.uniform(0.02, 0.5, 3))
    return {PERSON: soup}


def make_bicycle(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A bicycle, some with a basket; there is one kind. The label shows its wheels filled."""
    soup, filled = Soup(), Soup()
    r, rear, front = 0.34, -0.52, 0.54
    for y in (rear, front):
        hub = [0, y, r]
        soup.ring(hub, r - 0.02, 0.024, "matt", (0.012,) * 3)
        soup.ring(hub, r - 0.05, 0.012, "metal", (0.4,) * 3)
        soup.tube([-0.05, y, r], [0.05, y, r], 0.035, 0.035, "metal", (0.3,) * 3, 7, caps=True)
        for a in turned(8):
            rim = [0, y + (r - 0.03) * math.cos(a), r + (r - 0.03) * math.sin(a)]
            soup.tube(hub, rim, 0.004, 0.004, "metal", (0.4,) * 3, 3)
        filled.tube([-0.008, y, r], [0.008, y, r], r, r, "plain", (1, 1, 1), 20, caps=True)
    crank, saddle, head_tube = [0, -0.08, 0.30], [0, -0.22, 0.88], [0, 0.36, 0.92]
    for a, b in [
        ([0, rear, r], crank),
        ([0, rear, r], [0, -0.19, 0.76]),
        (crank, saddle),
        (crank, [0, 0.38, 0.74]),
        ([0, -0.19, 0.76], [0, 0.37, 0.80]),
        (head_tube, [0, front, r]),
    ]:
        soup.tube(a, b, 0.022, 0.020, "coat", (1, 1, 1), 6)
    soup.tube(head_tube, [0, 0.33, 1.02], 0.016, 0.016, "metal", (0.2,) * 3, 6)
    soup.tube([-0.27, 0.30, 1.02], [0.27, 0.30, 1.02], 0.016, 0.016, "matt", (0.02,) * 3, 6, caps=True)
    soup.box([0, -0.24, 0.91], (0.14, 0.27, 0.05), "matt", (0.012,) * 3)
    soup.tube([-0.02, -0.08, 0.30], [0.03, -0.08, 0.30], 0.09, 0.09, "metal", (0.15,) * 3, 10, caps=True)
    if rng.random() < 0.3:
        soup.box([0, 0.52, 0.86], (0.34, 0.26, 0.22), "matt", (0.12, 0.08, 0.04))
    return {BICYCLE: soup, -BICYCLE: filled}


def make_rider(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """Somebody on a bicycle, half of them with a helmet; there is one kind."""
    machine = make_bicycle(rng, kind)
    soup, skin = Soup(), SKIN[rng.integers(4)]
    trousers = rng.uniform(0.01, 0.08, 3)
    for side, foot in ((-1, [-0.12, -0.05, 0.18]), (1, [0.12, -0.10, 0.46])):
        hip, knee = [side * 0.10, -0.20, 0.94], [side * 0.13, 0.20, 0.62 if side < 0 else 0.76]
        limb(soup, [hip, knee, foot], [0.095, 0.075, 0.05], trousers)
        soup.box([foot[0], foot[1] + 0.06, foot[2] - 0.04], (0.09, 0.26, 0.08), "matt", (0.015,) * 3)
        hand = [side * 0.24, 0.30, 1.05]
        limb(soup, [[side * 0.20, 0.02, 1.38], [side * 0.27, 0.14, 1.17], hand], [0.06, 0.05, 0.04], CLOTH)
        soup.ball(hand, (0.045, 0.05, 0.045), "matt", skin, 6)
    torso(soup, [0, -0.22, 0.93], [0, 0.05, 1.47], rng.uniform(0.95, 1.15))
    soup.tube([0, 0.04, 1.44], [0, 0.09, 1.54], 0.05, 0.045, "matt", skin, 7)
    head(soup, [0, 0.12, 1.61], skin, rng, helmet=rng.random() < 0.5)
    if rng.random() < 0.3:
        soup.box([0, -0.24, 1.26], (0.30, 0.17, 0.40), "plain", rng.uniform(0.01, 0.3, 3), taper=0.9)
    return {**machine, RIDER: soup}
