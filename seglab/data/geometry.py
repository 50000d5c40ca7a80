"""The weak view: scale, crop and flip in one cut. Crop first, resize after: no pixel is resized to be thrown away."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import albumentations as A
import cv2
import numpy as np

from seglab.labels import IGNORE
from seglab.types import SeglabError

Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]  # of an array to width, height
Window = dict[str, Any]  # parameters of a cut: top, left, window = (height, width)


class CropRule(Protocol):
    """What a crop should look like, judged by its mask H W of class indices alone."""

    @property
    def attempts(self) -> int:
        """Crops that may fail before one more is taken unseen."""
        ...

    def __call__(self, mask: np.ndarray) -> bool: ...


class ScaledCrop(A.DualTransform):
    """Random scale, then a random crop of fixed size, as one crop of size / scale resized to the size.

    Equal in law to resizing the whole image by a factor drawn uniformly from ``scale`` and cropping, with padding at
    the right and bottom (image 0, mask 255) where the scaled image is smaller than the crop: offsets are uniform from
    border to border in both, only their grid differs (whole pixels of the original here, of the scaled image there).
    So a fixed resize before the crop is a scale with both ends equal: [0.5, 0.5] is Cityscapes at 1024x512;
    [0.6688, 0.6688] is what mmsegmentation, which keeps the aspect ratio, makes of GTA5 at "1280x720" (1280x704). The
    window is a whole number of pixels, which changes the scale by less than 0.5 / (size / scale), 0.1 % at 512. Images
    that are scaled down are smoothed before, as Pillow's bilinear filter does.

    Rules are given with the call, as ``rules``: crops are drawn again until ``mask`` obeys. The law is that of mmseg
    and DAFormer: ``attempts`` crops are tested and, when none obeys, one more is taken as it comes; a later rule draws
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

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> Window:
        draw = partial(self._draw, *params["shape"][:2])
        for rule in data.get("rules", ()):
            draw = partial(self._redraw, draw, rule, data["mask"])
        return draw()

    def _draw(self, height: int, width: int) -> Window:
        factor = self.py_random.uniform(*self.scale)
        window = max(1, round(self.size[0] / factor)), max(1, round(self.size[1] / factor))
        top = self.py_random.randint(0, max(0, height - window[0]))
        left = self.py_random.randint(0, max(0, width - window[1]))
        return {"top": top, "left": left, "window": window}

    def _redraw(self, draw: Callable[[], Window], rule: CropRule, mask: np.ndarray) -> Window:
        for _ in range(rule.attempts):
            window = draw()
            if rule(self.apply_to_mask(mask, **window)):
                return window
        return draw()

    def apply(self, img: np.ndarray, top: int, left: int, window: tuple[int, int], **_: Any) -> np.ndarray:
        return self._cut(img, top, left, window, 0, resize_image)

    def apply_to_mask(self, mask: np.ndarray, top: int, left: int, window: tuple[int, int], **_: Any) -> np.ndarray:
        return self._cut(mask, top, left, window, IGNORE, partial(cv2.resize, interpolation=cv2.INTER_NEAREST_EXACT))

    def _cut(
        self, array: np.ndarray, top: int, left: int, window: tuple[int, int], fill: int, resize: Resize
    ) -> np.ndarray:
        cut = array[top : top + window[0], left : left + window[1]]
        # padding comes after resizing: it costs nothing there, and its black does not bleed into the image
        height, width = (
            max(1, round(size * part / whole)) for size, part, whole in zip(self.size, cut.shape, window, strict=False)
        )
        if cut.shape[:2] != (height, width):
            cut = resize(cut, (width, height))
        below, right = self.size[0] - height, self.size[1] - width
        if below or right:
            value = (fill,) * (array.shape[2] if array.ndim == 3 else 1)
            cut = cv2.copyMakeBorder(cut, 0, below, 0, right, cv2.BORDER_CONSTANT, value=value)
        return cut


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """H W 3 uint8 -> ``size`` = width, height.

    Down to half the size, a Gaussian of standard deviation 0.5 sqrt(r^2 - 1) pixels for a ratio r, then bilinear:
    closer to Pillow's antialiased filter than OpenCV's INTER_AREA and almost three times as fast. Below half, where the
    kernel would have to grow, INTER_AREA.
    """
    ratio = max(image.shape[1] / size[0], image.shape[0] / size[1])
    if ratio >= 2:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if ratio > 1:
        image = cv2.GaussianBlur(image, (3, 3), 0.5 * (ratio**2 - 1) ** 0.5)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def planes(image: np.ndarray) -> np.ndarray:
    """H W 3 -> 3 H W, contiguous; several times as fast as a transposition by NumPy."""
    out = np.empty((3, *image.shape[:2]), image.dtype)
    for channel in range(3):
        cv2.extractChannel(image, channel, out[channel])
    return out


def weak_view(size: tuple[int, int], scale: tuple[float, float]) -> A.Compose:
    """The geometric view every stream shares: ``ScaledCrop`` and a horizontal flip with probability 0.5.

    Targets: ``image`` H W 3, any of the masks ``mask``, ``hidden`` and ``pseudo`` H W, and ``valid`` H W, whose padding
    becomes 255 like a mask's; ``rules`` are those of ``ScaledCrop``.
    """
    masks = dict.fromkeys(("valid", "hidden", "pseudo"), "mask")
    return A.Compose([ScaledCrop(size, scale), A.HorizontalFlip(p=0.5)], additional_targets=masks)
