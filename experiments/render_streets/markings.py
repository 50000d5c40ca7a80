"""Paint on the road: centre and edge lines, crossings, arrows, a yellow box."""

import numpy as np

from experiments.render_streets.ids import ROAD
from experiments.render_streets.street import SIDES, Street

FAR = 160  # s up to which lines are drawn
YELLOW = np.array([0.62, 0.45, 0.06])


def paint_markings(street: Street) -> None:
    """Draw markings; every kind has a height of its own, so that no two surfaces meet."""
    rng = street.rng
    white = np.array([0.62, 0.62, 0.60]) * rng.uniform(0.7, 1.15)
    centre_lines(street, white)
    edge = rng.random()
    for side in SIDES:
        edge_lines(street, side, edge, white)
        give_way(street, side, white)
    if rng.random() < 0.35:
        crossing(street, white)
    for _ in range(rng.integers(0, 4)):
        arrow(street, white)
    if rng.random() < 0.12:
        yellow_box(street)


def line(street: Street, s0: float, s1: float, d: float, width: float, colour: np.ndarray, z: float = 0.008) -> None:
    street.strip(ROAD, s0, s1, d - width / 2, d + width / 2, z, "paint", colour)


def dashes(street: Street, d: float, width: float, on: float, off: float, colour: np.ndarray) -> None:
    s = -10.0 + street.rng.uniform(0, on + off)
    while s < min(street.end, FAR):
        line(street, s, s + on, d, width, colour)
        s += on + off


def centre_lines(street: Street, white: np.ndarray) -> None:
    rng, half = street.rng, street.half
    kind = rng.random()
    if kind < 0.62:
        dashes(street, 0, 0.13, rng.choice([2.0, 4.0]), rng.choice([2.0, 4.0, 5.0]), white)
    elif kind < 0.82:
        for d in (-0.12, 0.12):
            line(street, -15, min(street.end, FAR), d, 0.1, white)
    if half > 6.0:  # two lanes each way
        for d in (-half / 2, half / 2):
            dashes(street, d, 0.11, 2.0, 4.0, white)


def edge_lines(street: Street, side: int, kind: float, white: np.ndarray) -> None:
    """One or two yellow lines, a white one or none, by ``kind`` in [0, 1)."""
    half = street.half
    for start, stop in street.stretches(side, -15.0):
        stop = min(stop, street.end)
        if kind < 0.35:
            line(street, start, stop, side * (half - 0.25), 0.09, YELLOW, 0.0085)
            if kind < 0.22:
                line(street, start, stop, side * (half - 0.45), 0.09, YELLOW, 0.0085)
        elif kind < 0.55:
            line(street, start, stop, side * (half - 0.3), 0.11, white, 0.0085)


def give_way(street: Street, side: int, white: np.ndarray) -> None:
    """Dashes across the mouths of side streets, some of them worn away."""
    half = street.half
    for centre, width in street.gaps[side]:
        s = centre - width / 2
        while s < centre + width / 2 and street.rng.random() > 0.02:
            street.strip(ROAD, s, s + 0.6, side * (half + 0.2), side * (half + 0.4), 0.008, "paint", white)
            s += 1.0


def crossing(street: Street, white: np.ndarray) -> None:
    """A zebra, or the two dotted lines of a crossing with signals; and a stop line."""
    rng, half = street.rng, street.half
    s = rng.uniform(8, 40)
    if rng.random() < 0.6:
        for d in np.arange(-half + 0.4, half - 0.3, 1.1):
            street.strip(ROAD, s, s + 2.6, d, d + 0.55, 0.009, "paint", white)
    else:
        for q in (s, s + 2.6):
            for d in np.arange(-half + 0.2, half - 0.2, 0.7):
                street.strip(ROAD, q, q + 0.2, d, d + 0.35, 0.009, "paint", white)
    street.strip(ROAD, s - 1.8, s - 1.5, 0, street.lane(1) * 2, 0.0095, "paint", white)


def arrow(street: Street, white: np.ndarray) -> None:
    rng = street.rng
    s, d = rng.uniform(6, 45), street.lane(1) + (rng.uniform(-1, 1) if street.half > 6 else 0)
    street.strip(ROAD, s, s + 2.6, d - 0.08, d + 0.08, 0.010, "paint", white)
    head = street.at([s + 2.5, s + 2.5, s + 3.6, s + 3.6], [d - 0.4, d + 0.4, d + 0.02, d - 0.02], 0.0105)
    street.soup(ROAD).quad(head, "paint", white)


def yellow_box(street: Street) -> None:
    """Crossed yellow lines that are to be kept free."""
    s, half = street.rng.uniform(6, 25), street.half
    for k in range(-3, 4):
        for turn in (-1, 1):
            s0, s1 = s + k * 2.0, s + k * 2.0 + 2 * half * 0.9
            d0, d1 = -half * 0.9 * turn, half * 0.9 * turn
            corners = street.at([s0, s0 + 0.14, s1 + 0.14, s1], [d0, d0, d1, d1], 0.0115 + 0.0005 * turn)
            street.soup(ROAD).quad(corners, "paint", YELLOW)
