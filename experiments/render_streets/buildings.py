"""Buildings: walls, roofs, rows of windows, doors and shop fronts, all of them boxes and quads."""

from typing import NamedTuple

import numpy as np

from experiments.render_streets.ids import BUILDING
from experiments.render_streets.soup import Soup
from experiments.render_streets.street import Street

UP = np.array([0, 0, 1.0])
SKINS = {
    "brick": [(0.30, 0.14, 0.09), (0.36, 0.26, 0.16), (0.22, 0.12, 0.09), (0.40, 0.32, 0.20), (0.16, 0.13, 0.12)],
    "plaster": [
        (0.62, 0.60, 0.55), (0.55, 0.48, 0.36), (0.42, 0.42, 0.42), (0.60, 0.50, 0.42), (0.30, 0.34, 0.38),
        (0.66, 0.66, 0.64), (0.45, 0.30, 0.24),
    ],
    "stone": [(0.42, 0.38, 0.30), (0.30, 0.29, 0.27), (0.50, 0.46, 0.38), (0.24, 0.23, 0.22)],
}  # fmt: skip
TRIMS = [(0.6, 0.6, 0.57), (0.5, 0.48, 0.42), (0.08, 0.08, 0.08), (0.35, 0.3, 0.24)]
ROOFS = [(0.10, 0.08, 0.08), (0.06, 0.065, 0.075), (0.22, 0.10, 0.06), (0.12, 0.11, 0.10)]
FASCIAS = [
    (0.04, 0.05, 0.05), (0.30, 0.03, 0.03), (0.03, 0.09, 0.22), (0.04, 0.16, 0.08), (0.5, 0.5, 0.48),
    (0.45, 0.3, 0.03), (0.18, 0.05, 0.16),
]  # fmt: skip


class Plan(NamedTuple):
    """One building, seen from the front: its corners on the ground are a, b in front and c, d behind, b next to c."""

    soup: Soup
    a: np.ndarray
    b: np.ndarray
    back: np.ndarray  # unit vector from a to d
    depth: float
    floors: int
    first: float  # height of the ground floor
    storey: float  # of the others
    skin: str  # material of the walls
    colour: np.ndarray
    trim: np.ndarray  # colour of frames, sills and cornices

    @property
    def width(self) -> float:
        return float(np.linalg.norm(self.b - self.a))

    @property
    def along(self) -> np.ndarray:
        """Unit vector from a to b."""
        return (self.b - self.a) / self.width

    @property
    def c(self) -> np.ndarray:
        return self.b + self.back * self.depth

    @property
    def d(self) -> np.ndarray:
        return self.a + self.back * self.depth

    @property
    def height(self) -> float:
        return self.first + self.storey * (self.floors - 1) + 0.5

    @property
    def axes(self) -> np.ndarray:
        """Directions of a box that lies along the front."""
        return np.array([self.along, self.back, UP])


def build(street: Street, a: np.ndarray, b: np.ndarray, back: np.ndarray, floors: int | None, house: bool) -> None:
    """A building.

    Args:
        a: left end of its front on the ground, 3.
        b: right end.
        back: unit vector away from the viewer's side.
        floors: number; none: drawn.
        house: a house with a gabled roof and no shop.
    """
    rng = street.rng
    depth = rng.uniform(8, 13)
    floors = floors or int(rng.choice([2, 3, 4, 5], p=[0.36, 0.40, 0.17, 0.07]))
    storey = rng.uniform(2.7, 3.5)
    shop = not house and rng.random() < 0.6
    first = rng.uniform(3.4, 4.2) if shop else storey
    skin = str(rng.choice(["brick", "plaster", "stone", "brick", "plaster"]))
    colour = np.array(SKINS[skin][rng.integers(len(SKINS[skin]))]) * rng.uniform(0.65, 1.1)
    trim = np.array(TRIMS[rng.integers(4)])
    soup = street.soup(BUILDING)
    plan = Plan(soup, a, b, back, depth, floors, first, storey, skin, colour, trim)

    corners, top = [a, b, plan.c, plan.d], UP * plan.height
    for p, q in zip(corners, [*corners[1:], corners[0]], strict=True):
        soup.quad(np.array([p, q, q + top, p + top]), skin, colour)
    tiles = np.array(ROOFS[rng.integers(4)])
    if house or rng.random() < 0.5:
        gabled_roof(plan, rng, tiles)
    else:
        flat_roof(plan, rng)
    if rng.random() < 0.5:
        string_courses(plan)

    ribbon = rng.random() < 0.22 and not house
    windows(plan, rng, a, plan.width, plan.axes, -back, ribbon, ground=not shop, door=not shop)
    if shop:
        shop_fronts(plan, rng)
    if rng.random() < 0.5:  # the flank that the camera sees
        left = bool(np.linalg.norm(a) < np.linalg.norm(b))
        corner, outward = (a, -plan.along) if left else (b, plan.along)
        axes = np.array([back, plan.along, UP])
        windows(plan, rng, corner, depth, axes, outward, ribbon, ground=True, door=False)


