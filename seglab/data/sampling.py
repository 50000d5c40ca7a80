"""Which image comes at which position of a stream, and what its crop should show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from seglab.data.class_counts import ClassCounts
from seglab.data.files import Item
from seglab.data.geometry import CropRule
from seglab.labels import IGNORE
from seglab.types import SeglabError

RARE = 1  # a further seed number: the class and image of a position are drawn apart from its crop


class Pick(NamedTuple):
    """An image and the rules of its crop."""

    item: Item
    rules: tuple[CropRule, ...] = ()


Order = Callable[[int], Pick]  # position -> pick; a pure function


@dataclass(frozen=True)
class RareClasses:
    """Rare-class sampling (DAFormer, Hoyer et al., CVPR 2022, section 3.3).

    A class c is drawn with probability softmax((1 - f_c) / temperature), f_c its share of all labeled pixels; then one
    of the images that show it, uniformly; the crop is drawn again until it shows enough of the class.

    Both counts are absolute, as in the official code: ``min_pixels`` counts in the masks as files store them,
    ``min_crop_ratio * min_pixels`` in the final crop, after scaling. 3000 is 0.15 % of a GTA5 image: lower it in
    proportion on smaller images. Classes that no image shows enough of are not drawn; the probabilities of the others
    are renormalised (the official code stops).

    Attributes:
        temperature: low prefers rare classes; 0.01 in the paper.
        min_pixels: an image shows a class with more pixels than this.
        min_crop_ratio: a crop shows a class with more than this times ``min_pixels``; 0.5 in DAFormer, 2 in HRDA and
            MIC; 0 asks for a single pixel (DAFormer's code asks for none then).
        attempts: crops that are tested before one is taken as it comes.
    """

    temperature: float = 0.01
    min_pixels: int = 3000
    min_crop_ratio: float = 0.5
    attempts: int = 10

    def check(self) -> None:
        """Raise ``SeglabError`` if a value has no meaning."""
        if self.temperature <= 0 or min(self.min_pixels, self.min_crop_ratio, self.attempts) < 0:
            raise SeglabError(f"{self}: the temperature is above 0; min_pixels, min_crop_ratio and attempts at least 0")


@dataclass(frozen=True)
class Shows:
    """More than ``pixels`` of the crop are of the class with index ``category``."""

    category: int
    pixels: float
    attempts: int = 10

    def __call__(self, mask: np.ndarray) -> bool:
        return bool(np.count_nonzero(mask == self.category) > self.pixels)


@dataclass(frozen=True)
class Balanced:
    """At least two classes, none of them with ``share`` of the labeled pixels: mmsegmentation's ``cat_max_ratio``."""

    share: float
    attempts: int = 10

    def __call__(self, mask: np.ndarray) -> bool:
        counts = cv2.calcHist([mask], [0], None, [IGNORE], [0, IGNORE])  # the bins end below IGNORE
        return bool(np.count_nonzero(counts) > 1 and counts.max() < self.share * counts.sum())


class Shuffled:
    """Pass after pass over all items: pass i // n is a permutation seeded by (seed, tag, pass).

    Raises:
        SeglabError: there are no items.
    """

    def __init__(self, items: Sequence[Item], seed: int, tag: int, rules: tuple[CropRule, ...] = ()) -> None:
        if not items:
            raise SeglabError("a stream needs at least one image: the labeled or unlabeled set is empty")
        self.items, self.seed, self.tag, self.rules = items, seed, tag, rules
        self._pass: tuple[int, np.ndarray] | None = None

    def __call__(self, position: int) -> Pick:
        lap, offset = divmod(position, len(self.items))
        if self._pass is None or self._pass[0] != lap:
            self._pass = lap, np.random.default_rng([self.seed, self.tag, lap]).permutation(len(self.items))
        return Pick(self.items[self._pass[1][offset]], self.rules)


class RareFirst:
    """Rare-class sampling: the class and the image at a position are seeded by (seed, tag, position).

    Args:
        items: the labeled images.
        statistics: their pixels of each class.
        rare: temperature and pixels asked for.
        seed, tag: as in ``Shuffled``.
        rules: what every crop should show.

    Raises:
        SeglabError: no image shows any class.
    """

    def __init__(
        self,
        items: Sequence[Item],
        statistics: ClassCounts,
        rare: RareClasses,
        seed: int,
        tag: int,
        rules: tuple[CropRule, ...] = (),
    ) -> None:
        self.items, self.rare, self.seed, self.tag, self.rules = items, rare, seed, tag, rules
        self.images = statistics.presence(rare.min_pixels)
        drawable = np.array([len(images) > 0 for images in self.images])
        if not drawable.any():
            raise SeglabError(
                f"no labeled image has more than {rare.min_pixels} pixels of any class: lower rare_classes.min_pixels"
            )
        self.probabilities = class_probabilities(statistics.frequency, rare.temperature, drawable)

    def __call__(self, position: int) -> Pick:
        rng = np.random.default_rng([self.seed, self.tag, position, RARE])
        category = int(rng.choice(len(self.probabilities), p=self.probabilities))
        item = self.items[rng.choice(self.images[category])]
        shows = Shows(category, self.rare.min_crop_ratio * self.rare.min_pixels, self.rare.attempts)
        return Pick(item, (*self.rules, shows))


def class_probabilities(frequency: np.ndarray, temperature: float, drawable: np.ndarray) -> np.ndarray:
    """softmax((1 - frequency) / temperature) (DAFormer, eq. 10) over the classes that ``drawable`` marks, 0 elsewhere.

    Args:
        frequency: (K,) shares of all pixels.
        temperature: above 0.
        drawable: (K,) bool, at least one of them.
    """
    scores = np.where(drawable, (1 - frequency) / temperature, -np.inf)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()
