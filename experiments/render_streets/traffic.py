"""What moves: parked and driving vehicles, pedestrians and cyclists."""

import math

import numpy as np

from experiments.render_streets.library import car_colour, clothes_colour
from experiments.render_streets.street import SIDES, Street

LIVERIES = ((0.45, 0.02, 0.02), (0.55, 0.55, 0.55), (0.03, 0.12, 0.35), (0.05, 0.25, 0.12), (0.6, 0.35, 0.03))


def add_traffic(street: Street, camera_d: float) -> None:
    """Vehicles, with the place of the camera's own kept free."""
    rng, half = street.rng, street.half
    street.taken.append((-9, 7.0, camera_d - 1.6, camera_d + 1.6))
    end = min(street.end - 4, 130)
    for side in SIDES:
        park_cars(street, side, end)
    lanes = ((street.lane(1), 0.0, rng.integers(1, 5)), (street.lane(-1), math.pi, rng.integers(1, 6)))
    for d, turn, count in lanes:
        for _ in range(count):
            s = 8.5 + 70 * rng.random() ** 1.7
            if s < end:
                vehicle(street, s, d + rng.normal(0, 0.2), turn, 0.18)
    for side in SIDES:
        for centre, width in street.gaps[side]:
            for _ in range(rng.integers(0, 3)):
                d = side * (half + rng.uniform(3, 30))
                s = centre + rng.choice([-1, 1]) * width / 4
                if street.claim(s, d, 2, 5):
                    turn = math.pi / 2 * rng.choice([-1, 1])
                    street.place("car", s, d, turn, colour=car_colour(rng))


def park_cars(street: Street, side: int, end: float) -> None:
    """Parked cars hug the kerb; most face the way their side drives."""
    rng = street.rng
    if rng.random() >= (0.75 if street.half > 4.0 else 0.4):
        return
    s, density = rng.uniform(3.5, 12), rng.uniform(0.3, 0.9)
    same = (side < 0) == street.left_hand
    while s < end:
        if rng.random() < density and not street.crosses(s, side, 3.5):
            turn = 0 if same or rng.random() < 0.3 else math.pi
            vehicle(street, s, side * (street.half - 1.05), turn, 0.02)
        s += rng.uniform(5.5, 7.5)


def vehicle(street: Street, s: float, d: float, turn: float, big: float) -> None:
    """A car, or with probability ``big`` a bus or a lorry, if there is room."""
    rng = street.rng
    if rng.random() < big:
        if street.claim(s, d, 13, 2.6):
            colour = LIVERIES[rng.integers(5)]
            street.place("bus" if rng.random() < 0.55 else "truck", s, d, turn, colour=colour)
    elif street.claim(s, d, 5.6, 1.9):
        street.place("car", s, d, turn + rng.normal(0, 0.015), colour=car_colour(rng))


def add_people(street: Street) -> None:
    """Pedestrians on the pavements and on the road, cyclists near the kerb."""
    rng, half = street.rng, street.half
    end = min(street.end, 90)
    busy = rng.choice([4, 9, 16], p=[0.35, 0.4, 0.25])
    for _ in range(rng.poisson(busy)):
        side, s = int(rng.choice(SIDES)), 6.5 + 45 * rng.random() ** 1.3
        d = side * (half + rng.uniform(0.5, max(0.6, street.walk - 0.3)))
        if s < end and street.claim(s, d, 0.6, 0.6):
            turn = rng.choice([0, math.pi]) + rng.normal(0, 0.4)
            z = 0 if street.crosses(s, side) else 0.12
            street.place("person", s, d, turn, z, rng.uniform(0.92, 1.06), clothes_colour(rng))
    if rng.random() < 0.3:
        for _ in range(rng.integers(1, 4)):
            s, d = rng.uniform(9, 35), rng.uniform(-half, half)
            if street.claim(s, d, 0.6, 0.6):
                turn = rng.choice([-1, 1]) * math.pi / 2 + rng.normal(0, 0.2)
                street.place("person", s, d, turn, 0, rng.uniform(0.92, 1.06), clothes_colour(rng), only=["walk"])
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.10, 0.30, 0.35, 0.25])):
        way = rng.choice([1, -1], p=[0.65, 0.35])
        s, d = 5.5 + 20 * rng.random() ** 1.9, np.sign(street.lane(way)) * (half - rng.uniform(0.5, 2.4))
        if s < end and street.claim(s, d, 2.2, 0.7):
            turn = (0 if way > 0 else math.pi) + rng.normal(0, 0.06)
            street.place("rider", s, d, turn, 0, rng.uniform(0.95, 1.05), clothes_colour(rng))