def gabled_roof(plan: Plan, rng: np.random.Generator, tiles: np.ndarray) -> None:
    """Two slopes with a ridge along the front, some hipped; chimneys and dormers."""
    soup, along, back, axes, height = plan.soup, plan.along, plan.back, plan.axes, plan.height
    rise, over = plan.depth * rng.uniform(0.28, 0.5), 0.3
    eaves = UP * (height - 0.1)
    front = [plan.a - back * over + eaves, plan.b - back * over + eaves]
    rear = [plan.c + back * over + eaves, plan.d + back * over + eaves]
    left, right = (plan.a + plan.d) / 2 + UP * (height + rise), (plan.b + plan.c) / 2 + UP * (height + rise)
    if rng.random() < 0.25:
        left, right = left + along * plan.width * 0.2, right - along * plan.width * 0.2
    soup.quad(np.array([*front, right, left]), "roof", tiles)
    soup.quad(np.array([*rear, left, right]), "roof", tiles)
    for p, q, ridge in ((plan.a, plan.d, left), (plan.b, plan.c, right)):
        soup.quad(np.array([p + UP * height, q + UP * height, ridge, ridge]), plan.skin, plan.colour)
    for _ in range(rng.integers(0, 3)):
        p = (left + (right - left) * rng.choice([0.08, 0.5, 0.92])) + UP * 0.4
        brick = plan.colour * 0.8 if plan.skin == "brick" else np.array((0.25, 0.13, 0.09))
        soup.box(p, (0.8, 0.6, 1.8), "brick", brick, axes)
        for x in (-0.2, 0.2):
            pot = p + along * x
            soup.tube(pot + UP * 0.9, pot + UP * 1.3, 0.11, 0.09, "plain", (0.3, 0.15, 0.08), 7, caps=True)
    if rng.random() < 0.3:
        for x in np.arange(0.2, 0.9, max(0.25, 3 / plan.width)):
            p = plan.a + along * plan.width * x + back * plan.depth * 0.17 + UP * (height + rise * 0.42)
            soup.box(p, (1.4, 2.0, 1.4), "plain", plan.trim, axes)
            soup.box(p - back, (1.0, 0.06, 0.9), "glass", (0.03, 0.035, 0.04), axes)


def flat_roof(plan: Plan, rng: np.random.Generator) -> None:
    """With a parapet in front, and perhaps a hut on top."""
    soup, axes, height = plan.soup, plan.axes, plan.height
    soup.quad(np.array([plan.a, plan.b, plan.c, plan.d]) + UP * height, "asphalt", (0.12, 0.12, 0.12))
    parapet = (plan.a + plan.b) / 2 + UP * (height + 0.2) + plan.back * 0.1
    soup.box(parapet, (plan.width, 0.3, 0.7), "plaster", plan.trim if rng.random() < 0.5 else plan.colour * 0.9, axes)
    if rng.random() < 0.5:
        soup.box((plan.a + plan.c) / 2 + UP * (height + 1), (3, 3, 2), "plaster", (0.35, 0.35, 0.35), axes)


def string_courses(plan: Plan) -> None:
    """A ledge between floors."""
    for floor in range(1, plan.floors):
        middle = (plan.a + plan.b) / 2 + UP * (plan.first + plan.storey * (floor - 1) + 0.1)
        plan.soup.box(middle, (plan.width, 0.16, 0.18), "plaster", plan.trim, plan.axes)


