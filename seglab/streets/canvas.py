"""A pinhole camera over the ground plane and a canvas that paints image and label ids together, far to near."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np

Colour = np.ndarray  # RGB, float, 0-255
NEAR = 0.4  # metres; geometry closer to the camera is cut away
SUBPIXEL = 4  # fractional bits of polygon vertices


class Face(NamedTuple):
    """A filled planar polygon in world coordinates."""

    points: np.ndarray  # N 3, metres
    colour: Colour
    label: int  # labelId


class Thing(NamedTuple):
    """Something that stands in the scene."""

    depth: float  # painting order: larger is painted earlier
    paint: "Callable[[Canvas], None]"
    shadow: np.ndarray | None = None  # N 3: its convex hull casts a shadow on the ground


@dataclass(frozen=True)
class Camera:
    """Pinhole camera at (x, height, 0) that looks along +Z; X points right, Y up, metres.

    Args:
        width: columns of the canvas.
        rows: rows of the canvas.
        focal: focal length in pixels.
        x: lateral position.
        height: height over the ground.
        pitch: downward tilt in radians.
        yaw: turn to the right in radians.
    """

    width: int
    rows: int
    focal: float
    x: float
    height: float
    pitch: float
    yaw: float

    @cached_property
    def eye(self) -> np.ndarray:
        return np.array([self.x, self.height, 0.0])

    @cached_property
    def rotation(self) -> np.ndarray:
        """3 3: world directions to camera directions (right, up, forward)."""
        cp, sp, cy, sy = np.cos(self.pitch), np.sin(self.pitch), np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        tilt = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        return tilt @ turn

    def view(self, points: np.ndarray) -> np.ndarray:
        """World points N 3 -> camera coordinates N 3; the last column is depth."""
        return (points - self.eye) @ self.rotation.T

    def screen(self, view: np.ndarray) -> np.ndarray:
        """Camera coordinates N 3 -> pixels N 2 (column, row)."""
        pixels = view[:, :2] * (np.array([[self.focal, -self.focal]]) / np.maximum(view[:, 2:], 1e-3))
        pixels += (self.width / 2, self.rows / 2)
        return pixels

    def depth(self, x: float, z: float) -> float:
        return float((x - self.x) * np.sin(self.yaw) * np.cos(self.pitch) + z * np.cos(self.yaw) * np.cos(self.pitch))

    @cached_property
    def horizon(self) -> int:
        """First row that shows only ground, clipped to the canvas."""
        return int(np.clip(np.ceil(self.rows / 2 - self.focal * np.tan(self.pitch)) + 1, 0, self.rows))

    @cached_property
    def ground(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World X, world Z and depth (h W float32 each) of the ground seen in the rows from ``horizon`` on."""
        v, u = np.mgrid[self.horizon : self.rows, 0 : self.width]
        rays = np.stack([u + 0.5 - self.width / 2, self.rows / 2 - v - 0.5], axis=-1).astype(np.float32)
        rays /= np.float32(self.focal)
        r = self.rotation.astype(np.float32)
        direction = rays @ r[:2] + r[2]  # h W 3 in world coordinates, unit depth
        depth = np.float32(self.height) / np.maximum(-direction[..., 1], 1e-4)
        return np.float32(self.x) + depth * direction[..., 0], depth * direction[..., 2], depth


