"""The weak view: scale, crop and flip in one cut. No pixel is resized to be thrown away."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import albumentations as A
import cv2
import numpy as np

from seglab.data.decode import scaled_size
from seglab.data.points import Points
from seglab.labels import IGNORE
from seglab.types import SeglabError

Window = dict[str, Any]  # parameters of a cut: top, left and scaled = height, width of the resized image


class CropRule(Protocol):
    """What a crop should look like, judged by its mask H W of class indices alone."""

    @property
    def attempts(self) -> int:
        """Crops that may fail before one more is taken unseen."""
        ...

    def __call__(self, mask: np.ndarray) -> bool: ...


class ScaledCrop(A.DualTransform):
    """Random scale, then a random crop of fixed size, of which only the crop is computed.

    The crop is cut from the image resized by a factor drawn uniformly from ``scale``, pixel for pixel, at uniform
    offsets, with padding at the right and bottom (image 0, mask 255) where that image is smaller than the crop; only
    the pixels that the crop shows are resized. A fixed resize before the crop is a scale with both ends equal:
    [0.5, 0.5] is Cityscapes at 1024x512; [0.6688, 0.6688] is what mmsegmentation, which keeps the aspect ratio, makes
    of GTA5 at "1280x720" (1280x704).

    Rules are given with the call, as ``rules``: crops are drawn again until ``mask`` passes, as in mmseg
    and DAFormer: ``attempts`` crops are tested and, when none passes, one more is taken as it comes; a later rule draws
    crops through the earlier ones. Only the mask is cut for a test.

    Args:
        size: crop height and width in pixels.
        scale: lowest and highest scale factor.
    """

    def __init__(self, size: tuple[int, int], scale: tuple[float, float]) -> None:
        super().__init__(p=1.0)
        if min(size) < 1:
            raise SeglabError(f"crop {size}: height and width must be positive")
        if not 0 < scale[0] <= scale[1]:
            raise SeglabError(f"scale {scale}: give 0 < lowest <= highest")
        self.size = size
        self.scale = scale

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        return {**super().targets, "points": self.apply_to_points}

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> Window:
        draw = partial(self._draw, *params["shape"][:2])
        for rule in data.get("rules", ()):
            draw = partial(self._redraw, draw, rule, data)
        return draw()

    def _draw(self, height: int, width: int) -> Window:
        scaled = scaled_size((height, width), self.py_random.uniform(*self.scale))
        top = self.py_random.randint(0, max(0, scaled[0] - self.size[0]))
        left = self.py_random.randint(0, max(0, scaled[1] - self.size[1]))
        return {"top": top, "left": left, "scaled": scaled}

    def _redraw(self, draw: Callable[[], Window], rule: CropRule, data: dict[str, Any]) -> Window:
        for _ in range(rule.attempts):
            window = draw()
            points: Points | None = data.get("points")
            if points is None:
                mask = self.apply_to_mask(data["mask"], **window)
            else:
                mask = self.apply_to_points(points, **window).mask()
            if rule(mask):
                return window
        return draw()

    def apply(self, img: np.ndarray, top: int, left: int, scaled: tuple[int, int], **_: Any) -> np.ndarray:
        return self._padded(resize_image(img, scaled, self._window(top, left, scaled)), 0)

    def apply_to_mask(self, mask: np.ndarray, top: int, left: int, scaled: tuple[int, int], **_: Any) -> np.ndarray:
        return self._padded(resize_mask(mask, scaled, self._window(top, left, scaled)), IGNORE)

    def apply_to_points(self, points: Points, top: int, left: int, scaled: tuple[int, int], **_: Any) -> Points:
        return points.cut(scaled, top, left, self.size)

    def _window(self, top: int, left: int, scaled: tuple[int, int]) -> tuple[int, int, int, int]:
        return top, left, min(self.size[0], scaled[0] - top), min(self.size[1], scaled[1] - left)

    def _padded(self, array: np.ndarray, fill: int) -> np.ndarray:
        missing = self.size[0] - array.shape[0], self.size[1] - array.shape[1]
        if not any(missing):
            return array
        return cv2.copyMakeBorder(array, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT, value=[fill] * 3)


class Flip(A.HorizontalFlip):
    """A horizontal flip that takes points along."""

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        return {**super().targets, "points": self.apply_to_points}

    def apply_to_points(self, points: Points, **_: Any) -> Points:
        return points.mirrored()


def resize_image(
    image: np.ndarray, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """The one way in which images are resized: for training crops, evaluation, pseudo-labels and caches alike.

    Where a side shrinks by a ratio r, a Gaussian of variance (r^2 - 1) / 6 comes first; then bilinear, at positions in
    steps of 1/32 pixel. Both together have the variance of Pillow's antialiased bilinear filter, whose speed they
    exceed several times. A window of the result is the same, bit for bit, whether it is cut from the whole or computed
    alone: all arithmetic is in whole numbers, and positions are counted from the image's border.

    Runs of earlier versions saw other pixels where the factor is not 1: crops below half size came from INTER_AREA,
    crops lay on whole pixels of the original, caches were INTER_AREA, evaluation at scales other than 1 interpolated
    floats. Their scores at such scales do not repeat exactly.

    Args:
        image: H W 3 uint8.
        size: height and width of the whole result.
        window: top, left, height and width of the part of the result that is wanted; all of it by default.

    Returns:
        The window, uint8.
    """
    top, left, height, width = window or (0, 0, *size)
    if image.shape[:2] == size:
        return image[top : top + height, left : left + width]
    rows, y, around_y, sigma_y = _positions(image.shape[0], size[0], top, height)
    columns, x, around_x, sigma_x = _positions(image.shape[1], size[1], left, width)
    part = image[rows, columns]
    if around_y or around_x:
        kernel = (2 * around_x + 1, 2 * around_y + 1)
        part = cv2.GaussianBlur(part, kernel, sigma_x or 1, sigmaY=sigma_y or 1, borderType=cv2.BORDER_REPLICATE)
    whole = np.empty((height, width, 2), np.int16)
    whole[..., 0], whole[..., 1] = (x >> 5).astype(np.int16), (y >> 5).astype(np.int16)[:, None]
    fraction = (32 * (y & 31)).astype(np.uint16)[:, None] + (x & 31).astype(np.uint16)
    return cv2.remap(part, whole, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _positions(old: int, new: int, start: int, length: int) -> tuple[slice, np.ndarray, int, float]:
    """Of one side: the part of the image needed, positions in it in 1/32 pixel, reach and sigma of the blur."""
    index = np.arange(start, start + length, dtype=np.int64)
    position = (32 * ((2 * index + 1) * old - new) + new) // (2 * new)  # of the centres, rounded
    position = position.clip(0, 32 * (old - 1))
    sigma = math.sqrt(max((old / new) ** 2 - 1, 0) / 6)
    around = math.ceil(2.5 * sigma)
    first = max(0, int(position[0] >> 5) - around)
    last = min(old, int(position[-1] >> 5) + 2 + around)
    return slice(first, last), position - 32 * first, around, sigma


def resize_mask(mask: np.ndarray, size: tuple[int, int], window: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """As ``resize_image``, of a mask H W: each pixel has the label of the one below its centre."""
    top, left, height, width = window or (0, 0, *size)
    if mask.shape == size:
        return mask[top : top + height, left : left + width]
    rows, columns = (
        (2 * np.arange(start, start + length) + 1) * old // (2 * new)
        for start, length, old, new in zip((top, left), (height, width), mask.shape, size, strict=True)
    )
    return np.take(mask[rows], columns, axis=1)  # not by both at once: a third of the time


def planes(image: np.ndarray) -> np.ndarray:
    """H W 3 -> 3 H W, contiguous; several times as fast as a transposition by NumPy."""
    out = np.empty((3, *image.shape[:2]), image.dtype)
    for channel in range(3):
        cv2.extractChannel(image, channel, out[channel])
    return out


def weak_view(size: tuple[int, int], scale: tuple[float, float], flip: float = 0.5) -> A.Compose:
    """The geometric view every stream shares: ``ScaledCrop`` and a horizontal flip with probability ``flip``.

    Targets: ``image`` and perhaps ``translated`` H W 3, any of the masks ``mask``, ``hidden`` and ``pseudo`` H W, and
    ``valid`` H W, whose padding becomes 255 like a mask's; ``points``, which stand for a mask; ``rules`` are those of
    ``ScaledCrop``.
    """
    others = {**dict.fromkeys(("valid", "hidden", "pseudo"), "mask"), "translated": "image"}
    return A.Compose([ScaledCrop(size, scale), Flip(p=flip)], additional_targets=others)


def crop_place(
    applied: Sequence[tuple[str, Window]], crop: tuple[int, int], scale: float
) -> dict[str, bool | int | list[int]]:
    """Where a crop of ``weak_view`` comes from, in pixels of the image's file.

    Args:
        applied: the ``applied_transforms`` of its result, which it has with ``save_applied_params``.
        crop: height and width of the crop.
        scale: of the array that it was cut from, relative to the file.

    Returns:
        ``box``: top, left, height, width before the crop was mirrored, beyond the image where it has padding; ``flip``:
        whether it is mirrored; ``size``: height and width of the image.
    """
    (_, window), *flips = applied
    size = [round(side / scale) for side in window["shape"][:2]]
    factors = [whole / scaled for whole, scaled in zip(size, window["scaled"], strict=True)]
    corner = [round(start * factor) for start, factor in zip((window["top"], window["left"]), factors, strict=True)]
    sides = [round(side * factor) for side, factor in zip(crop, factors, strict=True)]
    return {"box": corner + sides, "flip": bool(flips), "size": size}
