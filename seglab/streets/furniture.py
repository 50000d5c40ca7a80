"""Trees and hedges, lamp posts, traffic lights and signs, and small unlabelled objects."""

from typing import NamedTuple

import numpy as np

from seglab.streets.canvas import Canvas, Colour, Thing, unit_circle
from seglab.streets.figures import shadow_of
from seglab.streets.ground import Road
from seglab.streets.style import LIGHT, POLE, RNG, SIGN, STATIC, VEGETATION, Style, rgb


class Foliage(NamedTuple):
    """Leaf blobs of one plant in painting order."""

    blobs: np.ndarray  # n 3: x, y, radius in metres
    colours: np.ndarray  # n 3, RGB


def leaves(style: Style, rng: RNG, centre: tuple[float, float], half: tuple[float, float], n: int) -> Foliage:
    """n leaf blobs in an ellipse, dark inside, bright towards the light."""
    base = style.foliage(rng)
    angle, distance = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.random(n))
    order = np.linspace(0, 1, n)  # from the dark inner layer to the bright leaf tips
    reach = distance * (1.0 - 0.12 * order)
    x, y = np.cos(angle) * reach, np.sin(angle) * reach
    toward = np.clip(0.45 * y + 0.3 * x * np.sign(style.light[0]) + 0.5 * order - 0.1, -0.4, 0.9)
    radius = (0.42 - 0.27 * order) * rng.uniform(0.7, 1.2, n) * min(half)
    light = (0.72 + 0.42 * toward) * rng.uniform(0.92, 1.08, n) * (style.ambient + style.diffuse * (0.5 + 0.4 * toward))
    colours = np.minimum(base * style.warmth * light[:, None], 255)
    return Foliage(np.stack([centre[0] + x * half[0], centre[1] + y * half[1], radius], axis=1), colours)


def ragged(rng: RNG) -> np.ndarray:
    """A leafy blob's outline, 9 2, about unit radius."""
    return unit_circle(9) * rng.uniform(0.72, 1.2, (9, 1))


def paint_leaves(canvas: Canvas, x: float, z: float, foliage: Foliage, shape: np.ndarray) -> None:
    sprite = canvas.sprite(x, z)
    skip = 1 if sprite.scale > 16 else 2  # far crowns cover few pixels
    blobs, colours = foliage.blobs[::skip], foliage.colours[::skip]
    outlines = shape * (blobs[:, None, 2:] * (1.25 if skip == 2 else 1.0))
    outlines[::2] = outlines[::2, :, ::-1]
    sprite.polygons(outlines + blobs[:, None, :2], colours, VEGETATION)


def tree(style: Style, rng: RNG, x: float, z: float, size: float = 1.0) -> Thing:
    """A broad-leaved tree, a poplar, a conifer or a palm; the trunk counts as vegetation."""
    kind = rng.random()
    height = rng.uniform(4.5, 9.5) * size
    bark = style.lit(style.hsv(rng, (0.05, 0.1), (0.15, 0.45), (0.2, 0.42)), 0.3)
    trunk = rng.uniform(0.14, 0.3) * size
    lean = rng.uniform(-0.25, 0.25)
    shape = ragged(rng)
    if kind < 0.68:
        half = (height * rng.uniform(0.24, 0.38), height * rng.uniform(0.26, 0.34))
        crowns = [leaves(style, rng, (lean, height - half[1]), half, 58)]
        for _ in range(rng.integers(1, 4)):
            offset = (lean + rng.uniform(-0.5, 0.5) * half[0], height - half[1] * rng.uniform(0.8, 1.5))
            crowns.append(leaves(style, rng, offset, (half[0] * 0.6, half[1] * 0.55), 18))
        foliage = Foliage(np.vstack([c.blobs for c in crowns]), np.vstack([c.colours for c in crowns]))
    elif kind < 0.8:
        half = (height * 0.13, height * 0.42)
        foliage = leaves(style, rng, (0, height - half[1]), half, 60)
    elif style.domain.photographed or kind < 0.88:
        half, blobs, tones = (height * 0.22, height * 0.4), [], []
        dark = style.hsv(rng, (0.3, 0.42), (0.3, 0.6), (0.2, 0.36))
        for level in range(7):
            y, w = height * (0.18 + 0.11 * level), height * 0.21 * (1.05 - level / 7)
            for j in range(6):
                aside = (j - 2.5) / 2.5
                tones.append(style.lit(dark * (0.85 + 0.06 * level), 0.5 + 0.3 * aside * np.sign(style.light[0])))
                blobs.append((aside * w, y - abs(aside) * 0.3, w * 0.42))
        foliage = Foliage(np.array(blobs), np.array(tones))
    else:
        half, trunk, blobs, tones = (2.2, 1.5), 0.2, [], []
        palm = style.foliage(rng)
        for frond in range(9):
            angle = np.pi * (frond / 8)
            for t in np.linspace(0.15, 1, 7):
                reach = 2.4 * t
                drop = height + np.sin(angle) * reach * 0.7 - 0.9 * t * t
                tones.append(style.lit(palm * (0.8 + 0.35 * np.sin(angle)), 0.6))
                blobs.append((lean + np.cos(angle) * reach, drop, 0.34 * (1.15 - t * 0.6)))
        foliage = Foliage(np.array(blobs), np.array(tones))

    def paint(canvas: Canvas) -> None:
        sprite = canvas.sprite(x, z)
        top = height - half[1] * 0.7 if kind >= 0.68 else height - half[1]
        sprite.line([(0, 0), (lean * 0.4, top * 0.6), (lean, top)], trunk, bark, VEGETATION)
        sprite.line([(trunk * 0.25, 0), (trunk * 0.25 + lean * 0.4, top * 0.6)], trunk * 0.35, bark * 1.3, VEGETATION)
        paint_leaves(canvas, x, z, foliage, shape)

    ring = unit_circle(10)
    crown = np.column_stack([x + lean + ring[:, 0] * half[0], height - half[1] + ring[:, 1] * half[1], np.full(10, z)])
    wide = np.column_stack([x + ring[:, 0] * half[0], np.full(10, height - half[1]), z + ring[:, 1] * half[0]])
    return Thing(z, paint, np.vstack([crown, wide]) if style.light[1] > 0.35 else None)


