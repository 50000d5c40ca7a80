"""Quads of several materials and colours that become one mesh; x is right, y forward, z up, in metres."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from experiments.render_streets.materials import SLOTS

CORNERS = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
SIDES = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]  # of a box, by corners


class Quads(NamedTuple):
    """What a soup collected, N vertices and M quads."""

    vertices: np.ndarray  # N 3
    corners: np.ndarray  # M 4, indices of vertices
    slots: np.ndarray  # M, ``materials.SLOTS``
    colours: np.ndarray  # M 3, linear RGB
    smooth: np.ndarray  # M bool, shaded as part of a round surface


def unit(v: ArrayLike) -> np.ndarray:
    """The vector with length 1."""
    v = np.asarray(v, float)
    return v / max(float(np.linalg.norm(v)), 1e-9)


def turned(n: int, turn: float = 0.0) -> np.ndarray:
    """``n`` angles round a circle, in radians."""
    return np.arange(n) * 2 * np.pi / n + turn


class Soup:
    """Collects quads. ``mat`` is a name of ``MATERIALS``, ``col`` linear RGB, points are (x, y, z)."""

    def __init__(self) -> None:
        self.parts: list[Quads] = []
        self.points = 0

    def add(self, verts: ArrayLike, quads: ArrayLike, mat: str, col: ArrayLike, smooth: bool = False) -> None:
        """Add quads (M, 4) that index ``verts`` (N, 3); ``col`` is one RGB or (M, 3)."""
        verts, quads = np.asarray(verts, float).reshape(-1, 3), np.asarray(quads, int).reshape(-1, 4)
        count = len(quads)
        colours = np.broadcast_to(np.asarray(col, float), (count, 3))
        part = Quads(verts, quads + self.points, np.full(count, SLOTS[mat]), colours, np.full(count, smooth))
        self.parts.append(part)
        self.points += len(verts)

    def quads(self) -> Quads:
        """Everything added so far."""
        return Quads(*(np.concatenate(arrays) for arrays in zip(*self.parts, strict=True)))

    def quad(self, corners: ArrayLike, mat: str, col: ArrayLike) -> None:
        """One quad through four points (4, 3)."""
        self.add(corners, [[0, 1, 2, 3]], mat, col)

    def grid(self, pts: np.ndarray, mat: str, col: ArrayLike, smooth: bool = True, wrap: bool = False) -> None:
        """A sheet through points (rows, columns, 3); ``wrap`` joins the last column to the first."""
        rows, columns = pts.shape[:2]
        i, j = np.mgrid[0 : rows - 1, 0 : columns if wrap else columns - 1]
        k = (j + 1) % columns
        quads = np.stack([i * columns + j, i * columns + k, (i + 1) * columns + k, (i + 1) * columns + j], -1)
        self.add(pts, quads, mat, col, smooth)

    def box(
        self,
        centre: ArrayLike,
        size: ArrayLike,
        mat: str,
        col: ArrayLike,
        axes: ArrayLike | None = None,
        taper: float = 1.0,
    ) -> None:
        """A box; the rows of ``axes`` are its x, y and z directions, ``taper`` shrinks its top."""
        corners = CORNERS * 0.5 * np.asarray(size, float)
        corners[4:, :2] *= taper
        if axes is not None:
            corners = corners @ np.asarray(axes, float)
        self.add(corners + centre, SIDES, mat, col)

    def tube(
        self,
        a: ArrayLike,
        b: ArrayLike,
        ra: float,
        rb: float,
        mat: str,
        col: ArrayLike,
        n: int = 8,
        caps: bool = False,
    ) -> None:
        """A cone of ``n`` sides from ``a`` with radius ``ra`` to ``b`` with ``rb``; flat sides if it has caps."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        w = unit(b - a)
        u = unit(np.cross(w, [0.31, 0.95, 0.1] if abs(w[2]) > 0.9 else [0, 0, 1]))
        t = turned(n)
        ring = np.cos(t)[:, None] * u + np.sin(t)[:, None] * np.cross(w, u)
        rows = [a + ra * ring, b + rb * ring]
        if caps:
            rows = [a + 0 * ring, *rows, b + 0 * ring]
        self.grid(np.stack(rows), mat, col, not caps, wrap=True)

    def ball(self, centre: ArrayLike, radii: ArrayLike, mat: str, col: ArrayLike, n: int = 10) -> None:
        """An ellipsoid with ``n`` columns."""
        t, p = np.linspace(0, np.pi, n // 2 + 2), turned(n)
        pts = [np.outer(np.sin(t), np.cos(p)), np.outer(np.sin(t), np.sin(p)), np.outer(np.cos(t), np.ones(n))]
        self.grid(np.asarray(centre) + np.stack(pts, -1) * np.asarray(radii), mat, col, wrap=True)

    def ring(self, centre: ArrayLike, radius: float, thick: float, mat: str, col: ArrayLike) -> None:
        """A torus that stands in the y-z plane."""
        n, m = 20, 5
        t, p = np.arange(n + 1) * 2 * np.pi / n, turned(m)
        r = radius + thick * np.cos(p)
        pts = [np.tile(thick * np.sin(p), (n + 1, 1)), np.outer(np.cos(t), r), np.outer(np.sin(t), r)]
        self.grid(np.asarray(centre) + np.stack(pts, -1), mat, col, wrap=True)

    def cards(self, centres: np.ndarray, size: float, rng: np.random.Generator, mat: str, col: ArrayLike) -> None:
        """Leaves: little squares about ``size`` wide round ``centres`` (N, 3), turned at random."""
        n = len(centres)
        a = rng.normal(size=(n, 3))
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b = np.cross(a, rng.normal(size=(n, 3)))
        b /= np.linalg.norm(b, axis=1, keepdims=True)
        s = (size * rng.uniform(0.6, 1.3, n))[:, None] * 0.5
        a, b = a * s, b * s
        pts = np.stack([centres - a - b, centres + a - b, centres + a + b, centres - a + b], 1)
        self.add(pts, np.arange(4 * n).reshape(n, 4), mat, col)


def texture_coordinates(quads: Quads) -> np.ndarray:
    """M 4 2, in metres: across and up for walls, x and y for floors."""
    p = quads.vertices[quads.corners]
    normal = np.cross(p[:, 2] - p[:, 0], p[:, 3] - p[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    across = np.stack([-normal[:, 1], normal[:, 0]], -1)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-12
    floor = (np.abs(normal[:, 2]) > 0.8)[:, None, None]
    wall = np.stack([np.einsum("nki,ni->nk", p[..., :2], across), p[..., 2]], -1)
    return np.where(floor, p[..., :2], wall)
