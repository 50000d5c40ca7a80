"""A look at a few masks before training, which could not tell that all of them are misread."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from seglab.data.checks.plausible import misread
from seglab.data.decode import read_ids
from seglab.data.files import describe
from seglab.labels import IGNORE, LabelSpace
from seglab.types import SeglabError

SAMPLE = 8  # masks, spread evenly
EXACT = 1 << 24  # pixels up to which OpenCV's float32 counts are exact


def check_sample(masks: Sequence[Path], space: LabelSpace) -> None:
    """Look at a few of the labeled masks.

    Raises:
        SeglabError: one cannot be read, all are void, or they are train ids read as label ids.
    """
    masks = masks[:: -(-len(masks) // SAMPLE)]
    stored = np.sum([count_ids(read_ids(mask, space)) for mask in masks], axis=0)
    if problem := misread(stored, space):
        raise SeglabError(f"{masks[0].parent}: {problem}")
    if not stored[space.decode != IGNORE].any():
        raise SeglabError(
            f"labeled masks are void everywhere: {describe(masks)}. Those of a public test set are; check the ids "
            "(`seglab data check`) or choose other labeled images"
        )


def count_ids(ids: np.ndarray) -> np.ndarray:
    """Pixels (256,) int64 by stored id of a mask H W; ids outside 0 to 255 are not counted."""
    if ids.dtype == np.uint8 and ids.size <= EXACT:  # without Python's lock, which bincount holds
        return cv2.calcHist([np.ascontiguousarray(ids)], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return np.bincount(ids[(ids >= 0) & (ids <= 255)].astype(np.int64), minlength=256)
