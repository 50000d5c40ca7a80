"""Vehicle bodies: side profiles extruded across the vehicle, shaded and painted face by face."""

from typing import NamedTuple

import numpy as np

from seglab.streets.canvas import Canvas, Colour, Face, Thing, unit_circle
from seglab.streets.style import Style, rgb

GLASS = rgb(34, 40, 48)
TYRE = rgb(22, 22, 24)
WHITE = rgb(255, 255, 255)


class Panel(NamedTuple):
    """A planar part of a body with the details painted on it, in local (ahead, up, right) metres."""

    outline: np.ndarray  # N 3
    colour: Colour
    details: list[tuple[np.ndarray, Colour]]


def vehicle(panels: list[Panel], label: int, style: Style, x: float, z: float, heading: float) -> Thing:
    """Place panels in the world; the ones that face away are not painted."""
    ahead, right = rgb(np.sin(heading), 0, np.cos(heading)), rgb(np.cos(heading), 0, -np.sin(heading))
    axes = np.stack([ahead, rgb(0, 1, 0), right])
    place = rgb(x, 0, z)
    vertices = np.concatenate([panel.outline for panel in panels])
    centre = rgb(vertices[:, 0].mean(), vertices[:, 1].mean(), 0) @ axes + place
    points = np.concatenate([points for panel in panels for points in (panel.outline, *(p for p, _ in panel.details))])
    points = points @ axes + place  # of all faces, in the order they are taken below
    groups, start = [], 0
    for panel in panels:
        faces = []
        for outline, colour in ((panel.outline, panel.colour), *panel.details):
            faces.append((points[start : start + len(outline)], colour))
            start += len(outline)
        outline = faces[0][0]
        middle, normal = outline.sum(0) / len(outline), cross(outline[1] - outline[0], outline[2] - outline[1])
        if normal @ (middle - centre) < 0:
            normal = -normal
        groups.append((middle, normal, faces))

    def paint(canvas: Canvas) -> None:
        eye = canvas.camera.eye
        shown = [(float((m - eye) @ (m - eye)), n, faces) for m, n, faces in groups if n @ (eye - m) > 0]
        shaded = []
        for _, normal, faces in sorted(shown, key=lambda item: -item[0]):
            light = style.shade(WHITE, normal) / 255
            shaded.append(Face(faces[0][0], np.minimum(faces[0][1] * light, 255), label))
            light = 0.4 + 0.6 * light  # glass and lamps are shaded less
            shaded += [Face(outline, np.minimum(colour * light, 255), label) for outline, colour in faces[1:]]
        canvas.faces(shaded)

    low, high = vertices.min(0), vertices.max(0)
    box = np.array([(a, y, b) for a in (low[0], high[0]) for b in (low[2], high[2]) for y in (0, high[1] * 0.9)])
    return Thing(z, paint, box @ axes + place)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def extrude(profile: np.ndarray, half: np.ndarray, colour: Colour, special: dict[int, Colour]) -> list[Panel]:
    """Panels of a body: one per profile edge (``special`` edges get their own colour) and the two flanks.

    Args:
        profile: N 2 (ahead, up), the side view, in order.
        half: N half widths at those points.
    """
    panels, n = [], len(profile)
    left, right = np.column_stack([profile, -half]), np.column_stack([profile, half])
    for i in range(n):
        j = (i + 1) % n
        panels.append(Panel(np.array([left[i], left[j], right[j], right[i]]), special.get(i, colour), []))
    return [*panels, Panel(left, colour, []), Panel(right, colour, [])]


def flank(points: list[tuple[float, float]], half: float, side: int) -> np.ndarray:
    """Points (ahead, up) on the left (-1) or right (1) flank, a finger's width in front of it."""
    return np.array([(a, y, side * (half + 0.01)) for a, y in points])


def wheel(ahead: float, radius: float, half: float, side: int) -> list[tuple[np.ndarray, Colour]]:
    rims = ((1.12, rgb(16, 16, 18)), (1.0, TYRE), (0.6, rgb(150, 152, 156)), (0.2, rgb(60, 60, 64)))
    circle = np.column_stack([unit_circle(12) * radius, np.zeros(12)])
    hub = (ahead, radius, side * (half + 0.01))
    return [(circle * scale + hub, colour) for scale, colour in rims]


def across(
    profile: np.ndarray, half: np.ndarray, edge: int, spans: list[tuple[float, float, float, float]]
) -> list[np.ndarray]:
    """Quadrilaterals on a profile edge; a span is (from, to) along the edge and (left, right) across it, in [0, 1]."""
    a, b = profile[edge], profile[(edge + 1) % len(profile)]
    wa, wb = half[edge], half[(edge + 1) % len(profile)]
    away = np.array([b[1] - a[1], a[0] - b[0]]) / (np.hypot(*(b - a)) + 1e-9) * 0.01
    away *= np.sign(away[0] * a[0] + 1e-9) if abs(away[0]) > abs(away[1]) else np.sign(away[1])
    along = np.array(spans)[:, [0, 1, 1, 0]]  # n 4
    sideways = (2 * np.array(spans)[:, [2, 2, 3, 3]] - 1) * (wa + (wb - wa) * along)
    return list(np.concatenate([a + (b - a) * along[..., None] + away, sideways[..., None]], axis=2))


def box(
    back: float, front: float, low: float, high: float, half: float, colour: Colour, rounded: float = 0.0
) -> list[Panel]:
    """A box body; panels: underside edge last, then left and right flank. Edge 0 is the rear, edge 2 the front."""
    profile = np.array([(back, low), (back, high), (front - rounded, high), (front, low)])
    return extrude(profile, np.full(4, half), colour, {3: rgb(22, 22, 22)})


def windows(
    panel: Panel, back: float, front: float, low: float, high: float, half: float, side: int, n: int, glass: Colour
) -> None:
    """Add a row of n windows to a flank."""
    step = (front - back) / n
    for i in range(n):
        a, b = back + i * step + 0.06, back + (i + 1) * step - 0.06
        panel.details.append((flank([(a, low), (a, high), (b, high), (b, low)], half, side), glass))
