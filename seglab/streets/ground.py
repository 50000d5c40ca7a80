"""Sky, distant skyline, and the ground: strips along a bending road, markings, shadows."""

from dataclasses import dataclass

import cv2
import numpy as np

from seglab.streets.canvas import SUBPIXEL, Camera, Canvas, Colour, Thing, fixed, noise
from seglab.streets.style import (
    BUILDING,
    RNG,
    ROAD,
    SIDEWALK,
    SKY,
    TERRAIN,
    VEGETATION,
    Style,
    rgb,
)

END = 190.0  # metres: the road ends here, at the skyline


@dataclass(frozen=True)
class Side:
    """One side of the road; lateral positions in metres, measured outwards from the centre line."""

    kerb: float  # end of the road
    verge: float  # end of the grass strip; equal to kerb if there is none
    line: float  # end of the sidewalk, where frontages begin
    parking: bool  # the outermost 2.2 m of the road are parking places


@dataclass(frozen=True)
class Road:
    """The plan of one street: lanes, both sides (left, right), a bend, and at most one crossing street."""

    lanes: int
    lane_width: float
    sides: tuple[Side, Side]
    bend: float  # lateral shift per squared metre ahead
    crossing: tuple[float, float]  # (near, far) end of the crossing street along Z
    rails: bool

    def at(self, lateral: float, z: float) -> tuple[float, float]:
        """World (x, z) of a lateral position at distance z."""
        return lateral + self.bend * z * z, z

    def heading(self, z: float) -> float:
        return float(np.arctan(2 * self.bend * z))

    def crosses(self, z: float, margin: float = 0.0) -> bool:
        return self.crossing[0] - margin < z < self.crossing[1] + margin


def paint_sky(canvas: Canvas, style: Style, rng: RNG) -> None:
    """Gradient, clouds and the glow around a low sun, down to the bottom of the canvas."""
    camera, rows, half = canvas.camera, max(canvas.camera.horizon, 2) // 2 + 2, canvas.camera.width // 2
    top, horizon = (np.asarray(c, np.float32) for c in style.sky)
    v = np.arange(rows, dtype=np.float32) * 2  # painted at half resolution, it has no edges
    rise = np.clip((camera.horizon - v) / (0.5 * camera.rows), 0, 1)[:, None, None] ** np.float32(0.8)
    image = (horizon * (1 - rise) + top * rise).repeat(half, axis=1)
    if style.clouds > 0.15:
        field = noise(512, 4)
        # rows near the horizon look further away, so clouds get smaller and flatter there
        distance = 40.0 / np.maximum(camera.horizon - v + 30, 1)
        u = (np.arange(half, dtype=np.float32) * 2 - half)[None, :] * distance[:, None] * 0.7
        w = np.broadcast_to(600 * distance[:, None], u.shape)
        ox, oy = rng.uniform(0, 512, 2)
        value = cv2.remap(field, (u + ox).astype(np.float32) % 511, (w + oy).astype(np.float32) % 511, cv2.INTER_LINEAR)
        cover = np.clip((value + style.clouds * 1.3 - 0.75) * 1.8, 0, 1)[..., None] * 0.85
        white = np.minimum(horizon * 0.35 + 165, 252) if style.clouds < 1 else horizon * 0.93
        relief = 1 - 0.12 * np.clip(value, 0, 1)[..., None]
        image = image * (1 - cover) + white * relief * cover
    canvas.image[:] = horizon.astype(np.uint8)
    small = np.clip(image, 0, 255).astype(np.uint8)
    stop = min(2 * rows, camera.rows)
    canvas.image[:stop] = cv2.resize(small, (camera.width, 2 * rows), interpolation=cv2.INTER_LINEAR)[:stop]
    canvas.labels[:] = SKY


