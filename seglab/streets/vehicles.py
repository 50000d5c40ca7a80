"""Cars, trucks, buses and trams."""

from typing import NamedTuple

import numpy as np

from seglab.streets.bodies import GLASS, Panel, across, box, extrude, flank, vehicle, wheel, windows
from seglab.streets.canvas import Colour, Thing
from seglab.streets.style import BUS, CAR, RNG, TRAIN, TRUCK, Style, rgb


class Shape(NamedTuple):
    """A car's side view as fractions of its length and height, and which edges are what."""

    profile: tuple[tuple[float, float], ...]  # (ahead, up), from the rear bumper over the roof to the front
    rear: int
    rear_window: int
    windscreen: int
    front: int
    length: float
    height: float


CARS = (
    Shape(  # hatchback
        ((-0.5, 0.2), (-0.5, 0.57), (-0.43, 0.96), (-0.2, 1), (0.06, 0.98), (0.24, 0.63), (0.46, 0.53), (0.5, 0.4),
         (0.5, 0.18)), 0, 1, 4, 7, 4.0, 1.48,
    ),
    Shape(  # sedan
        ((-0.5, 0.2), (-0.5, 0.62), (-0.34, 0.67), (-0.2, 0.97), (-0.05, 1), (0.07, 0.98), (0.24, 0.66), (0.47, 0.53),
         (0.5, 0.4), (0.5, 0.18)), 0, 2, 5, 8, 4.6, 1.43,
    ),
    Shape(  # SUV
        ((-0.5, 0.24), (-0.5, 0.6), (-0.46, 0.96), (-0.2, 1), (0.08, 0.98), (0.22, 0.66), (0.46, 0.6), (0.5, 0.45),
         (0.5, 0.22)), 0, 1, 4, 7, 4.5, 1.68,
    ),
    Shape(  # van
        ((-0.5, 0.16), (-0.5, 0.5), (-0.48, 0.97), (0, 1), (0.26, 0.97), (0.4, 0.56), (0.49, 0.47), (0.5, 0.4),
         (0.5, 0.15)), 0, 1, 4, 7, 4.9, 2.0,
    ),
)  # fmt: skip


def paint_colour(style: Style, rng: RNG) -> Colour:
    """Mostly black, grey and white, sometimes a colour."""
    if rng.random() < (0.62 if style.domain.photographed else 0.4):
        return style.hsv(rng, (0.5, 0.7), (0.0, 0.12), (0.08, 0.95))
    return style.hsv(rng, (0, 1), (0.5, 0.95), (0.25, 0.85))


