"""The ground of a street: road, pavements, verges, side streets and what lies beyond."""

from typing import NamedTuple

import numpy as np

from experiments.render_streets.ids import ROAD, SIDEWALK, TERRAIN
from experiments.render_streets.soup import turned
from experiments.render_streets.street import SIDES, Street

BEYOND = 420  # metres of meadow round the street
SIDE_STREET = 95  # d where side streets end


class Surfaces(NamedTuple):
    """Colours of this street's ground, linear RGB."""

    road: np.ndarray
    walk: np.ndarray
    grass: np.ndarray


def pave(street: Street) -> Surfaces:
    """Lay the ground; what is on top of something else has a height of its own, so that no two surfaces meet."""
    rng, half, end = street.rng, street.half, street.end
    surfaces = draw_surfaces(rng)
    corners = [(x, y, -0.05) for x, y in ((-BEYOND, -60), (BEYOND, -60), (BEYOND, BEYOND), (-BEYOND, BEYOND))]
    street.soup(TERRAIN).quad(street.at(0, 0) + np.array(corners), "grass", surfaces.grass)
    street.strip(ROAD, -30, end + 8, -half, half, 0.0, "asphalt", surfaces.road)
    wear(street, surfaces)
    paving = str(rng.choice(["paver", "asphalt"], p=[0.7, 0.3]))
    for side in SIDES:
        pave_side(street, surfaces, side, paving)
    if end < 200:  # a street across the end
        street.strip(ROAD, end, end + 9, -120, 120, 0.001, "asphalt", surfaces.road)
        street.raised(SIDEWALK, end + 9, end + 12, -120, 120, 0.12, paving, surfaces.walk)
    return surfaces


def draw_surfaces(rng: np.random.Generator) -> Surfaces:
    tone = rng.uniform(0.075, 0.17)
    road = np.array([tone, tone, tone * rng.uniform(0.97, 1.12)])
    tone = rng.uniform(0.16, 0.34)
    walk = np.array([tone, tone * rng.uniform(0.93, 1), tone * rng.uniform(0.82, 1)])
    return Surfaces(road, walk, np.array([0.10, 0.14, 0.045]) * rng.uniform(0.6, 1.3))


def wear(street: Street, surfaces: Surfaces) -> None:
    """Repaired patches, tyre tracks and manhole covers."""
    rng, half = street.rng, street.half
    for layer in range(rng.integers(0, 7)):
        s, d = rng.uniform(2, 50), rng.uniform(-half + 0.3, half - 1.5)
        to, right = s + rng.uniform(1, 14), min(d + rng.uniform(0.6, 2.2), half)
        colour = surfaces.road * rng.uniform(0.7, 1.25)
        street.strip(ROAD, s, to, d, right, 0.003 + 0.0006 * layer, "asphalt", colour)
    for d in (-half * 0.72, -half * 0.3, half * 0.3, half * 0.72):
        colour = surfaces.road * rng.uniform(0.86, 1.1)
        street.strip(ROAD, -20, street.end, d - 0.3, d + 0.3, 0.0015, "asphalt", colour)
    for _ in range(rng.integers(1, 5)):
        centre = street.at(rng.uniform(5, 40), rng.uniform(-half, half) * 0.8, 0.006)
        t = turned(12)
        ring = centre + 0.32 * np.stack([np.cos(t), np.sin(t), 0 * t], -1)
        disc = np.stack([np.tile(centre, (12, 1)), ring])
        street.soup(ROAD).grid(disc, "paint", (0.06, 0.06, 0.06), smooth=False, wrap=True)


def pave_side(street: Street, surfaces: Surfaces, side: int, paving: str) -> None:
    """Pavements and side streets of one side, and perhaps a verge between kerb and pavement."""
    kerb, wall = side * street.half, side * (street.half + street.walk)
    for start, stop in street.stretches(side, -30.0):
        street.raised(SIDEWALK, start, min(stop, street.end), kerb, wall, 0.12, paving, surfaces.walk)
    for centre, width in sorted(street.gaps[side]):
        left, right = centre - width / 2, centre + width / 2
        end = side * SIDE_STREET
        street.strip(ROAD, left, right, side * (street.half - 0.05), end, -0.001, "asphalt", surfaces.road)
        street.raised(SIDEWALK, left - 2, left, wall, end, 0.12, paving, surfaces.walk)
        street.raised(SIDEWALK, right, right + 2, wall, end, 0.12, paving, surfaces.walk)
    if street.rng.random() < 0.25 and street.style != "city":
        near, far = kerb + side * 0.25, kerb + side * min(1.4, street.walk * 0.45)
        for start, stop in street.stretches(side, -20.0):
            street.strip(TERRAIN, start + 1, min(stop - 1, street.end), near, far, 0.135, "grass", surfaces.grass)
