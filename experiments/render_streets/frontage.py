"""What stands along a street: terraces, houses with gardens, parks, car parks, and the skyline behind."""

import math
from collections.abc import Sequence

import numpy as np

from experiments.render_streets.boundaries import boundary
from experiments.render_streets.buildings import build
from experiments.render_streets.ground import Surfaces
from experiments.render_streets.ids import BUILDING, ROAD, SIDEWALK, TERRAIN
from experiments.render_streets.library import car_colour, leaf_colour
from experiments.render_streets.soup import unit
from experiments.render_streets.street import SIDES, Street

TREES = (["tree", "tree", "bare", "conifer"], ["tree", "tree", "bare"], ["bare"], ["tree", "tree", "conifer"])
KINDS = ("row", "houses", "park", "cars")
ODDS = {"city": (0.83, 0.05, 0.09, 0.03), "suburb": (0.15, 0.58, 0.19, 0.08), "open": (0.12, 0.15, 0.5, 0.23)}


def fill_frontage(street: Street, surfaces: Surfaces) -> Sequence[str]:
    """Fill both sides between the side streets, then what closes the view; returns the trees of this street."""
    rng = street.rng
    trees = TREES[rng.integers(4)]
    for side in SIDES:
        for start, stop in street.stretches(side, -14.0, margin=2.0):
            fill_stretch(street, surfaces, trees, side, start, min(stop, street.end, 190))
        for centre, width in sorted(street.gaps[side]):
            for turn in (-1, 1):
                side_street(street, side, centre + turn * (width + 4) / 2, turn)
    if street.end < 200:
        close_end(street, trees)
    skyline(street, trees)
    return trees


def fill_stretch(
    street: Street, surfaces: Surfaces, trees: Sequence[str], side: int, start: float, stop: float
) -> None:
    """Pieces of 28 to 75 m, each of one kind."""
    rng = street.rng
    while stop - start > 6:
        end = min(stop, start + rng.uniform(28, 75))
        if stop - end < 12:
            end = stop
        match str(rng.choice(KINDS, p=ODDS[street.style])):
            case "row":
                terrace(street, surfaces, start, end, side)
            case "houses":
                houses(street, surfaces, start, end, side)
            case "park":
                park(street, surfaces, trees, start, end, side)
            case _:
                car_park(street, surfaces, trees, start, end, side)
        start = end


def terrace(street: Street, surfaces: Surfaces, s0: float, s1: float, side: int) -> None:
    """Buildings wall to wall, and paving up to them."""
    rng, front = street.rng, side * (street.half + street.walk)
    street.strip(SIDEWALK, s0, s1, front, front + side * 0.8, 0.12, "paver", surfaces.walk)
    height = int(rng.choice([2, 3, 4], p=[0.22, 0.44, 0.34]))
    s = s0
    while s < s1 - 3:
        width = min(rng.uniform(6, 19), s1 - s)
        if s1 - s - width < 4:
            width = s1 - s
        d = front + side * rng.uniform(0, 0.6)
        floors = int(np.clip(height + rng.integers(-1, 2), 2, 6))
        build_at(street, s, s + width, d, side, floors, house=False)
        s += width


def houses(street: Street, surfaces: Surfaces, s0: float, s1: float, side: int) -> None:
    """Houses of two floors behind front gardens."""
    rng = street.rng
    setback = rng.uniform(2.5, 6)
    rng.choice(3, p=[0.22, 0.44, 0.34])  # the height that a terrace would have: unused, but part of what a frame is
    s = s0
    while s < s1 - 3:
        width = min(rng.uniform(6, 11), s1 - s)
        d = side * (street.half + street.walk + setback) + side * rng.uniform(0, 1.5)
        build_at(street, s, s + width, d, side, 2, house=True)
        s += width + (rng.uniform(1.5, 6) if rng.random() < 0.6 else 0)
    front_gardens(street, surfaces, s0, s1, side, setback)


def build_at(street: Street, s0: float, s1: float, d: float, side: int, floors: int, house: bool) -> None:
    """A building whose front is at ``d``, from ``s0`` to ``s1``."""
    a, b = street.at(s0, d), street.at(s1, d)
    back = side * unit(np.cross(unit(b - a), [0, 0, 1.0]))
    build(street, a, b, back, floors, house)


def front_gardens(street: Street, surfaces: Surfaces, s0: float, s1: float, side: int, setback: float) -> None:
    rng, base = street.rng, street.half + street.walk
    label, surface, colour = (
        (TERRAIN, "grass", surfaces.grass) if rng.random() < 0.6 else (SIDEWALK, "paver", surfaces.walk * 0.8)
    )
    street.strip(label, s0, s1, side * base, side * (base + setback), 0.10, surface, colour)
    s = s0
    while s < s1 - 4:
        width = min(rng.uniform(5, 14), s1 - s)
        gate = 1.2 if rng.random() < 0.5 else 0
        boundary(street, s, s + width - gate, side * (base + 0.15))
        middle = s + width / 2
        if rng.random() < 0.5:
            scale = rng.uniform(0.8, 1.5)
            street.place("bush", middle, side * (base + 1.6), z=0.1, scale=scale, colour=leaf_colour(rng))
        if rng.random() < 0.3:
            tree, turn = str(rng.choice(["tree", "bare"])), rng.uniform(0, 6)
            scale, d = rng.uniform(0.6, 0.9), side * (base + setback * 0.5)
            street.place(tree, middle, d, turn, scale=scale, colour=leaf_colour(rng))
        s += width


