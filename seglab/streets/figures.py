"""Persons, and bicycles and motorcycles with or without a rider, as flat figures that face the camera."""

from typing import NamedTuple

import numpy as np

from seglab.streets.canvas import Canvas, Colour, Sprite, Thing
from seglab.streets.style import BICYCLE, MOTORCYCLE, PERSON, RIDER, RNG, Style, rgb

Points = list[tuple[float, float]]


class Clothes(NamedTuple):
    top: Colour
    legs: Colour
    skin: Colour
    hair: Colour
    shoes: Colour


def clothes(style: Style, rng: RNG) -> Clothes:
    muted = style.domain.photographed
    top = style.hsv(rng, (0, 1), (0.1, 0.7 if muted else 0.95), (0.12, 0.85))
    legs = (
        style.hsv(rng, (0.5, 0.72), (0.1, 0.6), (0.12, 0.5))
        if rng.random() < 0.7
        else style.hsv(rng, (0, 1), (0, 0.4), (0.2, 0.8))
    )
    skin = rgb(232, 190, 160) * rng.uniform(0.4, 1.0)
    hair = style.hsv(rng, (0.02, 0.12), (0.2, 0.6), (0.08, 0.6))
    top, legs, skin, hair = (style.lit(colour, rng.uniform(0.45, 0.85)) for colour in (top, legs, skin, hair))
    return Clothes(top, legs, skin, hair, shoes=rgb(28, 26, 26))


def shadow_of(x: float, z: float, height: float, half: float) -> np.ndarray:
    return np.array([(x + dx, y, z + dz) for dx in (-half, half) for dz in (-0.15, 0.15) for y in (0, height)])


def person(style: Style, rng: RNG, x: float, z: float) -> Thing:
    """A standing or walking person, sometimes with a bag, a long coat or a hat."""
    wear = clothes(style, rng)
    size = rng.uniform(0.92, 1.08) if rng.random() < 0.88 else rng.uniform(0.58, 0.75)
    stride, swing = rng.uniform(0.02, 0.3), rng.uniform(-0.2, 0.2)
    wide = rng.uniform(0.85, 1.25)
    coat, bag, hat = rng.random() < 0.3, rng.random() < 0.3, rng.random() < 0.15
    bag_colour = style.hsv(rng, (0, 1), (0.2, 0.8), (0.1, 0.7))
    face = rng.random() < 0.5
    lean = rng.choice([-1.0, 1.0])

    def paint(canvas: Canvas) -> None:
        sprite = canvas.sprite(x, z)

        def scaled(points: Points) -> Points:
            return [(a * size, b * size) for a, b in points]

        def limb(points: Points, width: float, colour: Colour) -> None:
            sprite.line(scaled(points), width * size, colour, PERSON)

        for step, tone in ((-1, 0.82), (1, 1.0)):
            foot = step * stride
            limb(
                [(step * 0.07 * wide, 0.88), (foot * 0.6 + step * 0.06, 0.46), (foot + step * 0.05, 0.06)],
                0.15 * wide,
                wear.legs * tone,
            )
            limb([(foot + step * 0.05, 0.05), (foot + step * 0.05 + 0.1 * lean, 0.04)], 0.09, wear.shoes)
        limb(
            [(-0.2 * wide, 1.38), (-0.26 * wide - swing * 0.4, 1.1), (-0.24 * wide - swing, 0.86)], 0.11, wear.top * 0.8
        )
        hem = 0.55 if coat else 0.85
        torso = [
            (-0.21 * wide, 1.44),
            (0.21 * wide, 1.44),
            (0.18 * wide, 1.1),
            (0.2 * wide, hem),
            (-0.2 * wide, hem),
            (-0.18 * wide, 1.1),
        ]
        sprite.polygon(scaled(torso), wear.top, PERSON)
        half = [(0.02, 1.44), (0.21 * wide, 1.44), (0.2 * wide, hem), (0.06, hem)]
        sprite.polygon(scaled(half), np.minimum(wear.top * 1.12, 255), PERSON)
        limb([(0.2 * wide, 1.38), (0.27 * wide + swing * 0.4, 1.1), (0.25 * wide + swing, 0.86)], 0.11, wear.top * 0.9)
        limb([(0.25 * wide + swing, 0.85), (0.25 * wide + swing, 0.82)], 0.09, wear.skin)
        if bag:
            sprite.polygon(scaled([(0.18, 0.95), (0.42, 0.95), (0.44, 0.62), (0.2, 0.62)]), bag_colour, PERSON)
        limb([(0, 1.44), (0, 1.5)], 0.11, wear.skin * 0.9)
        sprite.disc(0, 1.62 * size, (0.115 * size, 0.14 * size), wear.hair, PERSON)
        if face:
            sprite.disc(0.015 * size, 1.6 * size, (0.085 * size, 0.11 * size), wear.skin, PERSON)
        if hat:
            sprite.polygon(scaled([(-0.15, 1.68), (0.17, 1.68), (0.1, 1.8), (-0.1, 1.8)]), bag_colour, PERSON)

    return Thing(z, paint, shadow_of(x, z, 1.75 * size, 0.22))


