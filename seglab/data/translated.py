"""Stored translations of images into another domain's look: the same scene and size, other colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seglab.data.decode import read_image, scaled_size
from seglab.data.files import Item, describe, names_by_stem
from seglab.data.geometry import resize_image
from seglab.types import SeglabError


@dataclass(frozen=True)
class Translations:
    """Reads the translation of an item.

    Attributes:
        files: key -> file.
        scale: of the images that the translations go with, relative to their files.
    """

    files: Mapping[str, Path]
    scale: float = 1.0

    def __call__(self, item: Item, image: np.ndarray) -> np.ndarray:
        """H W 3 uint8 of the size of ``image``.

        Raises:
            SeglabError: it cannot be read, or has another size than the image.
        """
        path = self.files[item.key]
        translated = read_image(path)
        if translated.shape == image.shape:
            return translated
        if self.scale != 1 and scaled_size(translated.shape[:2], self.scale) == image.shape[:2]:
            return resize_image(translated, image.shape[:2])
        raise SeglabError(
            f"{path} has {translated.shape[1]} x {translated.shape[0]} pixels, its image {item.image} "
            f"{image.shape[1]} x {image.shape[0]}: a translation shows the same scene at the same size"
        )


def translations(folder: Path, items: Sequence[Item], scale: float = 1.0) -> Translations:
    """The translations ``<key>.png`` or with another suffix of an image, one for each item.

    Raises:
        SeglabError: the folder is absent, or an item has none.
    """
    if not folder.is_dir():
        raise SeglabError(f"translated {folder} does not exist: give the folder of the images' translations")
    there = names_by_stem(folder)
    if missing := [item.key for item in items if item.key not in there]:
        raise SeglabError(
            f"{len(missing)} of {len(items)} labeled images have no translation in {folder}: {describe(missing)}: "
            "store one for each, named by the key of its image, such as <key>.png"
        )
    return Translations({item.key: folder / there[item.key] for item in items}, scale)
