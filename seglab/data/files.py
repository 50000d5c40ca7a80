"""Which files make up a data set: items, labeled subsets, and decoding."""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from seglab.labels import UNKNOWN, LabelSpace
from seglab.types import SeglabError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class Item(NamedTuple):
    """One image of a data set; ``key`` identifies it in lists, messages and predictions."""

    key: str
    image: Path
    mask: Path | None


def find_images(folder: Path, remedy: str) -> list[Path]:
    """Images directly in ``folder``, sorted by name.

    Raises:
        SeglabError: the folder is absent, empty, or holds one name with two extensions.
    """
    if not folder.is_dir():
        raise SeglabError(f"{folder} does not exist: {remedy}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise SeglabError(f"{folder} holds no {', '.join(IMAGE_SUFFIXES)} image: {remedy}")
    stems: dict[str, Path] = {}
    for path in paths:
        if twin := stems.setdefault(path.stem, path) if path.stem in stems else None:
            raise SeglabError(f"{twin} and {path.name} share a name: remove one")
        stems[path.stem] = path
    return paths


def beside(image: Path, folder: Path) -> Path | None:
    """The PNG mask with the image's stem in ``folder``, if it exists."""
    mask = folder / f"{image.stem}.png"
    return mask if mask.is_file() else None


def choose_labeled(items: Sequence[Item], spec: str, elsewhere: Iterable[Item] = ()) -> list[Item]:
    """The labeled subset of ``items`` that ``spec`` names.

    Args:
        items: the training items in file order.
        spec: ``all``; ``1/n``: every n-th item in file order, which spreads over video sequences and is nested (the 1/16
            set lies inside the 1/8 set), ceil(N/n) items; or the path of a list file, one ``image mask`` pair, image
            path or key per line, as the lists of the known repositories have it.
        elsewhere: items of other splits, for the message when a list names one of them.

    Raises:
        SeglabError: the fraction or list is malformed, empty, repeats an item or names one that is not there.
    """
    if spec == "all":
        return list(items)
    if match := re.fullmatch(r"1/([1-9]\d*)", spec):
        return list(items[:: int(match[1])])
    if not Path(spec).is_file():
        raise SeglabError(f"labeled subset {spec!r} is neither 'all', a fraction 1/n nor the path of a list file")
    return _read_list(Path(spec), items, list(elsewhere))


def _read_list(path: Path, items: Sequence[Item], elsewhere: Sequence[Item]) -> list[Item]:
    index: dict[str, Item] = {}
    for item in items:
        for name in _names(item):
            index.setdefault(name, item)
    foreign = {name for item in elsewhere for name in _names(item)}

    chosen: dict[str, Item] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        name = line.split()[0]
        item = next((index[tail] for tail in _tails(name) if tail in index), None)
        if item is None:
            where = "belongs to another split" if any(t in foreign for t in _tails(name)) else "is not in the data set"
            raise SeglabError(f"{path}:{number}: {name} {where}; a labeled list may only name training images")
        if item.key in chosen:
            raise SeglabError(f"{path}:{number}: {name} is listed twice")
        chosen[item.key] = item
    if not chosen:
        raise SeglabError(f"{path} lists no image")
    return list(chosen.values())


def _names(item: Item) -> tuple[str, ...]:
    """The ways a list file may call an item: its key, or the path of its image from any parent folder on."""
    return (item.key, *_tails(item.image.as_posix()))


def _tails(name: str) -> list[str]:
    """``a/b/c.png`` -> ``a/b/c.png``, ``b/c.png``, ``c.png``, ``c``: the most specific first."""
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    return ["/".join(parts[i:]) for i in range(len(parts))] + [Path(name).stem]


def read_image(path: Path) -> np.ndarray:
    """H W 3 uint8 RGB.

    Raises:
        SeglabError: the file is missing, truncated or not an image.
    """
    data = _read(path)
    if not _ends_whole(data):
        _load_with_pillow(path, data)  # OpenCV fills the missing part of a truncated file with grey, silently
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SeglabError(f"{path} is not a readable image: replace the file or leave it out of the data set")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_mask(path: Path, space: LabelSpace) -> np.ndarray:
    """H W uint8 class indices, 255 where ignored; ids outside the label space stay as ``labels.UNKNOWN``.

    Raises:
        SeglabError: the file is missing, truncated, not an image, or holds colours instead of ids.
    """
    image = _load_with_pillow(path, _read(path))
    if image.mode in ("RGB", "RGBA", "LA", "CMYK"):
        raise SeglabError(f"{path} holds {image.mode} colours where ids are expected: convert it to single-channel ids")
    ids = np.asarray(image)
    if ids.dtype != np.uint8:  # 1-bit and 16-bit PNGs
        ids = np.where(ids > 255, UNKNOWN, ids).astype(np.uint8) if ids.dtype != bool else ids.astype(np.uint8)
    return space.decode[ids]


def read_pair(item: Item, space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """Image H W 3 and class indices H W of an item with a mask.

    Raises:
        SeglabError: as ``read_image`` and ``read_mask``; or the sizes differ; or the mask has ids outside the label space.
    """
    assert item.mask is not None
    image, mask = read_image(item.image), read_mask(item.mask, space)
    if image.shape[:2] != mask.shape:
        raise SeglabError(
            f"{item.mask} is {mask.shape[1]}x{mask.shape[0]} but its image {item.image} is "
            f"{image.shape[1]}x{image.shape[0]}: they must be the same size"
        )
    if (mask == UNKNOWN).any():
        raise SeglabError(
            f"{item.mask} has ids {unknown_ids(item.mask, space)} outside the label space: "
            "map them to a class or list them as void (`seglab data check` finds every such file)"
        )
    return image, mask


def unknown_ids(path: Path, space: LabelSpace) -> list[int]:
    """The ids stored in a mask file that its label space does not know."""
    ids = np.unique(np.asarray(_load_with_pillow(path, _read(path))))
    return [int(i) for i in ids if i > 255 or space.decode[i] == UNKNOWN]


def describe(names: Sequence[object], most: int = 5) -> str:
    """``a, b, c and 7 more`` for messages."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SeglabError(f"{path} cannot be read: {error.strerror}") from error


def _ends_whole(data: bytes) -> bool:
    return data.endswith(b"\xff\xd9") or data[-8:-4] == b"IEND"


def _load_with_pillow(path: Path, data: bytes) -> Image.Image:
    try:
        image = Image.open(BytesIO(data))
        image.load()
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... on broken files
        raise SeglabError(f"{path} is not a readable image ({error}): replace it or leave it out") from error
    return image