def car(style: Style, rng: RNG, x: float, z: float, heading: float) -> Thing:
    shape = CARS[rng.choice(4, p=(0.35, 0.28, 0.25, 0.12))]
    rear, rear_window, windscreen, front = shape.rear, shape.rear_window, shape.windscreen, shape.front
    length, height = shape.length * rng.uniform(0.94, 1.06), shape.height * rng.uniform(0.95, 1.05)
    half_width = rng.uniform(0.84, 0.94)
    profile = np.array(shape.profile) * (length, height)
    belt = 0.6 * height
    slim = np.clip((profile[:, 1] - belt) / (height - belt), 0, 1)
    half = half_width * (1 - 0.2 * slim)
    colour = paint_colour(style, rng)
    glass = GLASS + style.sky[1] * rng.uniform(0.02, 0.22)
    panels = extrude(profile, half, colour, {len(profile) - 1: rgb(20, 20, 20)})
    for edge in (rear_window, windscreen):
        panels[edge].details.extend((quad, glass) for quad in across(profile, half, edge, [(0.12, 0.9, 0.07, 0.93)]))
    lamps = [(0.5, 0.92, 0.02, 0.2), (0.5, 0.92, 0.8, 0.98)]
    red = rgb(235, 40, 30) if rng.random() < 0.3 else rgb(160, 18, 22)
    panels[rear].details.extend((quad, red) for quad in across(profile, half, rear, lamps))
    plate = [(0.28, 0.42, 0.36, 0.64)]
    panels[rear].details.extend((quad, rgb(226, 226, 220)) for quad in across(profile, half, rear, plate))
    panels[rear].details.extend(
        (quad, rgb(30, 30, 32)) for quad in across(profile, half, rear, [(0, 0.16, 0.02, 0.98)])
    )
    grille = [(0.1, 0.65, 0.3, 0.7)]
    panels[front].details.extend((quad, rgb(24, 24, 26)) for quad in across(profile, half, front, grille))
    white = [(0.05, 0.5, 0.03, 0.24), (0.05, 0.5, 0.76, 0.97)]
    panels[front].details.extend((quad, rgb(246, 242, 224)) for quad in across(profile, half, front, white))
    top = 0.93 * height
    back = np.interp([belt, top], profile[rear_window : rear_window + 2, 1], profile[rear_window : rear_window + 2, 0])
    fore = np.interp(
        [belt, top], profile[windscreen : windscreen + 2, 1][::-1], profile[windscreen : windscreen + 2, 0][::-1]
    )
    for side, panel in ((-1, panels[-2]), (1, panels[-1])):
        base = [(back[0] + 0.12, belt), (back[1] + 0.14, top), (fore[1] - 0.1, top), (fore[0] - 0.12, belt)]
        points = flank(base, half_width, side)
        points[1:3, 2] *= 0.83
        panel.details.append((points, glass))
        middle = (fore[1] + back[1]) / 2 + 0.1
        points = flank([(middle, belt), (middle, top), (middle + 0.09, top), (middle + 0.09, belt)], half_width, side)
        points[1:3, 2] *= 0.83
        panel.details.append((points, colour * 0.8))
        crease = [
            (-0.46 * length, 0.47 * height),
            (0.46 * length, 0.45 * height),
            (0.46 * length, 0.42 * height),
            (-0.46 * length, 0.44 * height),
        ]
        panel.details.append((flank(crease, half_width, side), colour * 0.82))
        sill = [
            (-0.5 * length, 0.2 * height),
            (0.5 * length, 0.18 * height),
            (0.5 * length, 0.24 * height),
            (-0.5 * length, 0.26 * height),
        ]
        panel.details.append((flank(sill, half_width, side), colour * 0.35))
        for ahead in (-0.31 * length, 0.31 * length):
            panel.details.extend(wheel(ahead, 0.21 * height, half_width, side))
    return vehicle(panels, CAR, style, x, z, heading)


def truck(style: Style, rng: RNG, x: float, z: float, heading: float) -> Thing:
    """A cab and a cargo box, tank or flat bed."""
    half, load = rng.uniform(1.1, 1.25), rng.uniform(3.6, 7.0)
    tall = rng.uniform(2.7, 3.6)
    colour = paint_colour(style, rng)
    cargo = (
        style.hsv(rng, (0, 1), (0.0, 0.15), (0.65, 0.95))
        if rng.random() < 0.6
        else style.hsv(rng, (0, 1), (0.4, 0.8), (0.3, 0.8))
    )
    body = box(-load, 0.0, 0.75, tall, half, cargo)
    profile = np.array([(0.15, 0.45), (0.15, 2.5), (1.5, 2.5), (1.95, 1.4), (2.0, 0.45)])
    cab = extrude(profile, np.full(5, half * 0.96), colour, {4: rgb(20, 20, 20)})
    cab[2].details.extend(
        (q, GLASS + style.sky[1] * 0.15) for q in across(profile, np.full(5, half), 2, [(0.1, 0.9, 0.06, 0.94)])
    )
    cab[3].details.extend(
        (q, rgb(245, 240, 220))
        for q in across(profile, np.full(5, half), 3, [(0.5, 0.75, 0.04, 0.2), (0.5, 0.75, 0.8, 0.96)])
    )
    rear = np.array([(-load, 0.75), (-load, tall)])
    for spans, tone in (
        ([(0.02, 0.1, 0.04, 0.18), (0.02, 0.1, 0.82, 0.96)], rgb(190, 24, 24)),
        ([(0.12, 0.97, 0.49, 0.51)], cargo * 0.6),
        ([(0.0, 0.02, 0.0, 1.0)], rgb(30, 30, 30)),
    ):  # fmt: skip
        body[0].details.extend((q, tone) for q in across(np.vstack([rear, rear]), np.full(4, half), 0, spans))
    logo = style.hsv(rng, (0, 1), (0.4, 0.9), (0.3, 0.9))
    marked = rng.random() < 0.5
    for side, k in ((-1, -2), (1, -1)):
        windows(cab[k], 0.5, 1.45, 1.5, 2.25, half * 0.96, side, 1, GLASS)
        if marked:
            stripe = [
                (-load * 0.8, tall * 0.5),
                (-load * 0.8, tall * 0.75),
                (-load * 0.25, tall * 0.75),
                (-load * 0.25, tall * 0.5),
            ]
            body[k].details.append((flank(stripe, half, side), logo))
        cab[k].details.extend(wheel(1.2, 0.48, half, side))
        for ahead in (-load + 0.9, -load + 2.0):
            body[k].details.extend(wheel(ahead, 0.48, half, side))
    return vehicle([*body, *cab], TRUCK, style, x, z, heading)


