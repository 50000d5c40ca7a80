"""One look at an image file: is it a photo, a mask of ids or a mask of colours?"""

import re
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image

MASK_WORDS = re.compile(r"mask|label|annot|gt|seg|truth|target|trainids?$|class", re.IGNORECASE)
IMAGE_WORDS = re.compile(r"image|img|rgb|photo|picture|input|raw|frame|leftimg", re.IGNORECASE)
FEW = 64  # values or colours of a mask at most
MOST = 0.9  # share of pixels in the commonest of them, of a mask that was resized or compressed
COMMON = 8
SIDE = 256  # pixels of a side that are looked at, at most


class Kind(StrEnum):
    """What an image file shows."""

    PHOTO = "photo"
    IDS = "ids"
    COLOURS = "colours"
    OTHER = "other"  # unreadable, floats, or more than 256 values as of instances


def kind(path: Path, name: str) -> Kind:
    """What a file shows, from a few rows and columns of its pixels.

    Args:
        path: of the file.
        name: what is known of its role: its folder and the constant part of its name.
    """
    try:
        with Image.open(path) as image:
            lossy, mode = image.format in ("JPEG", "WEBP"), image.mode
            pixels = np.asarray(image)
    except Exception:  # OpenCV reads more kinds of TIFF: photos
        return Kind.PHOTO if path.suffix.lower() in (".tif", ".tiff") else Kind.OTHER
    pixels = pixels[:: -(-pixels.shape[0] // SIDE), :: -(-pixels.shape[1] // SIDE)]
    mask, photo = bool(MASK_WORDS.search(name)), bool(IMAGE_WORDS.search(name))
    if lossy and not mask:
        return Kind.PHOTO
    if mode == "F":
        return Kind.OTHER
    if pixels.ndim == 2 and pixels.dtype not in (np.uint8, bool) and pixels.max(initial=0) > 255:
        return Kind.PHOTO if photo and not mask else Kind.OTHER
    if pixels.ndim == 2:
        values, counts = np.unique(pixels, return_counts=True)
    else:
        colours = pixels[..., :3] if pixels.shape[2] > 2 else np.repeat(pixels[..., :1], 3, 2)
        packed = colours.astype(np.int64) @ [65536, 256, 1]
        values, counts = np.unique(packed, return_counts=True)
    few = len(values) <= min(FEW, counts.sum() // 4) or (mode == "P" and mask)
    painted = mask and np.sort(counts)[-COMMON:].sum() >= MOST * counts.sum()
    if not few and not painted:
        return Kind.PHOTO
    if photo and not mask and len(values) > COMMON:
        return Kind.PHOTO  # a drawing
    grey = pixels.ndim == 2 or bool(((values >> 16) == (values & 255)).all())
    return Kind.IDS if grey else Kind.COLOURS