def cycle(style: Style, rng: RNG, x: float, z: float, squeeze: float, motor: bool, ridden: bool) -> Thing:
    """A bicycle or motorcycle. ``squeeze`` is the cosine of its view: 1 from the side, 0 from the front or rear."""
    label = MOTORCYCLE if motor else BICYCLE
    colour = style.lit(style.hsv(rng, (0, 1), (0.3, 0.95), (0.15, 0.9)))
    wear = clothes(style, rng)
    facing = rng.choice([-1.0, 1.0])
    k = max(abs(squeeze), 0.14 if motor else 0.1) * facing
    radius = 0.31 if motor else 0.34
    base = 0.7 if motor else 0.53
    helmet = style.hsv(rng, (0, 1), (0.1, 0.9), (0.15, 0.95)) if motor or rng.random() < 0.5 else wear.hair
    tail = rng.random() < 0.5
    basket = rng.random() < 0.3

    def paint(canvas: Canvas) -> None:
        sprite = canvas.sprite(x, z)
        if motor:
            paint_motorcycle(sprite, k, base, radius, colour, tail)
        else:
            paint_bicycle(sprite, k, base, radius, colour, basket)
        if ridden:
            paint_rider(sprite, k, wear, helmet, 0.82 if motor else 0.95)
            if abs(k) < 0.4:  # seen along its heading, the wheel is in front of the rider's legs
                sprite.disc(0.1 * k, radius, (0.08 if motor else 0.045, radius), rgb(24, 24, 26), label)

    return Thing(z, paint, shadow_of(x, z, 1.7 if ridden else 1.0, max(0.2, 0.8 * abs(k))))


def paint_bicycle(sprite: Sprite, k: float, base: float, radius: float, colour: Colour, basket: bool) -> None:
    for hub in (-base, base):
        sprite.ring(hub * k, radius, (max(radius * abs(k), 0.035), radius), 0.05, rgb(28, 28, 30), BICYCLE)
        sprite.disc(hub * k, radius, (0.05 * max(abs(k), 0.5), 0.05), rgb(120, 120, 124), BICYCLE)
    crank, seat, head = (-0.05 * k, 0.32), (-0.22 * k, 0.86), (0.36 * k, 0.88)
    tubes: list[Points] = [
        [(-base * k, radius), crank, (0.34 * k, 0.75), (-0.18 * k, 0.74), (-base * k, radius)],
        [crank, seat],
        [(base * k, radius), head, (0.33 * k, 1.02)],
    ]
    for tube in tubes:
        sprite.line(tube, 0.05, colour, BICYCLE)
    sprite.line([(-0.34 * k, 0.9), (-0.12 * k, 0.9)], 0.07, rgb(24, 24, 24), BICYCLE)
    wide = 0.28 * (1 - abs(k)) + 0.06
    sprite.line([(0.33 * k - wide, 1.03), (0.33 * k + wide, 1.03)], 0.045, rgb(30, 30, 30), BICYCLE)
    if basket:
        sprite.box(0.42 * k - 0.14, 0.78, 0.42 * k + 0.14, 0.98, rgb(120, 92, 60), BICYCLE)