def bus(style: Style, rng: RNG, x: float, z: float, heading: float) -> Thing:
    half, length, tall = 1.27, rng.uniform(8.5, 12), rng.uniform(2.8, 3.2)
    colour = (
        style.hsv(rng, (0, 1), (0.45, 0.9), (0.35, 0.9))
        if rng.random() < 0.7
        else style.hsv(rng, (0, 1), (0, 0.1), (0.6, 0.95))
    )
    glass = GLASS + style.sky[1] * rng.uniform(0.03, 0.2)
    panels = coach(-length / 2, length / 2, 0.35, tall, half, colour, glass, int(rng.integers(5, 9)), rng)
    for side, k in ((-1, -2), (1, -1)):
        for ahead in (-0.28 * length, 0.32 * length):
            panels[k].details.extend(wheel(ahead, 0.48, half, side))
    return vehicle(panels, BUS, style, x, z, heading)


def coach(
    back: float, front: float, low: float, tall: float, half: float, colour: Colour, glass: Colour, n: int, rng: RNG
) -> list[Panel]:
    """The body that buses and tram sections share: window bands, doors, windscreen, lamps, destination display."""
    panels = box(back, front, low, tall, half, colour, 0.15)
    profile = np.array([(back, low), (back, tall), (front - 0.15, tall), (front, low)])
    wide = np.full(4, half)
    second = colour * rng.uniform(0.4, 0.9) if rng.random() < 0.5 else rgb(225, 225, 220)
    skirt = rng.random() < 0.6
    for side, k in ((-1, -2), (1, -1)):
        if skirt:
            panels[k].details.append(
                (flank([(back, low), (back, 1.0), (front, 1.0), (front, low)], half, side), second)
            )
        windows(panels[k], back + 0.3, front - 0.3, 1.25, tall - 0.55, half, side, n, glass)
        door, top = back + (front - back) * 0.7, tall - 0.5
        leaf = flank([(door, 0.45), (door, top), (door + 1.2, top), (door + 1.2, 0.45)], half, side)
        panels[k].details.append((leaf, glass * 1.3))
    for edge, lamp in ((0, rgb(190, 24, 24)), (2, rgb(245, 240, 220))):
        details = [
            ((0.36, 0.8, 0.06, 0.94), glass),
            ((0.84, 0.95, 0.2, 0.8), rgb(30, 26, 20)),
            ((0.12, 0.2, 0.05, 0.2), lamp),
            ((0.12, 0.2, 0.8, 0.95), lamp),
            ((0.0, 0.06, 0.0, 1.0), colour * 0.4),
        ]  # heights from the ground; the front edge of the profile runs downwards
        for (low_end, high_end, *sides), tone in details:
            along = (1 - high_end, 1 - low_end) if edge == 2 else (low_end, high_end)
            panels[edge].details.extend((q, tone) for q in across(profile, wide, edge, [(*along, sides[0], sides[1])]))
    return panels


def tram(style: Style, rng: RNG, x: float, z: float, heading: float, sections: int) -> list[Thing]:
    """A train of tram sections, each of its own painting depth, the first one at z."""
    colour = style.hsv(rng, (0, 1), (0.3, 0.9), (0.4, 0.9)) if rng.random() < 0.7 else rgb(225, 222, 212)
    glass = GLASS + style.sky[1] * rng.uniform(0.03, 0.2)
    tall, things = rng.uniform(3.2, 3.7), []
    for section in range(sections):
        panels = coach(-3.9, 3.9, 0.15, tall, 1.3, colour, glass, 5, np.random.default_rng(int(z * 100)))
        panels += box(-1.5, 1.5, tall, tall + 0.35, 0.8, rgb(120, 122, 126))
        offset = 8.0 * section
        things.append(
            vehicle(panels, TRAIN, style, x + offset * np.sin(heading), z + offset * np.cos(heading), heading)
        )
    return things
