"""A whole frame, as data that any renderer could take."""

from typing import NamedTuple

import numpy as np

from experiments.render_streets.camera import Camera, place_camera
from experiments.render_streets.frontage import fill_frontage
from experiments.render_streets.furniture import furnish
from experiments.render_streets.ground import pave
from experiments.render_streets.light import Light, draw_light
from experiments.render_streets.markings import paint_markings
from experiments.render_streets.soup import Soup
from experiments.render_streets.street import Placement, Street
from experiments.render_streets.traffic import add_people, add_traffic


class Scene(NamedTuple):
    """What one frame shows."""

    camera: Camera
    light: Light
    placements: list[Placement]  # models of the library
    soups: dict[int, Soup]  # geometry of this frame alone, by label id


def build_scene(seed: int, index: int, aspect: float) -> Scene:
    """Frame ``index``, a pure function of its arguments; ``aspect`` is height over width of the picture."""
    street = Street(np.random.default_rng([seed, index]))
    camera = place_camera(street, aspect)
    surfaces = pave(street)
    paint_markings(street)
    trees = fill_frontage(street, surfaces)
    furnish(street, trees)
    add_traffic(street, camera.d)
    add_people(street)
    return Scene(camera, draw_light(street.rng), street.placements, street.soups)
