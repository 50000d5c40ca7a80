"""Which files make up a data set: items, labeled subsets, and decoding."""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from seglab.labels import UNKNOWN, LabelSpace
from seglab.types import SeglabError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
LISTED_IMAGE = re.compile(r"[^\t]*?\.(?:png|jpe?g)(?!\S)", re.IGNORECASE)  # the first of a line; names may have spaces
ID_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes of one integer per pixel


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
    paths = sorted(path for path in folder.iterdir() if is_image(path))
    if not paths:
        raise SeglabError(f"{folder} holds no {', '.join(IMAGE_SUFFIXES)} image: {remedy}")
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise SeglabError(f"{stems[path.stem]} and {path.name} share a name: remove one")
        stems[path.stem] = path
    return paths


def is_image(path: Path) -> bool:
    """Whether the name is that of a PNG or JPEG file; hidden files (``._a.png`` of macOS archives) are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def beside(image: Path, folder: Path) -> Path | None:
    """The PNG mask with the image's stem in ``folder``, if it exists."""
    masks = (folder / f"{image.stem}{suffix}" for suffix in (".png", ".PNG"))
    return next((mask for mask in masks if mask.is_file()), None)


def choose_labeled(items: Sequence[Item], spec: str, elsewhere: Iterable[Item] = ()) -> list[Item]:
    """The subset of ``items`` that ``spec`` names.

    Args:
        items: the training items in file order.
        spec: ``all``; ``1/n``: every n-th item in file order, which spreads over video sequences and is nested (the
            1/16 set lies inside the 1/8 set), ceil(N/n) items; or the path of a list file, one ``image mask`` pair,
            image path or key per line, as the lists of the known repositories have it.
        elsewhere: items that cannot be chosen, for the message when a list names one of them.

    Raises:
        SeglabError: the fraction or list is malformed, empty, repeats an item or names one that is not there.
    """
    if spec == "all":
        return list(items)
    if match := re.fullmatch(r"1/([1-9]\d*)", spec):
        return list(items[:: int(match[1])])
    path = Path(spec).expanduser()
    if not path.is_file():
        raise SeglabError(f"{spec!r} chooses no images: give 'all', a fraction 1/n or the path of a list file")
    return _read_list(path, items, list(elsewhere))


def _read_list(path: Path, items: Sequence[Item], elsewhere: Sequence[Item]) -> list[Item]:
    index, foreign = _index(items), _index(elsewhere)
    chosen: dict[str, Item] = {}
    for number, line in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        image = LISTED_IMAGE.match(line)
        name = (image[0] if image else line.split("\t")[0]).strip()
        found = _find(name, index)
        if not found:
            other = _find(name, foreign)
            where = "is not in the data set"
            if other:
                where = "has no mask" if other[0].mask is None else "belongs to another split"
            raise SeglabError(f"{path}:{number}: {name} {where}; the list may only name training images")
        if len(found) > 1:
            images = describe([item.image for item in found])
            raise SeglabError(f"{path}:{number}: {name} may be {images}: write more of its path")
        if found[0].key in chosen:
            raise SeglabError(f"{path}:{number}: {name} is listed twice")
        chosen[found[0].key] = found[0]
    if not chosen:
        raise SeglabError(f"{path} lists no image: write one image or key per line")
    return list(chosen.values())


