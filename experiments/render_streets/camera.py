"""Where a picture is taken from: a car in the lane that leads away."""

import math
from typing import NamedTuple

import numpy as np

from experiments.render_streets.street import Street

SENSOR = 36.0  # width in mm, to which the focal length belongs


class Camera(NamedTuple):
    """Camera of one frame."""

    d: float  # metres to the right of the centre line
    position: np.ndarray  # 3
    rotation: tuple[float, float, float]  # Euler angles x, y, z in radians; z is up
    focal: float  # mm


def place_camera(street: Street, aspect: float) -> Camera:
    """A camera near s = 0; ``aspect`` is the height of the picture over its width."""
    rng = street.rng
    d = street.lane(1) + rng.normal(0, 0.35)
    height = rng.uniform(1.25, 1.95)
    view = math.tan(math.radians(rng.uniform(50, 70)) / 2)  # half the width of what is seen at a distance of 1
    horizon = rng.uniform(-0.07, 0.05)  # above the middle, as a fraction of the picture's height
    pitch = -math.atan(2 * horizon * aspect * view)
    yaw = rng.normal(0, 0.05)
    if rng.random() < 0.18:  # in a turn
        yaw += rng.choice([-1, 1]) * rng.uniform(0.1, 0.35)
    roll = rng.normal(0, 0.008)
    return Camera(d, street.at(0, d, height), (math.pi / 2 + pitch, roll, float(yaw)), SENSOR / 2 / view)
