"""Cars: body and cabin are lofts over stations along y, the front at +y; paint is tinted per car."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from experiments.render_streets.ids import CAR
from experiments.render_streets.soup import Soup, unit


class Shape(NamedTuple):
    """A kind of car, in metres and in fractions of its length from rear (0) to front (1)."""

    length: float
    width: float
    height: float
    cabin: tuple[float, float, float, float]  # rear at the belt, rear of the roof, front of the roof, front at the belt
    belt: float = 0.62  # of the height, where the glass begins
    deck: float = 0.62  # of the height, the rear end
    roof: float = 0.74  # of the width
    clearance: float = 0.2
    wheel: float = 0.31  # radius
    panes: tuple[tuple[float, float], ...] = ((0.06, 0.46), (0.49, 0.93))  # of each side, from rear to front


THREE = ((0.05, 0.33), (0.36, 0.66), (0.69, 0.93))
SHAPES = {
    "hatch": Shape(3.9, 1.70, 1.45, (0.02, 0.11, 0.52, 0.72)),
    "saloon": Shape(4.5, 1.76, 1.42, (0.16, 0.30, 0.55, 0.73), deck=0.61),
    "estate": Shape(4.6, 1.77, 1.46, (0.015, 0.08, 0.53, 0.71), panes=THREE),
    "suv": Shape(4.5, 1.85, 1.72, (0.02, 0.09, 0.54, 0.71), clearance=0.28, wheel=0.35, panes=THREE),
    "van": Shape(4.9, 1.95, 2.05, (0.01, 0.03, 0.68, 0.83), belt=0.56, deck=0.56, roof=0.86, wheel=0.35),
    "mini": Shape(3.5, 1.62, 1.50, (0.02, 0.10, 0.55, 0.76)),
}


def make_car(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A car of a kind of ``SHAPES``."""
    soup, shape = Soup(), SHAPES[kind]
    length, height = shape.length * rng.uniform(0.96, 1.04), shape.height * rng.uniform(0.98, 1.03)
    shape = shape._replace(length=length, height=height)
    body(soup, shape)
    cabin(soup, shape, rng, kind)
    for side in (-1, 1):
        wheels(soup, shape, side)
        lamps(soup, shape, side, tail=0.15 if kind == "saloon" else 0.24)
    plates(soup, shape)
    return {CAR: soup}


def body(soup: Soup, shape: Shape) -> None:
    """Everything below the belt."""
    high, base = shape.height, shape.clearance
    belt, deck, nose = shape.belt * high, shape.deck * high, 0.5 * high
    y = np.array([0, 0.015, 0.05, 0.12, 0.25, 0.4, 0.55, 0.68, 0.78, 0.88, 0.95, 0.985, 1.0])
    top = np.interp(
        y,
        [0, 0.03, 0.2, 0.3, 0.66, 0.70, 0.95, 0.985, 1],
        [0.45 * high, deck, deck, belt, belt, belt * 0.97, nose * 1.03, nose * 0.93, 0.4 * high],
    )
    half_width = shape.width / 2 * np.interp(y, [0, 0.06, 0.3, 0.7, 0.93, 1], [0.88, 0.96, 1, 1, 0.95, 0.82])
    stations = []
    for at, t, w in zip(y, top, half_width, strict=True):
        x = w * np.array([0.80, 0.97, 1.0, 1.0, 0.985, 0.93, 0.75, 0.0])
        rise = (t - base) * np.array([0.45, 0.62, 0.84, 0.96, 1, 1])
        z = np.concatenate([[base, base + 0.05], base + rise + [0, 0, 0, 0, 0.005, 0.03]])
        right = np.stack([x, np.full(8, at * shape.length - shape.length / 2), z], -1)
        stations.append(np.concatenate([right, right[-2::-1] * [-1, 1, 1]]))
    soup.grid(np.array(stations), "coat", (1, 1, 1))
    for end in (stations[0], stations[-1]):
        middle = np.tile(end.mean(0), (len(end), 1))
        soup.grid(np.stack([end, middle]), "coat", (0.9, 0.9, 0.9), smooth=False, wrap=True)
    soup.box([0, 0, base + 0.02], (shape.width * 0.86, shape.length * 0.94, 0.1), "matt", (0.01, 0.01, 0.01))


def pane(
    soup: Soup, quad: np.ndarray, mat: str, col: ArrayLike, u: tuple[float, float], v: tuple[float, float], out: float
) -> None:
    """The part of a quad (4 3: two points of its bottom, two of its top) between ``u`` and ``v``, pushed out."""
    a, b, c, d = quad
    normal = unit(np.cross(b - a, d - a)) * out

    def at(x: float, y: float) -> np.ndarray:
        return (1 - y) * ((1 - x) * a + x * b) + y * ((1 - x) * d + x * c) + normal

    soup.quad(np.array([at(u[0], v[0]), at(u[1], v[0]), at(u[1], v[1]), at(u[0], v[1])]), mat, col)