def bush(style: Style, rng: RNG, x: float, z: float, half: float, height: float) -> Thing:
    foliage = leaves(style, rng, (0, height * 0.5), (half, height * 0.55), 34)
    shape = ragged(rng)
    return Thing(
        z, lambda canvas: paint_leaves(canvas, x, z, foliage, shape), shadow_of(x, z, height * 0.8, half * 0.9)
    )


def hedge(road: Road, style: Style, rng: RNG, sign: int, lateral: float, z0: float, z1: float) -> list[Thing]:
    """A row of bushes along the sidewalk."""
    height = rng.uniform(0.8, 2.2)
    return [bush(style, rng, *road.at(sign * (lateral + 0.5), z), 0.9, height) for z in np.arange(z0, z1, 1.3)]


def lamp(style: Style, rng: RNG, x: float, z: float, toward: int) -> Thing:
    """A lamp post whose arm reaches over the road (``toward`` -1 or 1), or a bare utility pole."""
    height, width = rng.uniform(4.5, 9), rng.uniform(0.13, 0.26)
    colour = style.lit(style.hsv(rng, (0, 1), (0, 0.25), (0.2, 0.7)))
    arm = rng.uniform(0.6, 2.0)
    bare = rng.random() < 0.25

    def paint(canvas: Canvas) -> None:
        sprite = canvas.sprite(x, z)
        sprite.line([(0, 0), (0, height)], width, colour, POLE)
        sprite.line([(0, 0), (0, 0.9)], width * 1.5, colour * 0.9, POLE)
        if bare:
            sprite.line([(-0.6, height - 0.5), (0.6, height - 0.5)], width * 0.8, colour * 0.8, POLE)
        else:
            sprite.line([(0, height), (toward * arm, height + 0.25)], width * 0.7, colour, POLE)
            sprite.line([(toward * arm, height + 0.2), (toward * (arm + 0.5), height + 0.2)], 0.18, colour * 0.7, POLE)

    return Thing(z, paint, shadow_of(x, z, height, width * 0.6))


def paint_signal(
    canvas: Canvas, x: float, z: float, left: float, top: float, case: Colour, on: int, scale: float
) -> None:
    sprite = canvas.sprite(x, z)
    half, tall = 0.17 * scale, 0.95 * scale
    sprite.box(left - half - 0.04, top - tall - 0.04, left + half + 0.04, top + 0.04, case * 1.5 + 14, LIGHT)
    sprite.box(left - half, top - tall, left + half, top, case, LIGHT)
    glow = (rgb(255, 60, 44), rgb(255, 190, 50), rgb(60, 245, 150))
    for lens in range(3):
        colour = glow[lens] if lens == on else glow[lens] * 0.22
        sprite.disc(left, top - tall * (lens + 0.5) / 3, (half * 0.72, half * 0.72), colour, LIGHT)


def signal(style: Style, rng: RNG, x: float, z: float, toward: int, overhead: bool) -> Thing:
    """Traffic lights on a pole, some with a second head on an arm over the road."""
    case = rgb(28, 30, 30) if rng.random() < 0.7 else rgb(66, 74, 40)
    on, scale = int(rng.integers(0, 3)), rng.uniform(1.1, 1.5)
    colour = style.lit(style.hsv(rng, (0, 1), (0, 0.15), (0.25, 0.6)))
    height = 5.6 if overhead else 3.2
    back = rng.random() < 0.2

    def paint(canvas: Canvas) -> None:
        sprite = canvas.sprite(x, z)
        sprite.line([(0, 0), (0, height)], 0.15, colour, POLE)
        lit = -1 if back else on
        paint_signal(canvas, x, z, 0.0, 3.2, case, lit, scale)
        if overhead:
            sprite.line([(0, height), (toward * 4.0, height + 0.1)], 0.12, colour, POLE)
            paint_signal(canvas, x, z, toward * 3.8, height + 0.1, case, lit, scale)

    return Thing(z, paint, shadow_of(x, z, height, 0.08))