def _index(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Every way a list may call an item: its key, or the path of its image from any parent folder on."""
    index: dict[str, list[Item]] = {}
    for item in items:
        for name in dict.fromkeys(_tails(item.image.as_posix())):
            index.setdefault(name, []).append(item)
    return index | {item.key: [item] for item in items}


def _find(name: str, index: dict[str, list[Item]]) -> list[Item]:
    return next((index[tail] for tail in _tails(name) if tail in index), [])


def _tails(name: str) -> list[str]:
    """``a/b/c.png`` -> ``a/b/c.png``, ``b/c.png``, ``c.png``, ``c``: the most specific first."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    stem, dot, suffix = parts[-1].rpartition(".") if parts else ("", "", "")
    return [*tails, stem] if dot + suffix.lower() in IMAGE_SUFFIXES else tails


def read_image(path: Path) -> np.ndarray:
    """H W 3 uint8 RGB of an image of any mode, turned as its EXIF orientation says.

    Raises:
        SeglabError: the file is missing, truncated or not an image.
    """
    data = _read(path)
    if not _ends_whole(data):
        _load_with_pillow(path, data)  # OpenCV fills the missing part of a truncated file with grey, silently
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SeglabError(f"{path} is not a readable image: replace it or leave it out")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_mask(path: Path, space: LabelSpace) -> np.ndarray:
    """H W uint8 class indices, 255 where ignored; ids outside the label space stay as ``labels.UNKNOWN``.

    Raises:
        SeglabError: the file is missing, truncated, not an image, or cannot hold ids (colours, JPEG).
    """
    ids = _read_ids(path)
    if ids.dtype == np.uint8:
        return cv2.LUT(ids, space.decode)
    return np.where(ids == ids & 255, space.decode[ids & 255], np.uint8(UNKNOWN))


def read_pair(item: Item, space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """Image H W 3 and class indices H W of an item with a mask.

    Raises:
        SeglabError: as ``read_image`` and ``read_mask``; or the sizes differ; or the mask has ids outside the label
            space.
    """
    assert item.mask is not None
    image, mask = read_image(item.image), read_labels(item.mask, space)
    check_size(item.mask, mask, item.image, image)
    return image, mask


def read_labels(path: Path, space: LabelSpace) -> np.ndarray:
    """As ``read_mask``, H W uint8.

    Raises:
        SeglabError: as ``read_mask``; or the mask has ids outside the label space.
    """
    mask = read_mask(path, space)
    if (mask == UNKNOWN).any():
        raise SeglabError(
            f"{path} has ids {unknown_ids(path, space)} outside the label space: "
            "map them to a class or list them as void (`seglab data check` finds every such file)"
        )
    return mask


def check_size(path: Path, mask: np.ndarray, image_path: Path, image: np.ndarray) -> None:
    """Raise ``SeglabError`` if a mask and its image differ in size."""
    if image.shape[:2] != mask.shape:
        raise SeglabError(
            f"{path} is {mask.shape[1]}x{mask.shape[0]} but its image {image_path} is "
            f"{image.shape[1]}x{image.shape[0]}: they must be the same size"
        )


def unknown_ids(path: Path, space: LabelSpace) -> list[int]:
    """The ids stored in a mask file that its label space does not know."""
    return [int(i) for i in np.unique(_read_ids(path)) if not 0 <= i <= 255 or space.decode[i] == UNKNOWN]


def describe(names: Sequence[object], most: int = 5) -> str:
    """``a, b, c and 7 more`` for messages."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _read_ids(path: Path) -> np.ndarray:
    """H W integers as the file stores them."""
    data = _read(path)
    image = _load_with_pillow(path, data)
    if image.mode not in ID_MODES or image.format == "JPEG":
        raise SeglabError(
            f"{path} is a {image.mode} {image.format} file, which cannot hold exact ids: "
            "convert it to a PNG with one channel, the id of each pixel"
        )
    ids = np.asarray(image)
    depth, colour_type = data[24:26]
    if image.format == "PNG" and colour_type == 0 and depth in (2, 4):  # Pillow stretches these greys to 0-255
        return ids // (255 // (2**depth - 1))
    return ids.astype(np.uint8) if ids.dtype == bool else ids


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SeglabError(f"{path} cannot be read ({error.strerror}): restore it or leave it out") from error


def _ends_whole(data: bytes) -> bool:
    return data.endswith(b"\xff\xd9") or data[-8:-4] == b"IEND"


def _load_with_pillow(path: Path, data: bytes) -> Image.Image:
    try:
        Image.open(BytesIO(data)).verify()  # checksums of a PNG, which load() skips
        image = Image.open(BytesIO(data))
        image.load()
    except UnidentifiedImageError as error:
        raise SeglabError(f"{path} is not an image ({len(data)} bytes): replace it or leave it out") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... on broken files
        raise SeglabError(f"{path} is damaged ({error}): replace it or leave it out") from error
    return image
