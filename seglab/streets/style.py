"""What makes the two domains and the frames within them differ: weather, palettes, cameras, object statistics."""

import colorsys
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seglab.streets.canvas import Colour

RNG = np.random.Generator
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY = (
    7,
    8,
    11,
    12,
    13,
    17,
    19,
    20,
    21,
    22,
    23,
)
PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = 24, 25, 26, 27, 28, 31, 32, 33
EGO, STATIC = 1, 4
Range = tuple[float, float]


@dataclass(frozen=True)
class Domain:
    """The statistics of one domain; ``(low, high)`` are uniform ranges, rates are probabilities or expected counts."""

    photographed: bool
    field_of_view: Range  # degrees, horizontal
    camera_height: Range  # metres
    pitch: Range  # degrees, downwards
    lanes: Range  # per direction
    lane_width: Range
    sidewalk: Range
    verge: float  # a grass strip between road and sidewalk
    parked: float  # share of occupied parking places
    traffic: float  # share of occupied places on a lane
    closed: float  # share of frontage that is a closed row of buildings
    floors: Range
    glass: float  # share of glass and concrete towers
    pitched: float  # share of pitched roofs
    trees: float  # share of tree places along the kerb
    people: float  # expected groups on the sidewalks
    cyclists: float
    motorcyclists: float
    parked_bicycles: float
    parked_motorcycles: float
    signs: float
    truck: float
    bus: float
    tram: float
    saturation: Range
    texture: Range  # amplitude of surface noise
    overcast: float


GAME = Domain(
    photographed=False, field_of_view=(62, 78), camera_height=(1.7, 2.6), pitch=(1.0, 5.0), lanes=(1, 3.99),
    lane_width=(3.3, 3.9), sidewalk=(2.2, 5.0), verge=0.45, parked=0.3, traffic=0.34, closed=0.42, floors=(2, 9),
    glass=0.45, pitched=0.15, trees=0.4, people=4.5, cyclists=0.9, motorcyclists=0.7, parked_bicycles=0.6,
    parked_motorcycles=0.6, signs=0.8, truck=0.16, bus=0.12, tram=0.08, saturation=(1.1, 1.4), texture=(0.0, 0.03),
    overcast=0.15,
)  # fmt: skip

PHOTO = Domain(
    photographed=True, field_of_view=(48, 64), camera_height=(1.2, 1.6), pitch=(-1.0, 3.0), lanes=(1, 2.4),
    lane_width=(2.8, 3.4), sidewalk=(1.6, 4.5), verge=0.3, parked=0.62, traffic=0.24, closed=0.5, floors=(3, 6),
    glass=0.15, pitched=0.6, trees=0.5, people=6.0, cyclists=1.3, motorcyclists=0.5, parked_bicycles=1.1,
    parked_motorcycles=0.5, signs=1.0, truck=0.13, bus=0.11, tram=0.1, saturation=(0.45, 0.9), texture=(0.06, 0.16),
    overcast=0.5,
)  # fmt: skip


@dataclass(frozen=True)
class Style:
    """The conditions of one frame: the domain, its weather and its light."""

    domain: Domain
    texture: float
    saturation: float
    light: np.ndarray  # 3, unit vector to the sun
    ambient: float
    diffuse: float
    warmth: Colour  # colour of the light, about 1
    sky: tuple[Colour, Colour]  # zenith and horizon
    clouds: float  # 0 clear to 1 closed
    visibility: float  # metres
    shadow: float  # darkness of cast shadows
    season: float  # 0 spring, 1 autumn
    green: float  # hue of this frame's plants

    @cached_property
    def haze(self) -> Colour:
        return self.sky[1]

    def shade(self, colour: Colour, normal: np.ndarray) -> Colour:
        """Lambert shading of a surface with the given normal (3, any length)."""
        cosine = max(0.0, float(normal @ self.light) / (float(np.sqrt(normal @ normal)) + 1e-9))
        return np.minimum(colour * self.warmth * (self.ambient + self.diffuse * cosine), 255)

    def lit(self, colour: Colour, amount: float = 0.6) -> Colour:
        """Shading of something round: ``amount`` 0 is its dark side, 1 its bright side."""
        return np.minimum(colour * self.warmth * (self.ambient + self.diffuse * amount), 255)

    def hsv(self, rng: RNG, hue: Range, saturation: Range, value: Range) -> Colour:
        """A random colour; hue, saturation and value in [0, 1], saturation scaled by the frame's."""
        s = float(np.clip(rng.uniform(*saturation) * self.saturation, 0, 1))
        return np.array(colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, s, rng.uniform(*value))) * 255

    def foliage(self, rng: RNG) -> Colour:
        """A leaf colour: green with the frame's tint, yellow to brown in autumn."""
        hue = self.green + rng.uniform(-0.03, 0.03)
        if rng.random() < self.season:
            hue = rng.uniform(0.04, 0.17)
        return self.hsv(rng, (hue, hue), (0.45, 0.75), (0.35, 0.62))


def rgb(*values: float) -> Colour:
    return np.array(values, float)


def sample_style(rng: RNG, domain: Domain) -> Style:
    """Draw the weather, the light and the season of one frame."""
    overcast = rng.random() < domain.overcast
    low_sun = not overcast and rng.random() < (0.45 if domain.photographed else 0.25)
    azimuth = rng.uniform(-np.pi, np.pi)
    elevation = np.radians(rng.uniform(16, 30) if low_sun else rng.uniform(38, 65))
    light = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    if overcast:
        grey = rng.uniform(150, 225)
        sky = (rgb(grey * 0.86, grey * 0.91, grey * 0.97), rgb(grey, grey * 1.01, grey * 1.02))
        ambient, diffuse, warmth, shadow = 0.82, 0.18, rgb(0.97, 1.0, 1.03), 0.0
    elif low_sun:
        sky = (rgb(88, 120, 178), rgb(245, 205, rng.uniform(150, 195)))
        ambient, diffuse, warmth, shadow = 0.52, 0.62, rgb(1.08, 0.98, 0.86), 0.45
    else:
        blue = rng.uniform(0, 1)
        sky = (rgb(50 + 50 * blue, 115 + 40 * blue, 205 + 20 * blue), rgb(176 + 30 * blue, 210 + 15 * blue, 236))
        ambient, diffuse, warmth, shadow = 0.56, 0.54, rgb(1.03, 1.0, 0.95), 0.42
    season = rng.choice([0.0, 0.0, 0.25, 0.8]) if domain.photographed else rng.choice([0.0, 0.0, 0.0, 0.3])
    return Style(
        domain=domain,
        texture=rng.uniform(*domain.texture),
        saturation=rng.uniform(*domain.saturation),
        light=light,
        ambient=ambient,
        diffuse=diffuse,
        warmth=warmth,
        sky=sky,
        clouds=1.0 if overcast else rng.uniform(0.1, 0.7),
        visibility=float(rng.uniform(70, 160) if overcast else rng.uniform(110, 320)),
        shadow=shadow,
        season=float(season),
        green=float(rng.uniform(0.2, 0.34)),
    )
