"""One street: its centre line, side streets, what its ground already holds, and the things placed along it."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from experiments.render_streets.library import LIBRARY
from experiments.render_streets.soup import Soup

SIDES = (-1, 1)  # left and right of the centre line


class Placement(NamedTuple):
    """A model of the library at its place."""

    thing: str
    variant: int
    position: np.ndarray  # 3, metres
    heading: float  # radians to the left of y
    scale: float
    colour: ArrayLike  # RGB that tints what is tinted


class Gap(NamedTuple):
    """Where a side street leaves: metres along the centre line."""

    centre: float
    width: float


class Street:
    """A street that its parts are added to; the camera stands at s = 0.

    Places are (s, d): metres along the centre line and metres to the right of it.

    Attributes:
        rng: the frame's generator. All parts draw from it in turn, so their order is part of what a frame is.
        left_hand: traffic keeps left.
        half: half the width of the road.
        walk: width of a pavement.
        style: "city", "suburb" or "open".
        gaps: side streets of each side.
        end: s where the street ends at a cross street; 240: it does not.
        soups: geometry of this frame by label id.
        placements: models, in the order in which they were placed.
        taken: rectangles (s from, s to, d from, d to) of the ground that are occupied.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.soups: dict[int, Soup] = {}
        self.placements: list[Placement] = []
        self.taken: list[tuple[float, float, float, float]] = []
        self.left_hand = rng.random() < 0.7
        self.half = rng.uniform(3.2, 5.4) if rng.random() < 0.85 else rng.uniform(5.4, 7.5)
        self.walk = rng.uniform(1.8, 4.4)
        self.style = str(rng.choice(["city", "suburb", "open"], p=[0.60, 0.23, 0.17]))
        self._draw_centre_line()
        self.gaps: dict[int, list[Gap]] = {-1: [], 1: []}
        self._draw_side_streets()
        self.end = rng.uniform(45, 110) if rng.random() < 0.3 else 240.0

    def _draw_centre_line(self) -> None:
        """Straight near the camera, then perhaps a bend of 100 m."""
        rng = self.rng
        s = np.arange(-40.0, 321.0)
        bend = rng.normal(0, 1 / 260) if rng.random() < 0.7 else 0.0
        bend = float(np.clip(bend, -1 / 130, 1 / 130))
        start = rng.uniform(5, 50)
        curve = np.where((s > start) & (s < start + 100), bend, 0.0)
        theta = np.concatenate([[0], np.cumsum(curve[:-1])])
        theta -= np.interp(0, s, theta)
        x, y = np.cumsum(np.sin(theta)), np.cumsum(np.cos(theta))
        self._s, self._theta = s, theta
        self._x, self._y = x - np.interp(0, s, x), y - np.interp(0, s, y)

    def _draw_side_streets(self) -> None:
        rng = self.rng
        if rng.random() >= 0.65:
            return
        near = [rng.uniform(9, 22)] if rng.random() < 0.45 else []
        for centre in [*near, rng.uniform(30, 60), rng.uniform(80, 130)]:
            width = rng.uniform(6, 11)
            for side in SIDES if rng.random() < 0.5 else (int(rng.choice(SIDES)),):
                self.gaps[side].append(Gap(centre, width))

    def soup(self, label: int) -> Soup:
        """The geometry of a label id, to add to."""
        return self.soups.setdefault(label, Soup())

    def at(self, s: ArrayLike, d: ArrayLike, z: ArrayLike = 0.0) -> np.ndarray:
        """Points (..., 3) of places, ``z`` above the ground."""
        s, d, z = np.broadcast_arrays(np.asarray(s, float), d, z)
        theta = np.interp(s, self._s, self._theta)
        x = np.interp(s, self._s, self._x) + d * np.cos(theta)
        y = np.interp(s, self._s, self._y) - d * np.sin(theta)
        return np.stack([x, y, z], -1)

    def along(self, s0: float, s1: float) -> np.ndarray:
        """Values of s, about 4 m apart, that follow the street from ``s0`` to ``s1``."""
        return np.linspace(s0, s1, max(2, int((s1 - s0) / 4) + 1))

    def strip(self, label: int, s0: float, s1: float, d0: float, d1: float, z: float, mat: str, col: ArrayLike) -> None:
        """A band of ground; nothing if it ends before it begins."""
        if s1 <= s0:
            return
        s = self.along(s0, s1)
        points = np.stack([self.at(s, min(d0, d1), z), self.at(s, max(d0, d1), z)], 1)
        self.soup(label).grid(points, mat, col, smooth=False)

    def raised(
        self, label: int, s0: float, s1: float, d0: float, d1: float, z: float, mat: str, col: ArrayLike
    ) -> None:
        """A strip with kerb stones on its four edges."""
        if s1 <= s0:
            return
        self.strip(label, s0, s1, d0, d1, z, mat, col)
        s, edges = self.along(s0, s1), np.array([min(d0, d1), max(d0, d1)])
        for d in edges:
            points = np.stack([self.at(s, d, 0.0), self.at(s, d, z)], 1)
            self.soup(label).grid(points, "stone", (0.3, 0.3, 0.29), smooth=False)
        for q in (s0, s1):
            points = np.stack([self.at(q, edges, 0.0), self.at(q, edges, z)])
            self.soup(label).grid(points, "stone", (0.3, 0.3, 0.29), smooth=False)

    def claim(self, s: float, d: float, length: float, width: float) -> bool:
        """Occupy a rectangle round (s, d); False, and nothing occupied, if a part of it is taken."""
        r = (s - length / 2, s + length / 2, d - width / 2, d + width / 2)
        if any(r[0] < q[1] and q[0] < r[1] and r[2] < q[3] and q[2] < r[3] for q in self.taken):
            return False
        self.taken.append(r)
        return True

    def place(
        self,
        thing: str,
        s: float,
        d: float,
        turn: float = 0.0,
        z: float = 0.0,
        scale: float = 1.0,
        colour: ArrayLike = (1, 1, 1),
        only: Collection[str] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Put a thing of the library at (s, d), facing along the street.

        Args:
            turn: radians to the left of the street's direction.
            only: kinds of the thing to choose from; none: all.
            rng: what chooses the variant, in place of the frame's generator.
        """
        kinds = LIBRARY[thing].kinds
        options = [k for k in range(len(kinds)) if only is None or kinds[k] in only]
        variant = options[(rng or self.rng).integers(len(options))]
        heading = -float(np.interp(s, self._s, self._theta)) + turn
        self.placements.append(Placement(thing, variant, self.at(s, d, z), heading, scale, colour))

    def lane(self, direction: int) -> float:
        """d of the middle of the lane that leads away from the camera (1) or towards it (-1)."""
        return (-1 if self.left_hand else 1) * direction * self.half * (0.5 if self.half < 5 else 0.42)

    def stretches(self, side: int, start: float, margin: float = 0.0) -> Iterator[tuple[float, float]]:
        """Where no side street is: (from, to), the last to ``end`` and others perhaps beyond it.

        ``margin`` is kept free of both sides of each side street.
        """
        for gap in sorted(self.gaps[side]):
            yield start, gap.centre - (gap.width + 2 * margin) / 2
            start = gap.centre + (gap.width + 2 * margin) / 2
        yield start, self.end

    def crosses(self, s: float, side: int, margin: float = 0.0) -> bool:
        """Whether a side street, and ``margin`` metres on both sides of it, is at ``s``."""
        return any(abs(s - gap.centre) <= gap.width / 2 + margin for gap in self.gaps[side])