def clip_near(view: np.ndarray) -> np.ndarray:
    """Cut a polygon in camera coordinates (N 3) at the near plane (Sutherland and Hodgman, 1974)."""
    kept = []
    for a, b in zip(view, np.roll(view, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * ((NEAR - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixels N 2 -> fixed-point int32; far outside the canvas is clamped, which OpenCV would overflow on."""
    return (np.minimum(np.maximum(points, -4000), 4000) * (1 << SUBPIXEL) + 0.5).astype(np.int32)


class Canvas:
    """Image and label map of one frame, painted far to near.

    Args:
        camera: where the frame is seen from; its width and rows are the size of the canvas.
        haze: RGB that distant colours fade to.
        visibility: metres after which 63 % of a colour has faded.
    """

    def __init__(self, camera: Camera, haze: Colour, visibility: float) -> None:
        self.camera = camera
        self.haze, self.visibility = haze, visibility
        self.image = np.zeros((camera.rows, camera.width, 3), np.uint8)  # H W 3, RGB
        self.labels = np.zeros((camera.rows, camera.width), np.uint8)  # H W, labelIds

    def air(self, colour: Colour, depth: float) -> Sequence[float]:
        """The colour as seen through the air between it and the camera."""
        clear = math.exp(-max(depth, 0.0) / self.visibility)
        tone: list[float] = (colour * clear + self.haze * (1 - clear)).tolist()
        return tone

    def faces(self, faces: Iterable[Face]) -> None:
        """Paint polygons of one object in the given order."""
        faces = list(faces)
        if not faces:
            return
        view = self.camera.view(np.concatenate([face.points for face in faces]))
        cut, pixels = bool(view[:, 2].min() < NEAR), fixed(self.camera.screen(view))
        depth, start = float(view[:, 2].mean()), 0
        for face in faces:
            stop = start + len(face.points)
            polygon = fixed(self.camera.screen(clip_near(view[start:stop]))) if cut else pixels[start:stop]
            if len(polygon) > 2:
                self.fill(polygon, self.air(face.colour, depth), face.label)
            start = stop

    def fill(self, polygon: np.ndarray, colour: Sequence[float], label: int) -> None:
        """Paint a polygon given in fixed-point pixels (N 2)."""
        points = [polygon]
        cv2.fillPoly(self.image, points, colour, cv2.LINE_8, SUBPIXEL)
        cv2.fillPoly(self.labels, points, (label,), cv2.LINE_8, SUBPIXEL)

    def textured(self, corners: np.ndarray, texture: np.ndarray, label: int, opacity: np.ndarray | None = None) -> None:
        """Paint a texture on a quadrilateral.

        Args:
            corners: 4 3 in world coordinates: top left, top right, bottom right, bottom left of the texture.
            texture: h w 3 uint8.
            label: labelId of the whole quadrilateral, the transparent parts too.
            opacity: h w uint8, 0 where the texture is transparent.
        """
        view = self.camera.view(corners)
        if view[:, 2].min() < NEAR:
            return
        quad = self.camera.screen(view).astype(np.float32)
        low = np.clip(np.floor(quad.min(0)), 0, (self.camera.width, self.camera.rows)).astype(int)
        high = np.clip(np.ceil(quad.max(0)) + 1, 0, (self.camera.width, self.camera.rows)).astype(int)
        if (high - low < 1).any():
            return
        # shrink to about the size on screen: bilinear sampling of a finer texture would alias
        tall = max(2, int(min(texture.shape[0], np.ptp(quad[:, 1]) + 1)))
        wide = max(2, int(min(texture.shape[1], np.ptp(quad[:, 0]) * 1.5 + 1)))
        texture = cv2.resize(texture, (wide, tall), interpolation=cv2.INTER_AREA)
        near, far = view[[0, 3], 2].mean(), view[[1, 2], 2].mean()
        clear = np.exp(-np.linspace(near, far, wide, dtype=np.float32) / self.visibility)[None, :, None]
        texture = (texture * clear + self.haze.astype(np.float32) * (1 - clear)).astype(np.uint8)
        frame = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]], np.float32) - 0.5
        warp = cv2.getPerspectiveTransform(frame, quad - low.astype(np.float32))
        span = (int(high[0] - low[0]), int(high[1] - low[1]))
        patch = cv2.warpPerspective(texture, warp, span, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros((span[1], span[0]), np.uint8)
        cv2.fillPoly(mask, [fixed(quad - low)], (255,), cv2.LINE_8, SUBPIXEL)
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        cv2.copyTo(np.full_like(mask, label), mask, self.labels[window])
        if opacity is not None:
            opacity = cv2.resize(opacity, (wide, tall), interpolation=cv2.INTER_AREA)
            alpha = cv2.warpPerspective(opacity, warp, span, flags=cv2.INTER_LINEAR) * (mask > 0)
            weight = alpha[..., None].astype(np.float32) / 255
            self.image[window] = (patch * weight + self.image[window] * (1 - weight)).astype(np.uint8)
        else:
            cv2.copyTo(patch, mask, self.image[window])

    def sprite(self, x: float, z: float) -> "Sprite":
        """An upright plane that faces the camera and stands on the ground at (x, z)."""
        return Sprite(self, x, z)


class Sprite:
    """Paints in metres on an upright plane that faces the camera: x to the right, y up from the ground."""

    def __init__(self, canvas: Canvas, x: float, z: float) -> None:
        self.canvas = canvas
        view = canvas.camera.view(np.array([[x, 0.0, z]]))
        self.depth = float(view[0, 2])
        self.clear = math.exp(-max(self.depth, 0.0) / canvas.visibility)
        self.veil = canvas.haze * (1 - self.clear)
        self.scale = canvas.camera.focal / max(self.depth, NEAR)  # pixels per metre
        self.origin = canvas.camera.screen(view)[0]
        reach = canvas.camera.width / 2 + 7 * self.scale  # nothing is wider than 7 metres to a side
        self.visible = self.depth > 3 * NEAR and abs(self.origin[0] - canvas.camera.width / 2) < reach

    def pixels(self, points: np.ndarray | list[tuple[float, float]]) -> np.ndarray:
        return self.origin + np.asarray(points, float) * (self.scale, -self.scale)

    def polygon(self, points: np.ndarray | list[tuple[float, float]], colour: Colour, label: int) -> None:
        if self.visible:
            self.canvas.fill(fixed(self.pixels(points)), self.air(colour), label)

    def polygons(self, outlines: np.ndarray, colours: np.ndarray, label: int) -> None:
        """Paint n outlines (n N 2) in n colours (n 3)."""
        if self.visible:
            points, tones = fixed(self.pixels(outlines)), (colours * self.clear + self.veil).tolist()
            for outline, tone in zip(points, tones, strict=True):
                self.canvas.fill(outline, tone, label)

    def air(self, colour: Colour) -> Sequence[float]:
        tone: list[float] = (colour * self.clear + self.veil).tolist()
        return tone

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, label: int) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, label)

    def line(self, points: list[tuple[float, float]], width: float, colour: Colour, label: int) -> None:
        """A round-capped polyline, ``width`` metres thick."""
        if self.visible:
            path, thick = [fixed(self.pixels(points))], max(1, round(width * self.scale))
            rgb = self.air(colour)
            cv2.polylines(self.canvas.image, path, False, rgb, thick, cv2.LINE_AA, SUBPIXEL)
            cv2.polylines(self.canvas.labels, path, False, (label,), thick, cv2.LINE_8, SUBPIXEL)

    def disc(self, x: float, y: float, radius: tuple[float, float], colour: Colour, label: int) -> None:
        """A filled ellipse with the given half axes."""
        if self.visible:
            circle = unit_circle(12 if max(radius) * self.scale < 6 else 24)
            self.polygon(circle * radius + (x, y), colour, label)

    def ring(self, x: float, y: float, radius: tuple[float, float], width: float, colour: Colour, label: int) -> None:
        """The outline of an ellipse; its inside shows what is behind and is labelled too."""
        if self.visible:
            ellipse = [fixed(self.pixels(unit_circle(24) * radius + (x, y)))]
            rgb, thick = self.air(colour), max(1, round(width * self.scale))
            cv2.polylines(self.canvas.image, ellipse, True, rgb, thick, cv2.LINE_AA, SUBPIXEL)
            cv2.fillPoly(self.canvas.labels, ellipse, (label,), cv2.LINE_8, SUBPIXEL)


@lru_cache(maxsize=4)
def unit_circle(corners: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@lru_cache(maxsize=4)
def noise(size: int = 512, smallest: int = 2) -> np.ndarray:
    """Tileable multi-octave value noise, size size float32, zero mean, about unit range."""
    rng = np.random.default_rng(size + smallest)
    total, amplitude, cells = np.zeros((size, size), np.float32), 1.0, 4
    while size // cells >= smallest:
        grid = np.pad(rng.random((cells, cells), np.float32), 2, mode="wrap")
        step = size // cells
        big = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += amplitude * big[2 * step : 2 * step + size, 2 * step : 2 * step + size]
        amplitude *= 0.62
        cells *= 2
    total -= total.mean()
    return np.clip(total / (2 * total.std()), -1.5, 1.5)
