"""Models of what stands on a pavement: lamps, signs, traffic lights, bollards and bins; faces look to -y."""

import math

import numpy as np
from numpy.typing import ArrayLike

from experiments.render_streets.ids import LIGHT, POLE, SIGN, UNLABELED
from experiments.render_streets.soup import Soup, turned

GREY, DARK = (0.22, 0.23, 0.24), (0.02, 0.022, 0.022)
RED, BLUE, GREEN, YELLOW = (0.5, 0.012, 0.02), (0.012, 0.06, 0.36), (0.01, 0.16, 0.07), (0.7, 0.5, 0.03)
WHITE, BLACK, BACK = (0.75, 0.75, 0.75), (0.012,) * 3, (0.2,) * 3
LAMPS = (  # of a traffic light from the top: lit, unlit
    ((1, 0.03, 0.02), (0.06, 0.004, 0.004)),
    ((1, 0.45, 0.02), (0.06, 0.03, 0.003)),
    ((0.02, 1, 0.35), (0.004, 0.05, 0.02)),
)


def make_lamp(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A street lamp with an "arm" to -x or a lantern on top ("post")."""
    soup = Soup()
    colour = [GREY, DARK, (0.30, 0.31, 0.30), (0.03, 0.07, 0.05)][rng.integers(4)]
    height = rng.uniform(5.5, 9.5)
    soup.tube([0, 0, 0], [0, 0, 1.3], 0.13, 0.12, "plain", colour, 9)
    soup.tube([0, 0, 1.3], [0, 0, height], 0.085, 0.05, "plain", colour, 9)
    if kind == "arm":
        reach = rng.uniform(0.9, 2.0)
        for k in range(4):
            a, b = ([-reach * t, 0, height + 0.5 * math.sin(t * 1.6)] for t in (k / 4, (k + 1) / 4))
            soup.tube(a, b, 0.05, 0.045, "plain", colour, 6)
        soup.box([-reach - 0.25, 0, height + 0.47], (0.65, 0.22, 0.13), "plain", (0.35, 0.36, 0.36))
    else:
        lantern = height + 0.45
        soup.tube([0, 0, height], [0, 0, lantern], 0.10, 0.22, "plain", (0.5, 0.5, 0.46), 8, caps=True)
        soup.tube([0, 0, lantern], [0, 0, height + 0.6], 0.25, 0.04, "plain", colour, 8, caps=True)
    return {POLE: soup}


def plate(soup: Soup, centre: np.ndarray, outline: np.ndarray, col: ArrayLike, y: float) -> None:
    """A convex plate at depth ``y``; ``outline`` is N 2 with N even, x and z."""
    points = np.insert(outline, 1, y, axis=1) + centre
    n = len(points)
    fan = [[0, k, k + 1, min(k + 2, n - 1)] for k in range(1, n - 2, 2)]
    soup.add(points, fan, "plain", col)


def regular(n: int, radius: float) -> np.ndarray:
    """Outline of a regular polygon that stands on an edge or has a corner on top, N 2."""
    t = turned(n)
    return np.stack([radius * np.sin(t), radius * np.cos(t)], -1)


def rectangle(x0: float, x1: float, z0: float, z1: float) -> np.ndarray:
    """Outline of a rectangle, 4 2."""
    return np.array([[x0, z0], [x0, z1], [x1, z1], [x1, z0]])


def make_sign(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A traffic sign: "round", "triangle", "square" or a "board" on two posts."""
    pole, soup = Soup(), Soup()
    height, radius = rng.uniform(2.1, 2.9), rng.uniform(0.30, 0.42)
    top = np.array([0, 0, height])
    if kind == "round":
        round_sign(soup, rng, top, radius)
    elif kind == "triangle":
        triangular_sign(soup, rng, top, radius * 1.2)
    else:
        lettered_sign(soup, rng, top, large=kind == "board")
    for x, above in ((-0.5, 0.5), (0.5, 0.5)) if kind == "board" else ((0, 0.35),):
        pole.tube([x, 0, 0], [x, 0, height + above], 0.045, 0.045, "plain", GREY, 8)
    return {POLE: pole, SIGN: soup}


def round_sign(soup: Soup, rng: np.random.Generator, top: np.ndarray, radius: float) -> None:
    """A limit, a command, no stopping or no entry."""
    outer, inner = [(RED, WHITE), (BLUE, BLUE), (RED, BLUE), (RED, RED)][rng.integers(4)]
    plate(soup, top, regular(16, radius), outer, -0.075)
    plate(soup, top, regular(16, radius * 0.76), inner, -0.08)
    if inner == RED:
        plate(soup, top, rectangle(-0.7, 0.7, -0.16, 0.16) * radius, WHITE, -0.085)
    else:
        for _ in range(2):
            x = rng.uniform(-0.3, 0.1) * radius
            bar = rectangle(x, x + 0.2 * radius, -0.42 * radius, 0.42 * radius)
            plate(soup, top, bar, BLACK if inner == WHITE else WHITE, -0.085)
    plate(soup, top, regular(16, radius)[::-1], BACK, -0.06)


def triangular_sign(soup: Soup, rng: np.random.Generator, top: np.ndarray, radius: float) -> None:
    """A warning, or upside down: give way."""
    turn = -1 if rng.random() < 0.25 else 1
    corners = regular(3, 1.0)
    triangle = np.insert(corners, 1, corners[:2].mean(0), 0) * radius * turn  # with a fourth point, on an edge
    plate(soup, top, triangle, RED, -0.075)
    plate(soup, top, triangle * 0.68, WHITE, -0.08)
    plate(soup, top, rectangle(-0.06, 0.06, -0.2, 0.25) * radius, BLACK, -0.085)
    plate(soup, top, triangle[::-1], BACK, -0.06)


def lettered_sign(soup: Soup, rng: np.random.Generator, top: np.ndarray, large: bool) -> None:
    """A rectangle with one to three lines of something like text."""
    if large:
        width, height = rng.uniform(1.2, 2.2), rng.uniform(0.7, 1.3)
    else:
        width, height = rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.9)
    ground, ink = [(BLUE, WHITE), (WHITE, BLACK), (YELLOW, BLACK), (GREEN, WHITE)][rng.integers(4)]
    soup.box(top + np.array([0, -0.07, 0]), (width, 0.03, height), "plain", ground)
    soup.box(top + np.array([0, -0.065, 0]), (width + 0.06, 0.03, height + 0.06), "plain", ink)
    lines = rng.integers(1, 4)
    for line in range(lines):
        x, z = -width * 0.4, height * ((line + 0.5) / lines - 0.5)
        while x < width * 0.35:
            word = rng.uniform(0.05, 0.2) * width
            middle = top + np.array([min(x + word / 2, width * 0.4), -0.088, z])
            soup.box(middle, (word * 0.8, 0.004, height / lines * 0.4), "plain", ink)
            x += word


