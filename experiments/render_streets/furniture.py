"""What stands on the pavements: lamps, trees, signs, bollards, rails, bins, parked bicycles and signals."""

import math
from collections.abc import Sequence

import numpy as np

from experiments.render_streets.boundaries import boundary
from experiments.render_streets.library import leaf_colour
from experiments.render_streets.street import SIDES, Street

FAR = 120  # s up to which a street is furnished


def furnish(street: Street, trees: Sequence[str]) -> None:
    """Furnish both pavements; ``trees`` are the kinds that grow here."""
    for side in SIDES:
        lamps(street, side)
        street_trees(street, side, trees)
        signs(street, side)
        bollards(street, side)
        guard_rail(street, side)
        bins(street, side)
        bicycles(street, side)
    signals(street)


def clear(street: Street, s: float, d: float, side: int, length: float, width: float) -> bool:
    """Whether the pavement is there and free at (s, d); then it is taken."""
    return not street.crosses(s, side, 1) and street.claim(s, d, length, width)


def lamps(street: Street, side: int) -> None:
    """A row of one model; its arms hang over the road."""
    rng, d = street.rng, side * (street.half + 0.45)
    if side != 1 and rng.random() >= 0.7:
        return
    s = rng.uniform(4, 28)
    kind = "arm" if rng.random() < 0.7 else "post"
    model = rng.integers(1 << 30)
    while s < min(street.end, FAR):
        if clear(street, s, d, side, 0.6, 0.6):
            turn = math.pi if side < 0 else 0
            street.place("lamp", s, d, turn, 0.1, only=[kind], rng=np.random.default_rng(model))
        s += rng.uniform(22, 38)


def street_trees(street: Street, side: int, trees: Sequence[str]) -> None:
    rng, d = street.rng, side * (street.half + 0.9)
    if street.walk <= 2.0 or rng.random() >= 0.62:
        return
    gap, s = rng.uniform(7, 16), rng.uniform(5, 15)
    thing = str(rng.choice(trees))
    while s < min(street.end, FAR):
        if clear(street, s, d, side, 1, 1):
            street.place(thing, s, d, rng.uniform(0, 6), 0.1, rng.uniform(0.75, 1.2), leaf_colour(rng))
        s += gap * rng.uniform(0.8, 1.3)


def signs(street: Street, side: int) -> None:
    """More of them near the camera; some show their back."""
    rng, d = street.rng, side * (street.half + 0.45)
    for _ in range(rng.integers(3, 9)):
        s = 6 + 60 * rng.random() ** 1.4
        if s < min(street.end, FAR) and clear(street, s, d, side, 0.6, 0.9):
            away = math.pi if rng.random() < 0.12 else 0
            street.place("sign", s, d, rng.normal(0, 0.12) + away, 0.1)


def bollards(street: Street, side: int) -> None:
    rng, d = street.rng, side * (street.half + 0.45)
    if rng.random() >= 0.3:
        return
    start, gap = rng.uniform(5, 30), rng.uniform(1.6, 3)
    for k in range(rng.integers(3, 12)):
        s = start + k * gap
        if clear(street, s, d, side, 0.4, 0.4):
            street.place("bollard", s, d, z=0.1)


def guard_rail(street: Street, side: int) -> None:
    rng = street.rng
    if rng.random() >= 0.36:
        return
    s = rng.uniform(4, 35)
    to = min(s + rng.uniform(6, 28), street.end, FAR)
    beside = all(to < gap.centre - gap.width / 2 or s > gap.centre + gap.width / 2 for gap in street.gaps[side])
    if to - s > 3 and beside:
        boundary(street, s, to, side * (street.half + 0.25), "railing")


def bins(street: Street, side: int) -> None:
    rng, d = street.rng, side * (street.half + street.walk - 0.5)
    for _ in range(rng.integers(0, 3)):
        s = rng.uniform(8, 50)
        if clear(street, s, d, side, 0.8, 0.8):
            street.place("bin", s, d, z=0.1)


def bicycles(street: Street, side: int) -> None:
    """A rank of parked ones."""
    rng, d = street.rng, side * (street.half + 1.1)
    if rng.random() >= 0.35:
        return
    start = rng.uniform(7, 30)
    for k in range(rng.integers(1, 6)):
        s = start + k * 0.7
        if clear(street, s, d, side, 0.6, 1.6):
            turn = math.pi / 2 + rng.normal(0, 0.15)
            street.place("bicycle", s, d, turn, 0.12, colour=rng.uniform(0.02, 0.5, 3))


def signals(street: Street) -> None:
    """Traffic lights at the corners of side streets, and perhaps at a crossing between them."""
    rng = street.rng
    for centre, width in street.gaps[-1] + street.gaps[1]:
        if rng.random() >= 0.4:
            continue
        for side in SIDES:
            for s in (centre - width / 2 - 1, centre + width / 2 + 1):
                if rng.random() < 0.6 and street.claim(s, side * (street.half + 0.5), 0.6, 0.6):
                    signal(street, s, side)
    if rng.random() < 0.25:
        s = rng.uniform(8, 35)
        for side in SIDES:
            if clear(street, s, side * (street.half + 0.5), side, 0.6, 0.6):
                signal(street, s, side)


def signal(street: Street, s: float, side: int) -> None:
    """One with an arm over the road stands on the right alone."""
    street.place("signal", s, side * (street.half + 0.5), 0, 0.1, only=["post"] if side < 0 else None)