def skyline(road: Road, style: Style, rng: RNG) -> Thing:
    """A row of far houses and woods across the horizon that also closes the road's end."""
    x, pieces = -260.0, []
    woods = rng.random()
    while x < 260:
        width = rng.uniform(8, 30)
        if rng.random() < woods:
            pieces.append((x, width, rng.uniform(5, 12), style.foliage(rng) * 0.8, True))
        else:
            tall = rng.uniform(20, 60) if rng.random() < 0.25 * style.domain.glass * 2 else rng.uniform(6, 20)
            colour = style.hsv(rng, (0.02, 0.14), (0.05, 0.3), (0.45, 0.75))
            pieces.append((x, width, tall, style.shade(colour, rgb(0, 0, -1)), False))
        x += width * rng.uniform(0.7, 1.0)
    order = rng.permutation(len(pieces))
    bumps = rng.uniform(0.75, 1.0, (len(pieces), 9))
    offset = road.at(0, END)[0]

    def paint(canvas: Canvas) -> None:
        for index in order:
            left, width, tall, colour, leaves = pieces[index]
            sprite = canvas.sprite(left + offset, END)
            if leaves:
                t = np.linspace(0, np.pi, 9)
                top = [
                    (width * (0.5 - 0.6 * np.cos(a)), tall * np.sin(a) ** 0.5 * b)
                    for a, b in zip(t, bumps[index], strict=True)
                ]
                sprite.polygon([(-0.1 * width, -2), *top, (1.1 * width, -2)], colour, VEGETATION)
            else:
                sprite.box(0, -2, width, tall, colour, BUILDING)

    return Thing(END + 50, paint)