def make_signal(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A traffic light ("post"), or one with a second head on an "arm" to -x."""
    pole, soup = Soup(), Soup()
    pole.tube([0, 0, 0], [0, 0, 3.4], 0.07, 0.07, "plain", DARK if rng.random() < 0.6 else GREY, 9)
    heads = [np.array([0, -0.12, 2.75])]
    if kind == "arm":
        pole.tube([0, 0, 3.3], [0, 0, 5.4], 0.07, 0.06, "plain", GREY, 9)
        pole.tube([0, 0, 5.3], [-3.2, 0, 5.6], 0.06, 0.05, "plain", GREY, 8)
        heads.append(np.array([-3.0, -0.12, 5.2]))
    lit = rng.integers(3)
    for head in heads:
        soup.box(head, (0.36, 0.20, 1.0), "plain", DARK)
        soup.box(head + np.array([0, 0.08, 0]), (0.56, 0.02, 1.2), "plain", DARK)
        for k, (on, off) in enumerate(LAMPS):
            back, front = (head + np.array([0, y, 0.31 - 0.31 * k]) for y in (-0.09, -0.14))
            mat, colour = ("glow", on) if k == lit else ("plain", off)
            soup.tube(back, front, 0.12, 0.11, mat, colour, 12, caps=True)
    return {POLE: pole, LIGHT: soup}


def make_bollard(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A bollard with a white band; there is one kind."""
    soup, colour = Soup(), [DARK, (0.3, 0.3, 0.3), (0.12, 0.06, 0.03)][rng.integers(3)]
    soup.tube([0, 0, 0], [0, 0, 1.0], 0.09, 0.08, "plain", colour, 9)
    soup.tube([0, 0, 0.78], [0, 0, 0.88], 0.092, 0.09, "plain", (0.7, 0.7, 0.7), 9)
    soup.ball([0, 0, 1.0], (0.09, 0.09, 0.07), "plain", colour, 8)
    return {POLE: soup}


def make_bin(rng: np.random.Generator, kind: str) -> dict[int, Soup]:
    """A litter bin, which has no class; there is one kind."""
    soup, colour = Soup(), [DARK, (0.03, 0.10, 0.05), (0.25, 0.02, 0.02)][rng.integers(3)]
    soup.tube([0, 0, 0], [0, 0, 0.95], 0.26, 0.29, "plain", colour, 12, caps=True)
    soup.tube([0, 0, 0.95], [0, 0, 1.08], 0.31, 0.12, "plain", DARK, 12, caps=True)
    return {UNLABELED: soup}
