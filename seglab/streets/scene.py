"""One frame: draw a street plan, furnish it, paint it far to near, and photograph it."""

import cv2
import numpy as np

from seglab.streets import buildings, figures, furniture, vehicles
from seglab.streets.canvas import Camera, Canvas, Thing
from seglab.streets.ground import Road, Side, paint_ground, paint_sky, shadow_mask, skyline
from seglab.streets.photo import photograph
from seglab.streets.style import RNG, Domain, Style, sample_style

OVERSAMPLING = 2  # the image is painted this much finer and averaged; labels are subsampled
FAR = 95.0  # metres: nothing is placed further away


def sample_road(rng: RNG, domain: Domain) -> Road:
    lanes, width = int(rng.uniform(*domain.lanes)), rng.uniform(*domain.lane_width)
    sides = []
    for _ in range(2):
        parking = rng.random() < 0.65
        kerb = lanes * width + (2.3 if parking else 0.3)
        verge = kerb + (rng.uniform(0.9, 2.6) if rng.random() < domain.verge else 0.0)
        sides.append(Side(kerb, verge, verge + rng.uniform(*domain.sidewalk), parking))
    near = rng.uniform(12, 60) if rng.random() < 0.5 else 400.0
    return Road(
        lanes=lanes,
        lane_width=width,
        sides=(sides[0], sides[1]),
        bend=float(rng.normal(0, 0.0016)),
        crossing=(near, near + rng.uniform(6, 12)),
        rails=rng.random() < 2.2 * domain.tram,
    )