def sign(style: Style, rng: RNG, x: float, z: float) -> Thing:
    """One or two traffic signs on a thin pole: discs, triangles, squares, direction boards."""
    kind = rng.choice(["ban", "warning", "blue", "square", "board", "stop"], p=(0.25, 0.2, 0.2, 0.15, 0.12, 0.08))
    if kind == "board" and z < 14:
        kind = "ban"
    height, size = rng.uniform(2.2, 3.0), rng.uniform(0.36, 0.54)
    grey = style.lit(rgb(140, 142, 146))
    red, blue, white, yellow = (
        style.lit(c, 0.7) for c in (rgb(200, 24, 32), rgb(24, 76, 178), rgb(238, 238, 234), rgb(246, 200, 40))
    )
    board = (
        rgb(20, 100, 64)
        if not style.domain.photographed
        else (rgb(238, 192, 36) if rng.random() < 0.5 else rgb(24, 70, 160))
    )
    double, seen_behind = rng.random() < 0.25, rng.random() < 0.12

    def paint(canvas: Canvas) -> None:
        sprite = canvas.sprite(x, z)
        sprite.line([(0, 0), (0, height)], 0.08, grey, POLE)
        outer, inner, y = size, size * 0.74, height - size * 0.2
        if seen_behind:
            sprite.disc(0, y, (outer, outer), grey * 0.8, SIGN)
        elif kind == "ban":
            sprite.disc(0, y, (outer, outer), red, SIGN)
            sprite.disc(0, y, (inner, inner), white, SIGN)
            sprite.box(-inner * 0.45, y - inner * 0.35, inner * 0.45, y + inner * 0.35, rgb(40, 40, 44), SIGN)
        elif kind == "warning":
            triangle = np.array([(-1, -0.7), (1, -0.7), (0, 1.0)])
            sprite.polygon(triangle * outer * 1.15 + (0, y), red, SIGN)
            sprite.polygon(triangle * outer * 0.72 + (0, y - 0.02), white, SIGN)
            sprite.box(-0.04, y - 0.16, 0.04, y + 0.12, rgb(30, 30, 30), SIGN)
        elif kind == "blue":
            sprite.disc(0, y, (outer, outer), white, SIGN)
            sprite.disc(0, y, (outer * 0.9, outer * 0.9), blue, SIGN)
            sprite.polygon([(-0.18, y - 0.1), (0.06, y + 0.14), (0.2, y - 0.04)], white, SIGN)
        elif kind == "square":
            sprite.polygon(
                [(0, y - outer * 1.2), (outer * 1.2, y), (0, y + outer * 1.2), (-outer * 1.2, y)], white, SIGN
            )
            sprite.polygon(
                [(0, y - outer * 0.9), (outer * 0.9, y), (0, y + outer * 0.9), (-outer * 0.9, y)], yellow, SIGN
            )
        elif kind == "board":
            sprite.box(-1.1, y - 0.4, 1.1, y + 0.5, white, SIGN)
            sprite.box(-1.04, y - 0.35, 1.04, y + 0.45, style.lit(board, 0.7), SIGN)
            for row in (-0.12, 0.2):
                sprite.line([(-0.8, y + row), (0.5, y + row)], 0.09, white, SIGN)
        else:
            octagon = unit_circle(12) * outer
            sprite.polygon(octagon * 1.05 + (0, y), white, SIGN)
            sprite.polygon(octagon * 0.95 + (0, y), red, SIGN)
            sprite.box(-outer * 0.6, y - 0.07, outer * 0.6, y + 0.07, white, SIGN)
        if double:
            sprite.box(-0.3, y - size - 0.42, 0.3, y - size - 0.06, white, SIGN)
            sprite.box(-0.22, y - size - 0.28, 0.22, y - size - 0.2, rgb(50, 50, 56), SIGN)

    return Thing(z, paint, shadow_of(x, z, height, 0.06))


def clutter(style: Style, rng: RNG, x: float, z: float) -> Thing:
    """A bin, a bench or a switch box: labelled static, which nothing is trained on."""
    colour = style.lit(style.hsv(rng, (0, 1), (0.1, 0.6), (0.2, 0.7)))
    half, height = rng.uniform(0.22, 0.6), rng.uniform(0.7, 1.4)

    def paint(canvas: Canvas) -> None:
        sprite = canvas.sprite(x, z)
        sprite.box(-half, 0, half, height, colour, STATIC)
        sprite.box(half * 0.4, 0, half, height, colour * 0.82, STATIC)
        sprite.box(-half * 1.08, height - 0.12, half * 1.08, height, colour * 0.7, STATIC)

    return Thing(z, paint, shadow_of(x, z, height, half))
