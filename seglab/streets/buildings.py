"""Frontages: houses as textured facades with gables and roofs, walls and fences."""

import cv2
import numpy as np

from seglab.streets.canvas import Canvas, Colour, Face, Thing, noise
from seglab.streets.ground import Road
from seglab.streets.style import BUILDING, FENCE, RNG, WALL, Style, rgb

WHITE = rgb(255, 255, 255)


def rectangle(image: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
    cv2.rectangle(image, (round(x0), round(y0)), (round(x1) - 1, round(y1) - 1), tuple(map(float, colour)), -1)


def material(style: Style, rng: RNG) -> Colour:
    """The colour of plaster, brick, stone or concrete."""
    kind = rng.random()
    if kind < 0.5:
        return style.hsv(rng, (0.03, 0.16), (0.08, 0.5), (0.55, 0.95))
    if kind < 0.72:
        return style.hsv(rng, (0.0, 0.06), (0.35, 0.65), (0.35, 0.65))
    if kind < 0.85:
        return style.hsv(rng, (0.3, 0.65), (0.08, 0.35), (0.5, 0.9))
    return style.hsv(rng, (0.0, 1.0), (0.0, 0.08), (0.38, 0.85))


def finish(texture: np.ndarray, amount: float, light: Colour, rng: RNG) -> np.ndarray:
    """Give a float texture (changed in place) grain and light (RGB factors); uint8."""
    h, w = texture.shape[:2]
    oy, ox = rng.integers(0, 512, 2)
    field = (
        noise(512, 1).take(np.arange(oy, oy + h), axis=0, mode="wrap").take(np.arange(ox, ox + w), axis=1, mode="wrap")
    )
    texture *= (1 + np.float32(amount) * field)[..., None]
    texture *= light.astype(np.float32)
    return np.clip(texture, 0, 255, out=texture).astype(np.uint8)


def facade(
    style: Style, rng: RNG, width: float, floors: int, storey: float, base: Colour, tower: bool, texel: int
) -> np.ndarray:
    """A street front: ground floor with shops or doors, rows of windows, cornice.

    Returns:
        Texture h w 3 float32, ``texel`` pixels per metre, not yet lit.
    """
    w, f = max(8, int(width * texel)), round(storey * texel)
    h = floors * f
    image = np.empty((h, w, 3), np.float32)
    image[:] = base
    trim = base * rng.uniform(0.65, 0.9) if rng.random() < 0.5 else np.minimum(base * 1.25 + 12, 250)
    sky = style.sky[1] * 0.55 + style.sky[0] * 0.2
    pane = rgb(38, 46, 58) * rng.uniform(0.7, 1.5) + sky * rng.uniform(0.0, 0.3 if not tower else 0.55)
    spacing = rng.uniform(1.2, 3.0) if tower else rng.uniform(2.0, 3.4)
    count = max(1, int(width / spacing))
    bay, gain = window_bay(style, rng, w // count, f, base, trim, pane, tower)
    # every window reflects something else, a few are lit
    glow = rng.uniform(0.75, 1.25, (floors - 1, count, 1)).astype(np.float32).repeat(3, axis=2)
    glow[rng.random((floors - 1, count)) < 0.05] = (235, 205, 140) / np.maximum(pane, 20)
    bays = (glow[:, None, :, None] - 1) * gain[None, :, None, :, None] + 1  # floor, row, axis, column, RGB
    bays *= bay[None, :, None]
    margin = (w - count * bay.shape[1]) // 2
    image[: h - f, margin : margin + count * bay.shape[1]] = bays.reshape(h - f, -1, 3)
    if rng.random() < 0.3 and not tower:  # courses of stone
        image[:: max(3, int(texel * 0.4))] *= 0.92
    ground_floor(image, style, rng, texel, f, base)
    rectangle(image, 0, 0, w, rng.uniform(1.5, 5), trim)
    image[:, :1] *= 0.75
    image *= np.linspace(1.05, 0.9, h, dtype=np.float32)[:, None, None]
    return image


def window_bay(
    style: Style, rng: RNG, w: int, h: int, base: Colour, trim: Colour, pane: Colour, tower: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One storey of one window axis: its texture h w 3 float32, and h w float32 that is 1 on the pane."""
    bay, glass = np.empty((h, w, 3), np.float32), np.zeros((h, w), np.float32)
    bay[:] = base
    inset = rng.uniform(0.02, 0.12) if tower else rng.uniform(0.18, 0.3)
    sill = rng.uniform(0.05, 0.3) if tower else rng.uniform(0.22, 0.34)
    x0, x1, y0, y1 = round(inset * w), round((1 - inset) * w), round(0.14 * h), round((1 - sill) * h)
    if rng.random() < 0.6:
        bay[-2:] = trim
    bay[y0 - 1 : y1 + 2, max(0, x0 - 1) : x1 + 1] = trim
    bay[y0:y1, x0:x1] = pane
    bay[y0 : y0 + (y1 - y0) * 2 // 5, x0:x1] = np.minimum(pane * 1.18 + 6, 255)
    glass[y0:y1, x0:x1] = 1
    if tower:
        return bay, glass
    style_of_window = rng.random()
    bay[y0:y1, (x0 + x1) // 2] = trim
    if style_of_window < 0.2:
        shutter, leaf = style.hsv(rng, (0, 1), (0.2, 0.6), (0.3, 0.6)), max(1, round(0.12 * w))
        bay[y0:y1, max(0, x0 - leaf) : x0] = bay[y0:y1, x1 : x1 + leaf] = shutter
    elif style_of_window < 0.45:
        bay[y1 - 4 : y1 + 2, max(0, x0 - 3) : x1 + 3] = trim * 0.6  # balcony
    return bay, glass


def ground_floor(image: np.ndarray, style: Style, rng: RNG, texel: int, f: int, base: Colour) -> None:
    """Paint a shop front with sign and awning, or doors and windows, into the lowest storey, in place."""
    h, w = image.shape[:2]
    top = h - f
    if rng.random() < 0.55:
        rectangle(image, 0, top, w, h, base * rng.uniform(0.5, 0.95))
        x = 2.0
        while x < w - 14:
            span = rng.uniform(2.5, 5.0) * texel
            glass = rgb(52, 60, 70) if rng.random() < 0.55 else rgb(205, 180, 130) * rng.uniform(0.6, 1.0)
            rectangle(image, x, top + f * 0.3, min(x + span, w - 2), h - 4, glass)
            rectangle(
                image, x + span * 0.3, top + f * 0.45, min(x + span * 0.6, w - 3), h - 6, glass * rng.uniform(0.6, 1.3)
            )
            sign = style.hsv(rng, (0, 1), (0.3, 0.9), (0.3, 0.9))
            rectangle(image, x, top + f * 0.08, min(x + span, w - 2), top + f * 0.26, sign)
            if rng.random() < 0.35:
                for stripe in range(int(span // 3)):
                    tone = sign if stripe % 2 else rgb(232, 228, 220)
                    rectangle(
                        image, x + 3 * stripe, top + f * 0.24, min(x + 3 * stripe + 3, w - 2), top + f * 0.42, tone
                    )
            x += span + rng.uniform(4, 9)
    else:
        rectangle(image, 0, h - f * 0.16, w, h, base * 0.72)
        door = rng.uniform(0.15, 0.75) * w
        for x in np.arange(2.0, w - 10, 2.6 * texel):
            if abs(x - door) > 14:
                rectangle(image, x + 3, top + f * 0.25, x + 14, top + f * 0.72, rgb(50, 56, 66))
        colour = style.hsv(rng, (0, 1), (0.3, 0.7), (0.2, 0.5))
        rectangle(image, door - 1, h - f * 0.76, door + 11, h, base * 0.6)
        rectangle(image, door, h - f * 0.72, door + 10, h, colour)


def building(road: Road, style: Style, rng: RNG, sign: int, lateral: float, z0: float, z1: float) -> Thing:
    """A house on side ``sign`` (-1 left, 1 right) whose street front runs from z0 to z1 at ``lateral`` metres."""
    domain = style.domain
    tower = rng.random() < domain.glass
    floors = int(rng.integers(int(domain.floors[0]), int(domain.floors[1]) + 1)) + (
        int(rng.integers(0, 6)) if tower else 0
    )
    storey = rng.uniform(2.9, 3.6)
    base = (
        style.hsv(rng, (0.5, 0.65), (0.05, 0.35), (0.4, 0.85)) if tower and rng.random() < 0.6 else material(style, rng)
    )
    texel = 9 if z0 < 30 else 6  # pixels per metre
    front = facade(style, rng, z1 - z0, floors, storey, base, tower, texel)
    height, deep = floors * storey, rng.uniform(9, 14)
    (ax, az), (bx, bz) = road.at(sign * lateral, z0), road.at(sign * lateral, z1)
    front = finish(front, style.texture * 0.9, style.shade(WHITE, rgb(-sign, 0, 0)) / 255, rng)
    corners = np.array([[ax, height, az], [bx, height, bz], [bx, 0, bz], [ax, 0, az]])
    back = sign * deep
    gable_colour = style.shade(base * 0.94, rgb(0, 0, -1))
    gable = np.array([[ax, 0, az], [ax + back, 0, az], [ax + back, height, az], [ax, height, az]])
    roof_faces = []
    if not tower and rng.random() < domain.pitched:
        ridge = rng.uniform(2.0, 4.5)
        tile = style.hsv(rng, (0.0, 0.06), (0.3, 0.6), (0.35, 0.6)) if rng.random() < 0.6 else rgb(82, 84, 92)
        mid = back / 2
        slope = np.array(
            [[ax, height, az], [bx, height, bz], [bx + mid, height + ridge, bz], [ax + mid, height + ridge, az]]
        )
        end = np.array([[ax, height, az], [ax + mid, height + ridge, az], [ax + back, height, az]])
        roof_faces = [Face(end, gable_colour, BUILDING), Face(slope, style.shade(tile, rgb(-sign, 1.2, 0)), BUILDING)]
        if rng.random() < 0.6:
            cz, cx = az + (bz - az) * rng.uniform(0.2, 0.8), (ax + bx) / 2 + mid * 0.6
            top = height + ridge + 1.2
            chimney = np.array([[cx, top, cz], [cx + 0.9, top, cz], [cx + 0.9, height, cz], [cx, height, cz]])
            roof_faces.insert(1, Face(chimney, style.shade(rgb(120, 82, 70), rgb(0, 0, -1)), BUILDING))
    windows = [
        Face(
            np.array([[ax + back * t, y, az], [ax + back * (t + 0.12), y, az], [ax + back * (t + 0.12), y + 1.4, az],
                      [ax + back * t, y + 1.4, az]]),
            rgb(56, 64, 76), BUILDING,
        )
        for y in np.arange(1.0, height - 2, storey) for t in (0.2, 0.5, 0.8)
    ] if rng.random() < 0.6 else []  # fmt: skip

    def paint(canvas: Canvas) -> None:
        canvas.faces([*roof_faces, Face(gable, gable_colour, BUILDING), *windows])
        canvas.textured(corners, front, BUILDING)

    box = np.array([(x, y, z) for x, z in ((ax, az), (bx, bz), (ax + back, az), (bx + back, bz)) for y in (0, height)])
    return Thing(max(az, bz) + 0.1 * lateral, paint, box)


def wall(road: Road, style: Style, rng: RNG, sign: int, lateral: float, z0: float, z1: float) -> Thing:
    """A free-standing wall: plaster or brick courses, a cap, pillars."""
    height = rng.uniform(1.5, 3.8)
    colour = material(style, rng) * rng.uniform(0.75, 1.0)
    h, w = int(height * 16), max(8, int((z1 - z0) * 6))
    image = np.empty((h, w, 3), np.float32)
    image[:] = colour
    image *= np.linspace(1.06, 0.84, h, dtype=np.float32)[:, None, None]
    if rng.random() < 0.6:
        image[:: int(rng.integers(4, 8))] *= 0.82
    step = int(rng.integers(14, 30))
    for x in range(0, w, step):
        rectangle(image, x, 0, x + 4, h, colour * 0.86)
    rectangle(image, 0, 0, w, 3, np.minimum(colour * 1.2, 250))
    if rng.random() < 0.25:
        for _ in range(int(rng.integers(1, 4))):
            spot, tint = rng.uniform(0, w), style.hsv(rng, (0, 1), (0.4, 0.8), (0.3, 0.8))
            cv2.ellipse(
                image,
                (int(spot), int(h * 0.6)),
                (int(rng.integers(5, 14)), h // 4),
                0,
                0,
                360,
                tuple(map(float, tint)),
                2,
            )
    texture = finish(image, style.texture + 0.03, style.shade(WHITE, rgb(-sign, 0, 0)) / 255, rng)
    (ax, az), (bx, bz) = road.at(sign * lateral, z0), road.at(sign * lateral, z1)
    corners = np.array([[ax, height, az], [bx, height, bz], [bx, 0, bz], [ax, 0, az]])
    footprint = np.array([[ax, 0, az], [bx, 0, bz], [ax, height, az], [bx, height, bz]])
    return Thing(max(az, bz) + 0.05 * lateral, lambda canvas: canvas.textured(corners, texture, WALL), footprint)


def fence(road: Road, style: Style, rng: RNG, sign: int, lateral: float, z0: float, z1: float) -> Thing:
    """Iron bars, wooden pickets or a mesh; what is behind shows through and is still labelled fence."""
    height = rng.uniform(1.0, 2.3)
    h, w = int(height * 16), max(12, int((z1 - z0) * 12))
    dense = rng.random() < 0.4
    colour = (
        style.hsv(rng, (0.05, 0.1), (0.2, 0.5), (0.3, 0.85)) if dense else style.hsv(rng, (0, 1), (0, 0.2), (0.1, 0.9))
    )
    image = np.empty((h, w, 3), np.float32)
    image[:] = colour
    opacity = np.zeros((h, w), np.uint8)
    period = int(rng.integers(4, 8))
    for x in range(0, w, period):
        opacity[:, x : x + (period - 1 if dense else max(1, period // 3))] = 255
        image[:, x] *= 0.7
    opacity[h // 8 : h // 8 + 2] = opacity[-h // 4 : -h // 4 + 2] = 255
    for x in range(0, w, 30):
        opacity[:, x : x + 2] = 255
    opacity = np.maximum(opacity, 70)
    texture = finish(image, style.texture, style.shade(WHITE, rgb(-sign, 0, -0.3)) / 255, rng)
    (ax, az), (bx, bz) = road.at(sign * lateral, z0), road.at(sign * lateral, z1)
    corners = np.array([[ax, height, az], [bx, height, bz], [bx, 0, bz], [ax, 0, az]])
    return Thing(max(az, bz) + 0.05 * lateral, lambda canvas: canvas.textured(corners, texture, FENCE, opacity))