def frontage(road: Road, style: Style, rng: RNG, sign: int) -> list[Thing]:
    """Everything from the sidewalk outwards on one side: rows of houses, gardens, parks, walls, fences, hedges."""
    domain, things = style.domain, []
    line = road.sides[(sign + 1) // 2].line
    z = rng.uniform(1.0, 3.0) + 0.35 * line  # nearer fronts are outside the view
    while z < 120:
        if road.crosses(z, 1.0):
            z = road.crossing[1] + 2.0
        end = z + rng.uniform(8, 20) * (1 if z < 45 else 1.8)
        if z < road.crossing[0] < end + 2:
            end = road.crossing[0] - 1.0
        if end - z < 4:
            z = end + 2.1
            continue
        if rng.random() < domain.closed:
            things.append(buildings.building(road, style, rng, sign, line + max(0.0, rng.normal(0, 0.25)), z, end))
        else:
            things += garden(road, style, rng, sign, line, z, end)
        z = end + (rng.uniform(1.5, 5) if rng.random() < 0.15 else 0.0)
    return things


def garden(road: Road, style: Style, rng: RNG, sign: int, line: float, z0: float, z1: float) -> list[Thing]:
    """A set-back house or a park behind a wall, a fence, a hedge or nothing."""
    things = []
    deep = rng.uniform(4, 9)
    if rng.random() < 0.55:
        things.append(buildings.building(road, style, rng, sign, line + deep, z0 + 1, z1 - 1))
    else:
        for _ in range(rng.poisson(4)):
            at = road.at(sign * (line + rng.uniform(6, 22)), rng.uniform(z0, z1 + 6))
            things.append(furniture.tree(style, rng, *at, size=rng.uniform(0.9, 1.4)))
    for _ in range(rng.poisson(1.6)):
        at = road.at(sign * (line + rng.uniform(1.5, deep)), rng.uniform(z0, z1))
        plant = furniture.tree(style, rng, *at, 0.7) if rng.random() < 0.4 else None
        things.append(plant or furniture.bush(style, rng, *at, rng.uniform(0.6, 1.5), rng.uniform(0.7, 2.2)))
    kind = rng.random()
    if kind < 0.36:
        things.append(buildings.wall(road, style, rng, sign, line, z0, z1))
    elif kind < 0.74:
        things.append(buildings.fence(road, style, rng, sign, line, z0, z1))
    elif kind < 0.86:
        things += furniture.hedge(road, style, rng, sign, line, z0, z1)
    return things


def kerbside(road: Road, style: Style, rng: RNG, sign: int) -> list[Thing]:
    """Trees, lamps, signs and clutter between road and sidewalk, parked vehicles, bicycles at the houses."""
    domain, things = style.domain, []
    side = road.sides[(sign + 1) // 2]
    strip = max(side.kerb + 0.4, (side.kerb + side.verge) / 2)
    if rng.random() < domain.trees * 1.4:
        gap = rng.uniform(7, 14)
        places = [z for z in np.arange(rng.uniform(4, 12), FAR, gap) if not road.crosses(z, 5)]
        things += [furniture.tree(style, rng, *road.at(sign * strip, z), 0.85) for z in places if rng.random() < 0.75]
    gap = rng.uniform(14, 30)
    places = [z for z in np.arange(rng.uniform(4, 20), FAR, gap) if not road.crosses(z)]
    things += [furniture.lamp(style, rng, *road.at(sign * (side.kerb + 0.5), z), -sign) for z in places]
    for _ in range(rng.poisson(2.2 * domain.signs)):
        z = rng.uniform(7, 45)
        if not road.crosses(z):
            things.append(furniture.sign(style, rng, *road.at(sign * (side.kerb + rng.uniform(0.4, 0.9)), z)))
    places = list(rng.uniform(6, 40, rng.poisson(0.9 if domain.photographed else 0.5)))
    things += [furniture.clutter(style, rng, *road.at(sign * (side.line - 0.5), z)) for z in places]
    for rate, motor in ((domain.parked_bicycles, False), (domain.parked_motorcycles, True)):
        for _ in range(rng.poisson(0.6 * rate)):
            z = rng.uniform(5, 20)
            lateral = side.kerb + 0.7 if motor or rng.random() < 0.5 else side.line - 0.5
            for k in range(int(rng.integers(1, 3 if motor else 5))):
                at = road.at(sign * (lateral + 0.05 * k), z + 0.55 * k)
                things.append(figures.cycle(style, rng, *at, rng.uniform(0.25, 1.0), motor, ridden=False))
    if rng.random() < 0.18:  # a railing along the kerb
        z = rng.uniform(5, 12)
        end = min(z + rng.uniform(8, 25), road.crossing[0] - 1)
        if end - z > 3:
            things.append(buildings.fence(road, style, rng, sign, side.kerb + 0.25, z, end))
    if side.parking:
        z = rng.uniform(4, 9)
        while z < FAR:
            if rng.random() < domain.parked and not road.crosses(z, 6):
                turn = road.heading(z) + (np.pi if rng.random() < 0.5 * (sign < 0) else 0) + rng.normal(0, 0.02)
                build = vehicles.truck if rng.random() < 0.2 * domain.truck else vehicles.car
                things.append(build(style, rng, *road.at(sign * (side.kerb - 1.15), z), turn))
                z += 4.0 if build is vehicles.truck else 0.0
            z += rng.uniform(5.2, 6.5)
    return things


def traffic(road: Road, style: Style, rng: RNG) -> list[Thing]:
    """Moving vehicles on every lane and on the crossing street, riders, trams on the rails."""
    domain, things = style.domain, []
    for lane in range(-road.lanes, road.lanes):
        lateral, oncoming = (lane + 0.5) * road.lane_width, lane < 0
        z = rng.uniform(7, 16) if lane else rng.uniform(9, 22)
        if road.rails and lane in (-1, 0) and rng.random() < 0.5:
            z = rng.uniform(14, 30)
            things += vehicles.tram(style, rng, *road.at(lateral, z), road.heading(z), int(rng.integers(2, 5)))
            z += 40
        while z < FAR:
            if rng.random() < domain.traffic and not road.crosses(z, 1.5):
                heading = road.heading(z) + (np.pi if oncoming else 0) + rng.normal(0, 0.03)
                kind = rng.random()
                if kind < domain.truck:
                    build, z = vehicles.truck, z + 5
                elif kind < domain.truck + domain.bus:
                    build, z = vehicles.bus, z + 7
                else:
                    build = vehicles.car
                things.append(build(style, rng, *road.at(lateral + rng.normal(0, 0.15), z), heading))
            z += rng.uniform(7, 14)
    if road.crosses(sum(road.crossing) / 2) and road.crossing[0] < 100:
        for _ in range(rng.poisson(1.2)):
            z = rng.choice([0.3, 0.7]) * (road.crossing[1] - road.crossing[0]) + road.crossing[0]
            build = vehicles.car if rng.random() < 0.85 else vehicles.bus
            things.append(build(style, rng, *road.at(rng.uniform(-14, 14), z), rng.choice([-1, 1]) * np.pi / 2))
    for rate, motor in ((domain.cyclists, False), (domain.motorcyclists, True)):
        for _ in range(rng.poisson(rate)):
            z = rng.uniform(5, 20)
            edge = rng.choice([-1, 1]) * (road.lanes * road.lane_width - rng.uniform(0.3, 1.2))
            squeeze = rng.choice([rng.uniform(0, 0.35), rng.uniform(0.5, 1.0)])
            things.append(figures.cycle(style, rng, *road.at(edge, z), squeeze, motor, ridden=True))
    return things


def pedestrians(road: Road, style: Style, rng: RNG) -> list[Thing]:
    """Groups on the sidewalks and people who cross the street."""
    things = []
    for _ in range(rng.poisson(style.domain.people)):
        sign = rng.choice([-1, 1])
        side, z = road.sides[(sign + 1) // 2], 4.5 + 30 * rng.random() ** 1.4
        lateral = sign * rng.uniform(side.verge + 0.4, side.line - 0.3)
        if rng.random() < 0.12:
            lateral = rng.uniform(-side.kerb, side.kerb)
        for _ in range(int(rng.choice([1, 1, 1, 2, 2, 3, 5]))):
            at = road.at(lateral + rng.normal(0, 0.45), z + rng.normal(0, 0.5))
            things.append(figures.person(style, rng, *at))
    return things


def signals(road: Road, style: Style, rng: RNG) -> list[Thing]:
    near, far = road.crossing
    if near > 100 or rng.random() > 0.75:
        return []
    overhead = rng.random() < (0.3 if style.domain.photographed else 0.6)
    things = []
    for sign, z in ((-1, near - 0.6), (1, near - 0.6), (-1, far + 0.6), (1, far + 0.6)):
        if rng.random() < 0.85:
            at = road.at(sign * (road.sides[(sign + 1) // 2].kerb + 0.5), z)
            things.append(furniture.signal(style, rng, *at, -sign, overhead and rng.random() < 0.7))
    return things


def sample_camera(rng: RNG, road: Road, domain: Domain, size: tuple[int, int]) -> Camera:
    """A camera in a lane of the right half of the road."""
    width, rows = size[0] * OVERSAMPLING, size[1] * OVERSAMPLING
    lane = int(rng.integers(0, road.lanes))
    fov, pitch = np.radians(rng.uniform(*domain.field_of_view)), np.radians(rng.uniform(*domain.pitch))
    return Camera(
        width=width,
        rows=rows,
        focal=width / 2 / np.tan(fov / 2),
        x=(lane + 0.5) * road.lane_width + rng.normal(0, 0.3),
        height=rng.uniform(*domain.camera_height),
        pitch=float(pitch),
        yaw=float(np.radians(rng.normal(0, 3.0)) + road.heading(18)),
    )


def render(rng: RNG, domain: Domain, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One random frame of a domain.

    Args:
        size: (width, height) in pixels.

    Returns:
        Image H W 3 uint8 RGB and labels H W uint8 (Cityscapes' labelIds).
    """
    style = sample_style(rng, domain)
    road = sample_road(rng, domain)
    camera = sample_camera(rng, road, domain, size)
    canvas = Canvas(camera, style.haze, style.visibility)
    things = [skyline(road, style, rng)]
    for sign in (-1, 1):
        things += frontage(road, style, rng, sign) + kerbside(road, style, rng, sign)
    things += traffic(road, style, rng) + pedestrians(road, style, rng) + signals(road, style, rng)
    things.sort(key=lambda thing: -thing.depth)

    paint_sky(canvas, style, rng)
    shadow = shadow_mask(camera, style, things)
    things[0].paint(canvas)
    paint_ground(canvas, road, style, shadow, rng)
    for thing in things[1:]:
        thing.paint(canvas)
    image = cv2.resize(canvas.image, size, interpolation=cv2.INTER_AREA)
    labels = np.ascontiguousarray(canvas.labels[::OVERSAMPLING, ::OVERSAMPLING])
    if domain.photographed:
        image = photograph(image, labels, style, rng)
    return image, labels
