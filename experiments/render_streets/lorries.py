"""Buses and lorries; their front is at +y."""

import numpy as np

from experiments.render_streets.ids import BUS, TRUCK
from experiments.render_streets.soup import Soup

GLASS = (0.015, 0.02, 0.022)


def make_bus(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A bus; kind "bus2": with two decks."""
    soup = Soup()
    length, width, height = rng.uniform(9.5, 11), 2.5, 4.2 if kind == "bus2" else 3.0
    soup.box([0, 0, height / 2 + 0.15], (width, length, height - 0.3), "coat", (1, 1, 1))
    soup.box([0, 0, height], (width * 0.92, length * 0.97, 0.12), "coat", (1.1, 1.1, 1.1))
    band = rng.choice([0.4, 1.6])
    soup.box([0, 0, 1.0], (width + 0.02, length + 0.02, 0.25), "coat", (band,) * 3)
    for z in [1.95, 3.45] if kind == "bus2" else [2.0]:
        lower = z < 2.5
        for k in range(6):
            y = -length / 2 + (k + 0.5) * length / 6
            for side in (-1, 1):
                soup.box([side * width / 2, y, z], (0.05, length / 6 * 0.88, 0.85), "glass", GLASS)
        for end in (-1, 1):
            centre = [0, end * length / 2, z - (0.15 if lower and end > 0 else 0)]
            soup.box(centre, (width * 0.86, 0.05, 1.15 if lower else 0.8), "glass", GLASS)
    soup.box([0, length / 2, 2.72], (1.5, 0.08, 0.26), "glow", (0.5, 0.35, 0.05))
    add_running_gear(soup, length, width, (-length * 0.28, length * 0.30), -length / 2)
    return {BUS: soup}


def make_lorry(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A box lorry; there is one kind."""
    soup = Soup()
    length, width, height = rng.uniform(6.0, 8.5), 2.35, rng.uniform(2.9, 3.5)
    cargo = (0.75, 0.75, 0.74) if rng.random() < 0.5 else rng.uniform(0.1, 0.6, 3)
    soup.box([0, -0.9, 0.95 + (height - 0.95) / 2], (width, length - 1.9, height - 0.95), "plain", cargo)
    soup.box([0, length / 2 - 0.85, 1.45], (width * 0.94, 1.7, 2.0), "coat", (1, 1, 1), taper=0.92)
    soup.box([0, length / 2 - 0.02, 1.85], (width * 0.84, 0.06, 0.75), "glass", GLASS)
    for side in (-1, 1):
        soup.box([side * width * 0.46, length / 2 - 0.75, 1.85], (0.06, 0.9, 0.65), "glass", GLASS)
    soup.box([0, 0, 0.7], (width * 0.7, length * 0.95, 0.35), "matt", (0.02,) * 3)
    axles = (-length * 0.32, -length * 0.15, length * 0.34)
    add_running_gear(soup, length, width, axles, -length / 2 - 0.02)
    return {TRUCK: soup}


def add_running_gear(soup: Soup, length: float, width: float, axles: tuple[float, ...], rear: float) -> None:
    """Wheels at the y of the axles, lamps and number plates; ``rear`` is the y of the tail lamps."""
    for side in (-1, 1):
        for y in axles:
            hub = [side * width * 0.32, y, 0.48]
            soup.tube(hub, [side * (width / 2 + 0.01), y, 0.48], 0.48, 0.46, "matt", (0.012,) * 3, 16, caps=True)
            hub = [side * width * 0.4, y, 0.48]
            soup.tube(hub, [side * (width / 2 + 0.02), y, 0.48], 0.24, 0.22, "metal", (0.3,) * 3, 12, caps=True)
        soup.box([side * width * 0.38, length / 2, 0.75], (0.35, 0.06, 0.2), "glass", (0.5,) * 3)
        soup.box([side * width * 0.40, rear, 0.95], (0.22, 0.08, 0.35), "glass", (0.35, 0.01, 0.01))
    soup.box([0, length / 2, 0.5], (0.5, 0.05, 0.11), "plain", (0.7, 0.7, 0.68))
    soup.box([0, -length / 2, 0.6], (0.5, 0.08, 0.11), "plain", (0.7, 0.55, 0.08))
