"""Masks that are wrong in a known way, so that what a method makes of them can be measured against the truth."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from seglab.data.files import Item
from seglab.labels import IGNORE
from seglab.types import require


@dataclass(frozen=True)
class Noise:
    """Wrong outlines and wrong classes in masks, a pure function of the seed and of an image's key.

    Each class of an image is a draw of its own. A region that grows covers its neighbours; where one shrinks, its
    nearest neighbour takes its place. Ignored pixels stay ignored, and cover nothing.

    Attributes:
        outlines: probability that the regions of a class in an image grow or shrink, each as likely; in [0, 1].
        radius: by how many pixels of the mask's file at most; 1 or more, drawn uniformly.
        classes: probability that a class of an image is called another one, drawn uniformly; in [0, 1].
        seed: another seed, other mistakes; the run's seed has no part in it.
    """

    outlines: float = 0.0
    radius: int = 8
    classes: float = 0.0
    seed: int = 0

    def check(self) -> None:
        """Raise ``SeglabError`` if a value has no meaning."""
        for name in ("outlines", "classes"):
            require(0 <= getattr(self, name) <= 1, f"noise.{name}", getattr(self, name), "give a probability in [0, 1]")
        require(self.radius >= 1, "noise.radius", self.radius, "give 1 pixel or more")
        require(self.seed >= 0, "noise.seed", self.seed, "give 0 or more")

    def __call__(self, mask: np.ndarray, key: str, num_classes: int, scale: float = 1.0) -> np.ndarray:
        """The wrong mask H W uint8 of a right one.

        Args:
            mask: H W class indices, 255 ignored.
            key: of the image.
            num_classes: of the label space.
            scale: of the mask, relative to its file.
        """
        rng = np.random.default_rng([self.seed, zlib.crc32(key.encode())])
        # every class draws, whether the image shows it or not: a smaller copy of the mask makes the same mistakes
        redrawn, grows = rng.random(num_classes) < self.outlines, rng.random(num_classes) < 0.5
        radii = rng.integers(1, self.radius + 1, num_classes)
        order = rng.permutation(num_classes)
        renamed = rng.random(num_classes) < self.classes
        others = (np.arange(num_classes) + rng.integers(1, num_classes, num_classes)) % num_classes

        known, wrong = mask != IGNORE, mask.copy()
        for index in order[redrawn[order]]:
            radius = max(1, round(radii[index] * scale))
            wrong = np.where(known, _redrawn(wrong, int(index), bool(grows[index]), radius), np.uint8(IGNORE))
        table = np.arange(256, dtype=np.uint8)
        table[:num_classes][renamed] = others[renamed]
        return cv2.LUT(wrong, table)


@dataclass(frozen=True)
class NoisyMasks:
    """Masks with noise.

    Attributes:
        masks: gives the right ones.
        noise: makes them wrong.
        num_classes: of the label space.
        scale: of the masks, relative to their files.
    """

    masks: Callable[[Item, np.ndarray], np.ndarray]
    noise: Noise
    num_classes: int
    scale: float = 1.0

    def __call__(self, item: Item, image: np.ndarray) -> np.ndarray:
        """Class indices H W uint8."""
        return self.noise(self.masks(item, image), item.key, self.num_classes, self.scale)


def _redrawn(mask: np.ndarray, index: int, grows: bool, radius: int) -> np.ndarray:
    """The mask after the regions of a class grew or shrank by a radius."""
    own = (mask == index).astype(np.uint8)
    if not own.any():
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    if grows:
        return np.where(cv2.dilate(own, disc) > 0, np.uint8(index), mask)
    others = (own == 0) & (mask != IGNORE)
    if not others.any():
        return mask
    _, nearest = cv2.distanceTransformWithLabels(
        (~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = np.zeros(int(nearest.max()) + 1, np.uint8)
    label[nearest[others]] = mask[others]
    return np.where((own > 0) & (cv2.erode(own, disc) == 0), label[nearest], mask)