def shadow_mask(camera: Camera, style: Style, things: list[Thing]) -> np.ndarray:
    """H W float32 in [0, 1]: how much each ground pixel loses to cast and contact shadows."""
    cast = np.zeros((camera.rows // 2, camera.width // 2), np.uint8)  # they are soft: half resolution will do
    contact = np.zeros_like(cast)
    for thing in things:
        if thing.shadow is None:
            continue
        for mask, slant in ((cast, style.light[[0, 2]] / style.light[1]), (contact, np.zeros(2))):
            if mask is cast and style.shadow == 0:
                continue
            flat = thing.shadow.copy()
            flat[:, [0, 2]] -= slant * flat[:, 1:2]
            flat[:, 1] = 0
            view = camera.view(flat)
            if view[:, 2].min() < 0.5:
                view = view[view[:, 2] > 0.5]
            if len(view) > 2:
                cv2.fillConvexPoly(mask, cv2.convexHull(fixed(camera.screen(view) / 2)), (255,), cv2.LINE_8, SUBPIXEL)
    soft = cv2.GaussianBlur(cast, (0, 0), 0.7).astype(np.float32) * style.shadow
    touch = cv2.GaussianBlur(contact, (0, 0), 1.1).astype(np.float32) * 0.5
    small = np.maximum(soft, touch) / 255
    return cv2.resize(small, (camera.width, camera.rows), interpolation=cv2.INTER_LINEAR)


def repeat(x: np.ndarray, period: float) -> np.ndarray:
    """x modulo period; several times faster than NumPy's float remainder."""
    return x - np.float32(period) * np.floor(x * np.float32(1 / period))


def sample(field: np.ndarray, x: np.ndarray, z: np.ndarray, scale: float) -> np.ndarray:
    """Look up a tileable field at world positions, ``scale`` texels per metre."""
    size = field.shape[0] - 1
    factor = np.float32(scale)
    return cv2.remap(field, repeat(x * factor, size), repeat(z * factor, size), cv2.INTER_LINEAR)


def paint_ground(canvas: Canvas, road: Road, style: Style, shadow: np.ndarray, rng: RNG) -> None:
    """Every ground pixel by its world position: material, markings, texture, shadow, haze."""
    camera = canvas.camera
    if camera.horizon >= camera.rows:
        return
    x, z, depth = camera.ground
    lateral = x - np.float32(road.bend) * z * z
    left, right = road.sides
    side = np.where(lateral < 0, 0, 1)
    kerb, verge, line = (
        np.array([a, b], np.float32)[side]
        for a, b in ((left.kerb, right.kerb), (left.verge, right.verge), (left.line, right.line))
    )
    out = np.abs(lateral)
    near, far = road.crossing
    crossing = (z > near) & (z < far)
    rim = (z > near - 2.2) & (z < far + 2.2) & ~crossing & (out > kerb)
    is_road = (out < kerb) | crossing
    is_grass = ~is_road & ~rim & (((out >= kerb) & (out < verge)) | (out > line))

    asphalt = style.hsv(rng, (0.05, 0.7), (0.0, 0.09), (0.32, 0.58))
    if rng.random() < 0.5:
        paving = asphalt + rng.uniform(15, 55)
    else:
        paving = style.hsv(rng, (0.03, 0.12), (0.05, 0.32), (0.45, 0.72))
    grass = style.foliage(rng) * rgb(1.05, 1.08, 0.95)
    if rng.random() < 0.3:
        grass = style.hsv(rng, (0.07, 0.13), (0.25, 0.5), (0.42, 0.62))
    up = rgb(0, 1, 0)
    kind = np.where(is_road, 0, np.where(is_grass, 1, 2)).astype(np.uint8)
    labels = np.array([ROAD, TERRAIN, SIDEWALK], np.uint8)[kind]
    colour = np.array([style.shade(tone, up) for tone in (asphalt, grass, paving)], np.float32)[kind]

    detail = np.clip(14 / depth, 0, 1)  # fine structure fades before it aliases
    coarse, fine = sample(noise(), x, z, 9.0), sample(noise(512, 1), x, z, 60.0)
    amount = np.array([0.015, 0.12], np.float32)[is_grass.view(np.uint8)] + np.float32(style.texture)
    gain = 1 + amount * (coarse * 1.1 + fine * detail * 1.3)
    if rng.random() < 0.5:  # slabs
        pitch = rng.uniform(0.5, 1.2)
        joint = (np.abs(repeat(lateral, pitch) - pitch / 2) > pitch * 0.46) | (
            np.abs(repeat(z, pitch) - pitch / 2) > pitch * 0.46
        )
        gain = np.where((labels == SIDEWALK) & joint, gain * (1 - 0.16 * detail), gain)
    tracks = np.cos(lateral / road.lane_width * 4 * np.pi)  # wheels polish two tracks in each lane
    gain = np.where(is_road & ~crossing, gain * (1 + 0.035 * tracks), gain).astype(np.float32)
    colour *= gain[..., None]
    edge = (out > kerb) & (out < kerb + 0.22) & ~crossing
    colour[edge] = style.shade(paving + rng.uniform(12, 45), up)
    colour[(out > kerb - 0.12) & (out <= kerb) & ~crossing] *= 0.74
    paint_markings(colour, road, style, lateral, z, depth, rng)
    clear = np.exp(-depth / np.float32(style.visibility))
    colour *= ((1 - shadow[camera.horizon :]) * clear)[..., None]
    colour += (1 - clear)[..., None] * style.haze.astype(np.float32)
    canvas.image[camera.horizon :] = np.clip(colour, 0, 255, out=colour).astype(np.uint8)
    canvas.labels[camera.horizon :] = labels


def paint_markings(
    colour: np.ndarray, road: Road, style: Style, lateral: np.ndarray, z: np.ndarray, depth: np.ndarray, rng: RNG
) -> None:
    """Blend lane lines, zebra crossings, rails and repaired patches into the ground colours, in place."""
    crossing = (z > road.crossing[0] - 4.2) & (z < road.crossing[1] + 4.2)
    paint: Colour = style.shade(rgb(235, 235, 228) if rng.random() < 0.75 else rgb(238, 196, 80), rgb(0, 1, 0))
    strength = rng.uniform(0.35, 0.95) * np.clip(45 / depth, 0, 1)
    width = 0.09 + 0.0035 * depth  # thin lines keep a visible width far away
    dashed = repeat(z, 9) < rng.uniform(3, 6)
    mask = np.zeros(z.shape, bool)
    solid = rng.random() < 0.35
    for lane in range(-road.lanes + 1, road.lanes):
        on = np.abs(lateral - lane * road.lane_width) < width
        mask |= on & (dashed if lane or not solid else True)
    for side, sign in zip(road.sides, (-1, 1), strict=True):
        if side.parking:
            mask |= np.abs(lateral * sign - (side.kerb - 2.25)) < width * 0.8
    mask &= ~crossing
    if rng.random() < 0.75:
        near, far = road.crossing
        zebra = ((z > near - 3.6) & (z < near - 0.8)) | ((z > far + 0.8) & (z < far + 3.6))
        inside = (lateral > -road.sides[0].kerb) & (lateral < road.sides[1].kerb)
        mask |= zebra & inside & (repeat(lateral, 1.1) < 0.55)
    alpha = (mask * strength).astype(np.float32)
    where = alpha > 0
    colour[where] += (np.asarray(paint, np.float32) - colour[where]) * alpha[where][:, None]
    if road.rails:
        for gauge in (-0.72, 0.72):
            for track in (-0.5, 0.5):
                rail = np.abs(lateral - track * road.lane_width - gauge) < 0.07 + 0.002 * depth
                colour[rail] = colour[rail] * 0.45 + 40
    for _ in range(rng.poisson(1.5)):
        px, pz, sx, sz = rng.uniform(-5, 5), rng.uniform(4, 30), rng.uniform(0.4, 1.6), rng.uniform(0.8, 6)
        colour[(np.abs(lateral - px) < sx) & (np.abs(z - pz) < sz)] *= rng.uniform(0.78, 0.92)