def windows(
    plan: Plan,
    rng: np.random.Generator,
    corner: np.ndarray,
    width: float,
    axes: np.ndarray,
    outward: np.ndarray,
    ribbon: bool,
    ground: bool,
    door: bool,
) -> None:
    """Windows of one wall.

    Args:
        corner: where the wall begins, on the ground.
        width: its length.
        axes: directions of a box that lies along it, 3 3.
        outward: unit vector away from the building.
        ribbon: a band of large panes, not single sashes.
        ground: with windows on the ground floor.
        door: one of those is a door.
    """
    soup, along = plan.soup, axes[0]
    pitch = rng.uniform(2.1, 3.3)
    count = max(1, int((width - 0.8) / pitch))
    if ribbon:
        wide, high = pitch * 0.92, plan.storey * 0.55
    else:
        wide, high = pitch * rng.uniform(0.34, 0.52), plan.storey * rng.uniform(0.46, 0.62)
    places = (np.arange(count) + 0.5) * (width / count)
    for floor in range(0 if ground else 1, plan.floors):
        z = (0 if floor == 0 else plan.first + plan.storey * (floor - 1)) + 0.9
        centre = corner + along * places[:, None] + UP * (z + high / 2)
        if floor == 0 and door and count > 1:
            at = rng.integers(count)
            panel = corner + along * places[at] + UP * 1.1
            soup.box(panel, (1.0, 0.14, 2.2), "plain", rng.uniform(0.02, 0.35, 3), axes)
            centre = np.delete(centre, at, 0)
        shade = rng.choice([0.012, 0.03, 0.06, 0.25], (len(centre), 1), p=[0.45, 0.3, 0.17, 0.08])
        glass = shade * np.array([0.9, 1, 1.1])
        for off, w, h, mat, colour in (
            (0.03, wide + 0.16, high + 0.16, "plain", plan.trim),
            (0.06, wide, high, "glass", glass),
            (0.075, 0.06, high, "plain", plan.trim),
            (0.075, wide, 0.06, "plain", plan.trim),
        ):
            x, y, o = along * w / 2, UP * h / 2, outward * off
            quads = np.stack([centre - x - y + o, centre + x - y + o, centre + x + y + o, centre - x + y + o], 1)
            soup.add(quads, np.arange(4 * len(centre)).reshape(-1, 4), mat, colour)
        for p in centre:
            sill = p - UP * (high / 2 + 0.06) + outward * 0.1
            soup.box(sill, (wide + 0.3, 0.22, 0.1), "plaster", plan.trim, axes)


def shop_fronts(plan: Plan, rng: np.random.Generator) -> None:
    """The ground floor as shops of 5 to 8 m: fascia with lettering, panes and what lies behind, an awning."""
    soup, along, out, axes, first = plan.soup, plan.along, -plan.back, plan.axes, plan.first
    units = max(1, int(plan.width / rng.uniform(5, 8)))
    width = plan.width / units
    for unit in range(units):
        middle = plan.a + along * width * (unit + 0.5)
        colour = np.array(FASCIAS[rng.integers(len(FASCIAS))]) * rng.uniform(0.7, 1.2)
        soup.box(middle + UP * (first - 0.45) + out * 0.12, (width * 0.97, 0.28, 0.7), "plain", colour, axes)
        ink = (0.7, 0.7, 0.65) if colour.mean() < 0.25 else (0.03, 0.03, 0.03)
        x = -width * 0.3
        while x < width * 0.28:
            letter = rng.uniform(0.15, 0.5)
            place = middle + along * x + UP * (first - 0.45) + out * 0.275
            soup.box(place, (letter, 0.02, rng.uniform(0.2, 0.34)), "plain", ink, axes)
            x += letter + 0.12
        soup.box(middle + UP * 0.25 + out * 0.05, (width * 0.94, 0.12, 0.5), "plain", colour * 0.8, axes)
        lit = rng.random() < 0.3
        panes = rng.integers(2, 5)
        pane = width * 0.92 / panes
        for k in range(panes):
            inside = rng.uniform(0.2, 0.5) * np.array([1, 0.85, 0.6]) if lit else rng.uniform(0.01, 0.09, 3)
            foot = middle + along * (k - (panes - 1) / 2) * pane
            height = first - 1.4
            place = foot + UP * (0.5 + height / 2) + out * 0.03
            soup.box(place, (pane * 0.93, 0.06, height), "glass", inside, axes)
            if rng.random() < 0.5:  # goods and posters
                place = foot + UP * rng.uniform(0.9, 1.9) + out * 0.065
                size = (pane * rng.uniform(0.3, 0.7), 0.01, rng.uniform(0.3, 0.8))
                soup.box(place, size, "plain", rng.uniform(0.05, 0.6, 3), axes)
        if rng.random() < 0.25:
            top, low = middle + UP * (first - 0.85) + out * 0.1, middle + UP * (first - 1.4) + out * 1.3
            half = along * width * 0.45
            awning = colour if rng.random() < 0.5 else (0.5, 0.5, 0.45)
            soup.quad(np.array([top - half, top + half, low + half, low - half]), "matt", awning)
