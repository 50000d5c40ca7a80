"""All models that are placed many times, and the colours that tint them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.render_streets.cars import make_car
from experiments.render_streets.fixtures import make_bin, make_bollard, make_lamp, make_sign, make_signal
from experiments.render_streets.lorries import make_bus, make_lorry
from experiments.render_streets.people import make_bicycle, make_person, make_rider
from experiments.render_streets.soup import Soup
from experiments.render_streets.trees import make_tree


class Thing(NamedTuple):
    """A thing and the kinds of its variants; variants of one kind differ by chance."""

    make: Callable[[np.random.Generator, str], dict[int, Soup]]
    kinds: tuple[str, ...]


LIBRARY = {  # the position is part of every model's seed
    "tree": Thing(make_tree, ("broad",) * 7),
    "bare": Thing(make_tree, ("bare",) * 4),
    "conifer": Thing(make_tree, ("conifer",) * 2),
    "bush": Thing(make_tree, ("bush",) * 4),
    "car": Thing(make_car, ("hatch", "saloon", "estate", "suv", "hatch", "mini", "saloon", "van")),
    "bus": Thing(make_bus, ("bus1", "bus2", "bus2")),
    "truck": Thing(make_lorry, ("truck",) * 3),
    "person": Thing(make_person, ("walk",) * 9 + ("stand",) * 4),
    "rider": Thing(make_rider, ("ride",) * 6),
    "bicycle": Thing(make_bicycle, ("park",) * 3),
    "lamp": Thing(make_lamp, ("arm",) * 3 + ("post",) * 2),
    "sign": Thing(make_sign, ("round",) * 6 + ("triangle",) * 4 + ("square",) * 5 + ("board",) * 4),
    "signal": Thing(make_signal, ("post",) * 3 + ("arm",)),
    "bollard": Thing(make_bollard, ("bollard",) * 3),
    "bin": Thing(make_bin, ("bin",) * 3),
}
CARS = np.array(
    [
        (0.45, 0.46, 0.47), (0.60, 0.60, 0.60), (0.02, 0.02, 0.022), (0.10, 0.11, 0.12), (0.02, 0.05, 0.22),
        (0.02, 0.03, 0.08), (0.35, 0.015, 0.015), (0.02, 0.12, 0.06), (0.25, 0.22, 0.16), (0.45, 0.35, 0.03),
        (0.05, 0.16, 0.25),
    ]
)  # fmt: skip
CLOTHES = np.array(
    [
        (0.02, 0.02, 0.025), (0.03, 0.03, 0.04), (0.05, 0.06, 0.12), (0.28, 0.28, 0.28), (0.25, 0.02, 0.02),
        (0.08, 0.06, 0.04), (0.03, 0.09, 0.05), (0.5, 0.48, 0.42), (0.40, 0.15, 0.25), (0.45, 0.42, 0.05),
    ]
)  # fmt: skip


def make_model(seed: int, thing: str, variant: int) -> dict[int, Soup]:
    """Geometry of a variant by label id, a pure function of its arguments."""
    rng = np.random.default_rng([seed, 7, list(LIBRARY).index(thing), variant])
    return LIBRARY[thing].make(rng, LIBRARY[thing].kinds[variant])


def leaf_colour(rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.normal(1, 0.12, 3), 0.6, 1.5) * rng.uniform(0.7, 1.5)


def car_colour(rng: np.random.Generator) -> np.ndarray:
    return CARS[rng.integers(len(CARS))] * rng.uniform(0.7, 1.2)


def clothes_colour(rng: np.random.Generator) -> np.ndarray:
    return CLOTHES[rng.integers(len(CLOTHES))] * rng.uniform(0.7, 1.3)
