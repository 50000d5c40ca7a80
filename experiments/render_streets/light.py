"""Sun, sky and how the picture is developed, by the weather."""

import math
from typing import NamedTuple

import numpy as np

from experiments.render_streets.textures import fractal

SKY = (128, 256)  # height and width of the painted sky


class Weather(NamedTuple):
    """What is fixed for a kind of weather."""

    horizon: tuple[float, float, float]
    zenith: tuple[float, float, float]
    sun: tuple[float, float]  # range of the sun's strength
    sky: float  # strength of the sky
    cover: tuple[float, float]  # range of the noise value above which there is cloud
    thickness: float  # opacity of a cloud
    cloud: tuple[float, float, float]
    exposure: float


WEATHER = {
    "clear": Weather((0.62, 0.77, 0.95), (0.24, 0.43, 0.80), (4.5, 8.5), 0.75, (0.62, 0.9), 0.9, (1, 1, 1), -0.25),
    "cloudy": Weather((0.80, 0.86, 0.92), (0.40, 0.54, 0.78), (1.5, 4.5), 0.95, (0.35, 0.55), 0.9, (1, 1, 1), 0.15),
    "overcast": Weather(
        (0.90, 0.91, 0.92), (0.78, 0.80, 0.83), (0.0, 0.25), 1.3, (0.2, 0.2), 0.5, (0.72, 0.74, 0.77), 0.25
    ),
    "dusk": Weather((0.62, 0.60, 0.58), (0.22, 0.28, 0.38), (0.0, 0.5), 0.7, (0.3, 0.6), 0.9, (0.30, 0.32, 0.36), -0.3),
}
TRANSFORMS = ("Standard", "AgX", "Filmic")  # tone curves, with their look and what their exposure is raised by
LOOKS = {"Standard": "None", "AgX": "AgX - Medium High Contrast", "Filmic": "Medium High Contrast"}
GAINS = {"Standard": 0.1, "AgX": 0.8, "Filmic": 0.6}


class Light(NamedTuple):
    """Light of one frame."""

    sky: np.ndarray  # 128 256 3, linear RGB all round, from nadir to zenith
    strength: float  # of the sky as it lights the street
    seen: float  # how much brighter the sky is as the camera sees it
    sun_rotation: tuple[float, float, float]
    sun_strength: float
    sun_angle: float  # radians that the sun's disc spans
    sun_colour: tuple[float, float, float]
    transform: str
    look: str
    exposure: float


def draw_light(rng: np.random.Generator) -> Light:
    """The light of a frame: clear, cloudy, overcast or dusk."""
    mood = str(rng.choice(list(WEATHER), p=[0.42, 0.26, 0.20, 0.12]))
    weather = WEATHER[mood]
    # every kind of weather draws its values, so that what follows does not depend on the kind
    sun = {name: rng.uniform(*other.sun) for name, other in WEATHER.items()}[mood]
    clouds = fractal(rng, *SKY, 1.35, 2)
    varied = {name: rng.uniform(*WEATHER[name].cover) for name in ("clear", "cloudy", "dusk")}
    cover = varied.get(mood, weather.cover[0])
    sky = paint_sky(rng, weather, clouds, cover)
    strength = weather.sky * rng.uniform(0.8, 1.2)
    seen = rng.uniform(1.0, 1.6 if mood == "clear" else 2.4)
    elevation, azimuth = math.radians(rng.uniform(16, 60)), rng.uniform(0, 2 * math.pi)
    angle = math.radians(rng.uniform(0.5, 3) if mood != "overcast" else 20)
    warm = max(0.0, 1 - math.degrees(elevation) / 45)
    transform = str(rng.choice(TRANSFORMS, p=[0.45, 0.3, 0.25]))
    return Light(
        sky=sky,
        strength=strength,
        seen=seen,
        sun_rotation=(math.pi / 2 - elevation, 0, azimuth),
        sun_strength=sun,
        sun_angle=angle,
        sun_colour=(1, 0.96 - 0.16 * warm, 0.9 - 0.34 * warm),
        transform=transform,
        look=LOOKS[transform],
        exposure=weather.exposure + GAINS[transform] + rng.normal(0, 0.35),
    )


def paint_sky(rng: np.random.Generator, weather: Weather, clouds: np.ndarray, cover: float) -> np.ndarray:
    """A gradient from horizon to zenith with clouds where their noise is above ``cover``; grey below the horizon."""
    height, width = SKY
    v = np.linspace(-1, 1, height)[:, None, None]  # -1 nadir .. 1 zenith
    t = np.clip(v, 0, 1) ** 0.6
    blue = np.broadcast_to(np.array(weather.horizon) * (1 - t) + np.array(weather.zenith) * t, (height, width, 3))
    alpha = np.clip((clouds - cover) / 0.16, 0, 1)[..., None] * weather.thickness
    shade = 0.72 + 0.4 * fractal(rng, height, width, 1.0, 3)[..., None]
    sky = blue * (1 - alpha) + np.array(weather.cloud) * shade * alpha
    return np.where(v < 0, np.array([0.16, 0.155, 0.15]), sky)