def park(street: Street, surfaces: Surfaces, trees: Sequence[str], s0: float, s1: float, side: int) -> None:
    rng, base = street.rng, street.half + street.walk
    far = base + rng.uniform(20, 45)
    street.strip(TERRAIN, s0, s1, side * base, side * far, 0.09, "grass", surfaces.grass)
    if rng.random() < 0.75:
        kind = str(rng.choice(["wall", "hedge", "railing", "railing", "boards"]))
        boundary(street, s0 + 0.5, s1 - 0.5, side * (base + 0.2), kind)
    for _ in range(int((s1 - s0) / rng.uniform(4, 9))):
        tree, s, d = str(rng.choice(trees)), rng.uniform(s0, s1), side * rng.uniform(base + 2, far)
        street.place(tree, s, d, rng.uniform(0, 6), 0.05, rng.uniform(0.9, 1.5), leaf_colour(rng))
    for _ in range(rng.integers(0, 7)):
        s, d = rng.uniform(s0, s1), side * rng.uniform(base + 1.2, base + 6)
        street.place("bush", s, d, rng.uniform(0, 6), 0.05, rng.uniform(0.8, 1.8), leaf_colour(rng))


def car_park(street: Street, surfaces: Surfaces, trees: Sequence[str], s0: float, s1: float, side: int) -> None:
    rng, base = street.rng, street.half + street.walk
    asphalt = surfaces.road * rng.uniform(0.8, 1.2)
    street.strip(ROAD, s0, s1, side * base, side * (base + 32), 0.05, "asphalt", asphalt)
    for rank in (4, 14, 20):
        d, near, far = side * (base + rank), side * (base + rank - 2.2), side * (base + rank + 2.2)
        for s in np.arange(s0 + 2, s1 - 2, 2.7):
            street.strip(ROAD, s - 1.4, s - 1.3, near, far, 0.056, "paint", (0.6, 0.6, 0.58))
            if rng.random() < 0.6:
                street.place("car", s, d, math.pi / 2 * rng.choice([-1, 1]), 0.05, colour=car_colour(rng))
    if rng.random() < 0.7:
        kind = str(rng.choice(["railing", "wall", "hedge"]))
        boundary(street, s0 + 0.5, s1 - 0.5, side * (base + 0.2), kind)
    for _ in range(rng.integers(1, 6)):
        tree, s, d = str(rng.choice(trees)), rng.uniform(s0, s1), side * (base + 9)
        street.place(tree, s, d, rng.uniform(0, 6), 0.05, rng.uniform(0.7, 1.2), leaf_colour(rng))


def side_street(street: Street, side: int, s: float, turn: int) -> None:
    """Buildings along one edge of a side street, which is at ``s``; ``turn`` is the direction away from it."""
    rng = street.rng
    d = street.half + street.walk + 14
    while d < 80:
        width = rng.uniform(7, 15)
        a, b = street.at(s, side * d), street.at(s, side * (d + width))
        if rng.random() < 0.75:
            build(street, a, b, unit(street.at(s + turn, side * d) - a), None, street.style != "city")
        d += width + rng.uniform(0, 3)


def close_end(street: Street, trees: Sequence[str]) -> None:
    """Buildings and trees behind the street across the end."""
    rng, end = street.rng, street.end
    d = -60.0
    while d < 60:
        width = rng.uniform(8, 18)
        if rng.random() < 0.85:
            a, b = street.at(end + 12.2, d), street.at(end + 12.2, d + width)
            build(street, a, b, unit(street.at(end + 13, d) - a), None, street.style == "suburb")
        else:
            street.place(str(rng.choice(trees)), end + 14, d + 4, scale=1.2, colour=leaf_colour(rng))
        d += width


def skyline(street: Street, trees: Sequence[str]) -> None:
    """Plain blocks and trees far off, so that the horizon is closed."""
    rng, soup = street.rng, street.soup(BUILDING)
    for _ in range(46):
        angle, distance = rng.uniform(-0.75, 0.75), rng.uniform(210, 330)
        width, height = rng.uniform(12, 34), rng.uniform(5, 15)
        centre = [distance * math.sin(angle), distance * math.cos(angle), height / 2]
        soup.box(centre, (width, 12, height), "plaster", rng.uniform(0.15, 0.4) * np.array([1, 0.95, 0.88]))
    for _ in range(40):
        angle, distance = rng.uniform(-0.75, 0.75), rng.uniform(120 if street.style != "city" else 200, 230)
        s, d = distance * math.cos(angle), distance * math.sin(angle)
        if abs(d) > 30 or s > 200:
            tree, turn = str(rng.choice(trees)), rng.uniform(0, 6)
            street.place(tree, min(s, 300), d, turn, 0, rng.uniform(1.0, 1.8), leaf_colour(rng))
