"""How many pixels of each class every labeled image has: counted once, then read from a file."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from seglab.data.decode import read_labels
from seglab.data.files import Item
from seglab.data.noise import Noise
from seglab.files import parallel_map, remove_partial, write_whole
from seglab.labels import LabelSpace
from seglab.types import SeglabError

CHECKSUM = 16  # bytes at the end of a file


@dataclass(frozen=True)
class ClassCounts:
    """Class counts of labeled images.

    Attributes:
        keys: of the N images.
        pixels: N x K uint32, pixels of each class in the mask as its file stores it; ignored pixels are not counted.
    """

    keys: tuple[str, ...]
    pixels: np.ndarray

    @property
    def frequency(self) -> np.ndarray:
        """(K,) float64: share of each class in the labeled pixels of all images."""
        counts = self.pixels.sum(0, dtype=np.int64)
        return counts / max(1, counts.sum())

    def presence(self, min_pixels: int = 0) -> list[np.ndarray]:
        """For each class the indices of the images that have more than ``min_pixels`` of it."""
        return [np.flatnonzero(counts > min_pixels) for counts in self.pixels.T]


def joined(parts: Sequence[ClassCounts]) -> ClassCounts:
    """The counts of all images of several data sets with the same classes."""
    keys = tuple(key for part in parts for key in part.keys)
    return ClassCounts(keys, np.concatenate([part.pixels for part in parts]))


def class_counts(
    items: Sequence[Item], space: LabelSpace, root: Path, folder: Path, name: str, noise: Noise | None = None
) -> ClassCounts:
    """The counts of ``items``, from a file in ``folder`` or, when it is absent or damaged, from the masks.

    The file is named after a digest of the label space and of every mask's path below ``root``, size and time of
    change: other or changed masks are counted anew. It is a NumPy array followed by its checksum, replaced in one step,
    so that several processes may write it.

    Args:
        items: with masks.
        space: decodes the masks.
        root: of the data set, which may move.
        folder: where the file lies; created.
        name: of the data set, for the file's name and the progress bar.
        noise: makes the masks wrong before they are counted.

    Raises:
        SeglabError: a mask cannot be read, or the folder cannot be written.
    """
    keys = tuple(item.key for item in items)
    path = folder / f"{name.lower()}_{_digest(items, space, root, noise)}.npy"
    pixels = _load(path)
    if pixels is None or pixels.shape != (len(items), space.num_classes):
        counts = parallel_map(lambda item: _count(item, space, noise), items, f"counting the classes of {name}")
        pixels = np.stack(list(counts))
        _save(path, pixels)
    return ClassCounts(keys, pixels)


def _count(item: Item, space: LabelSpace, noise: Noise | None) -> np.ndarray:
    assert item.mask is not None
    mask = read_labels(item.mask, space)
    if noise:
        mask = noise(mask, item.key, space.num_classes)
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()  # unlike bincount, it releases Python's lock
    return counts[: space.num_classes].astype(np.uint32)


def _digest(items: Sequence[Item], space: LabelSpace, root: Path, noise: Noise | None) -> str:
    read_as = [space.names, space.decode.tolist(), *space.stored_colours, *([repr(noise)] if noise else [])]
    digest = hashlib.blake2b(json.dumps(read_as).encode(), digest_size=8)
    for item in items:
        assert item.mask is not None
        try:
            stat = item.mask.stat()
        except OSError as error:
            raise SeglabError(f"{item.mask} cannot be read ({error.strerror}): restore it or leave it out") from error
        digest.update(json.dumps([item.key, os.path.relpath(item.mask, root), stat.st_size, stat.st_mtime_ns]).encode())
    return digest.hexdigest()


def _save(path: Path, pixels: np.ndarray) -> None:
    content = BytesIO()
    np.save(content, pixels)
    try:
        remove_partial(path.parent, age=3600)  # other runs may be writing
        write_whole(path, content.getvalue() + _checksum(content.getvalue()))
    except OSError as error:
        raise SeglabError(
            f"{path} cannot be written ({error.strerror}): set --data.counts to a folder that can be"
        ) from error


def _load(path: Path) -> np.ndarray | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    array, checksum = content[:-CHECKSUM], content[-CHECKSUM:]
    if checksum != _checksum(array):
        return None
    try:
        return np.load(BytesIO(array), allow_pickle=False)
    except ValueError:  # of objects
        return None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=CHECKSUM).digest()