def cabin(soup: Soup, shape: Shape, rng: np.random.Generator, kind: str) -> None:
    """Glass in painted frames, and an arched roof."""
    rear, roof_rear, roof_front, front = (at * shape.length - shape.length / 2 for at in shape.cabin)
    x0, x1 = shape.width / 2 * 0.95, shape.width / 2 * shape.roof
    z0, z1 = shape.belt * shape.height - 0.03, shape.height - 0.06
    foot = {(x, y): np.array([x * x0, (rear, front)[y], z0]) for x in (-1, 1) for y in (0, 1)}
    roof = {(x, y): np.array([x * x1, (roof_rear, roof_front)[y], z1]) for x in (-1, 1) for y in (0, 1)}
    glass = np.array([0.012, 0.016, 0.018]) * rng.uniform(0.7, 2)
    whole = (0.0, 1.0)

    for side, (a, b) in {1: ((1, 0), (1, 1)), -1: ((-1, 1), (-1, 0))}.items():
        quad = np.array([foot[a], foot[b], roof[b], roof[a]])
        pane(soup, quad, "coat", (0.95,) * 3, whole, whole, 0.0)
        panes = shape.panes
        if kind == "van":
            panes = ((0.70, 0.93),) if rng.random() < 0.7 else ((0.05, 0.33), (0.36, 0.66), (0.70, 0.93))
        for start, stop in panes:
            u = (start, stop) if side > 0 else (1 - stop, 1 - start)
            pane(soup, quad, "glass", glass, u, (0.10, 0.90), 0.012)
    for end, (a, b) in {1: ((1, 1), (-1, 1)), 0: ((-1, 0), (1, 0))}.items():
        quad = np.array([foot[a], foot[b], roof[b], roof[a]])
        pane(soup, quad, "coat", (0.95,) * 3, whole, whole, 0.0)
        if kind != "van" or end:  # vans have no rear window
            pane(soup, quad, "glass", glass, (0.07, 0.93), (0.08, 0.95), 0.012)

    t = np.linspace(0, 1, 7)[:, None]
    arch = 0.07 * (1 - (2 * t - 1) ** 4) * np.array([0, 0, 1])
    left_to_right = [roof[-1, y] + (roof[1, y] - roof[-1, y]) * t + arch for y in (0, 1)]
    soup.grid(np.stack(left_to_right, 1), "coat", (1, 1, 1))
    for edge in left_to_right:  # close the arch to the panes
        flat = edge * [1, 1, 0] + [0, 0, z1]
        soup.add(np.concatenate([edge, flat]), [[k, k + 1, k + 8, k + 7] for k in range(6)], "coat", (0.9, 0.9, 0.9))


def wheels(soup: Soup, shape: Shape, side: int) -> None:
    """Arches, tyres and rims of one side."""
    r, half, x = shape.wheel, shape.length / 2, side * (shape.width / 2 - 0.02)
    for y in (-half + 0.19 * shape.length, half - 0.18 * shape.length):
        inner, outer = [x - side * 0.3, y, r + 0.02], [x + side * 0.005, y, r + 0.02]
        soup.tube(inner, outer, r + 0.06, r + 0.06, "matt", (0.006,) * 3, 16, caps=True)
        soup.tube([x - side * 0.2, y, r], [x + side * 0.02, y, r], r, r * 0.96, "matt", (0.012,) * 3, 16, caps=True)
        soup.tube([x, y, r], [x + side * 0.03, y, r], r * 0.66, r * 0.6, "metal", (0.35,) * 3, 12, caps=True)


def lamps(soup: Soup, shape: Shape, side: int, tail: float) -> None:
    """Head lamp, tail lamp (``tail`` metres high) and mirror of one side."""
    half, high = shape.length / 2, shape.height
    lamp = [side * shape.width * 0.37, half - 0.06, 0.5 * high * 0.80]
    soup.box(lamp, (0.32, 0.14, 0.14), "glass", (0.55, 0.56, 0.55))
    lamp = [side * shape.width * 0.40, -half + 0.05, shape.deck * high * 0.84]
    soup.box(lamp, (0.24, 0.12, tail), "glass", (0.30, 0.008, 0.008))
    mirror = [side * (shape.width / 2 + 0.05), shape.cabin[3] * shape.length - half - 0.35, shape.belt * high + 0.06]
    soup.box(mirror, (0.16, 0.09, 0.12), "coat", (0.8,) * 3)


def plates(soup: Soup, shape: Shape) -> None:
    """Number plates, grille and sills."""
    half, high = shape.length / 2, shape.height
    soup.box([0, half - 0.01, 0.42 * high * 0.85], (0.5, 0.05, 0.11), "plain", (0.75, 0.75, 0.72))
    soup.box([0, -half + 0.01, 0.5 * high], (0.5, 0.05, 0.11), "plain", (0.75, 0.6, 0.08))
    soup.box([0, half - 0.02, 0.36 * high], (shape.width * 0.6, 0.06, 0.1), "matt", (0.012,) * 3)
    sill = (shape.width * 1.005, shape.length * 0.55, 0.09)
    soup.box([0, 0, shape.clearance + 0.08], sill, "matt", (0.02,) * 3)
