"""Predictions as files: the ids that the data set stores, and a picture for people."""

from pathlib import Path

import numpy as np

from seglab.labels import LabelSpace
from seglab.pictures import overlay, write_image


def write_prediction(folder: Path, name: str, prediction: np.ndarray, image: np.ndarray, space: LabelSpace) -> None:
    """Write ``<name>.png``, the stored ids as benchmark servers read them, and ``<name>_overlay.jpg`` into a folder.

    Args:
        folder: created if missing.
        name: file name without ending; may hold dots.
        prediction: H W uint8 class indices.
        image: H W 3 uint8.
        space: how class indices are stored and coloured.
    """
    write_image(folder / f"{name}.png", space.encode[prediction])
    write_image(folder / f"{name}_overlay.jpg", overlay(image, prediction, space.colours))