def paint_motorcycle(sprite: Sprite, k: float, base: float, radius: float, colour: Colour, tail: bool) -> None:
    for hub in (-base, base):
        sprite.disc(hub * k, radius, (max(radius * abs(k), 0.09), radius), rgb(20, 20, 22), MOTORCYCLE)
        sprite.disc(hub * k, radius, (max(radius * abs(k), 0.09) * 0.5, radius * 0.5), rgb(128, 128, 132), MOTORCYCLE)
    half = 0.2 * (1 - abs(k))
    sprite.polygon(
        [(-0.4 * k - half, 0.3), (0.4 * k + half, 0.3), (0.42 * k + half, 0.68), (-0.35 * k - half, 0.62)],
        rgb(52, 52, 56),
        MOTORCYCLE,
    )
    tank: Points = [
        (-0.05 * k - half, 0.68),
        (0.42 * k + half, 0.66),
        (0.46 * k + half, 0.86),
        (0.15 * k, 0.96),
        (-0.05 * k - half, 0.84),
    ]
    sprite.polygon(tank, colour, MOTORCYCLE)
    sprite.line([(-0.75 * k, 0.84), (-0.35 * k, 0.78), (-0.02 * k, 0.8)], 0.14, rgb(26, 26, 28), MOTORCYCLE)
    sprite.line([(base * k, radius), (0.45 * k, 0.95), (0.36 * k, 1.08)], 0.07, rgb(150, 150, 154), MOTORCYCLE)
    sprite.polygon(
        [(0.5 * k - 0.14, 0.76), (0.5 * k + 0.14, 0.76), (0.46 * k + 0.1, 1.12), (0.46 * k - 0.1, 1.12)],
        colour * 0.85,
        MOTORCYCLE,
    )
    wide = 0.3 * (1 - abs(k)) + 0.06
    sprite.line([(0.36 * k - wide, 1.07), (0.36 * k + wide, 1.07)], 0.05, rgb(24, 24, 24), MOTORCYCLE)
    if abs(k) < 0.5:
        lamp = rgb(215, 30, 24) if tail else rgb(250, 246, 226)
        sprite.disc(0.5 * k, 0.84, (0.09, 0.07), lamp, MOTORCYCLE)
    else:
        sprite.line([(-0.8 * k, 0.36), (-0.1 * k, 0.34)], 0.09, rgb(170, 172, 176), MOTORCYCLE)


def paint_rider(sprite: Sprite, k: float, wear: Clothes, helmet: Colour, seat: float) -> None:
    half = 0.2 * (1 - 0.4 * abs(k))
    hip, shoulder = (-0.25 * k, seat), (0.08 * k, seat + 0.52)
    spread = 0.13 * (1 - abs(k))
    for side, tone in ((-1, 0.8), (1, 1.0)):
        knee = (0.16 * k + side * spread * 1.3, seat - 0.2)
        foot = (-0.05 * k + side * spread, 0.3 + 0.1 * side * abs(k))
        sprite.line([(hip[0] + side * spread * 0.6, hip[1]), knee, foot], 0.15, wear.legs * tone, RIDER)
        sprite.line([foot, (foot[0] + 0.12 * k, foot[1] - 0.02)], 0.09, wear.shoes, RIDER)
    torso: Points = [
        (hip[0] - half * 0.85, hip[1] - 0.06), (hip[0] + half * 0.85, hip[1] - 0.06),
        (shoulder[0] + half, shoulder[1]), (shoulder[0] - half, shoulder[1]),
    ]  # fmt: skip
    sprite.polygon(torso, wear.top, RIDER)
    for side in (-1, 1):
        arm = 0.24 * (1 - abs(k)) * side
        sprite.line(
            [
                (shoulder[0] + arm * 0.8, shoulder[1] - 0.06),
                (0.24 * k + arm * 1.3, seat + 0.26),
                (0.36 * k + arm, seat + 0.12),
            ],
            0.1,
            wear.top * 0.86,
            RIDER,
        )
    head = shoulder[0] + 0.05 * k
    sprite.disc(head, shoulder[1] + 0.2, (0.1, 0.13), wear.skin, RIDER)
    sprite.polygon(
        [
            (head - 0.12, shoulder[1] + 0.2),
            (head + 0.12, shoulder[1] + 0.2),
            (head + 0.1, shoulder[1] + 0.33),
            (head, shoulder[1] + 0.37),
            (head - 0.1, shoulder[1] + 0.33),
        ],
        helmet,
        RIDER,
    )
