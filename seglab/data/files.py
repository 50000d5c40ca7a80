"""Which files make up a data set: items, labeled subsets, and decoding."""

import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from seglab.data.plausible import hint_for_colours, hint_for_ids
from seglab.labels import UNKNOWN, LabelSpace
from seglab.types import SeglabError

try:
    from kornia_rs.io import decode_image_png_u8 as decode_png
except ImportError:  # the extra ``fast``; without it OpenCV and Pillow take more than twice as long
    decode_png = None

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
LISTED_IMAGE = re.compile(r"[^\t]*?\.(?:png|jpe?g)(?!\S)", re.IGNORECASE)  # the first of a line; names may have spaces
FRACTION = re.compile(r"1/([1-9]\d*)")
ID_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes of one integer per pixel


class Item(NamedTuple):
    """One image of a data set; ``key`` identifies it in lists, messages and predictions."""

    key: str
    image: Path
    mask: Path | None


class Reader(Protocol):
    """Where the pixels of items come from: their files, or a cache of them."""

    @property
    def scale(self) -> float:
        """Of the arrays, relative to the files."""

    def image(self, item: Item) -> np.ndarray:
        """H W 3 uint8 RGB."""

    def labels(self, item: Item) -> np.ndarray:
        """H W uint8 class indices of an item with a mask."""


class Files(NamedTuple):
    """Reads the files themselves."""

    space: LabelSpace
    scale: float = 1.0

    def image(self, item: Item) -> np.ndarray:
        """As ``read_image``."""
        return read_image(item.image)

    def labels(self, item: Item) -> np.ndarray:
        """As ``read_labels``."""
        assert item.mask is not None
        return read_labels(item.mask, self.space)


def find_images(folder: Path, remedy: str) -> list[Path]:
    """Images directly in ``folder``, sorted by name.

    Raises:
        SeglabError: the folder is absent, empty, or holds one name with two extensions.
    """
    if not folder.is_dir():
        raise SeglabError(f"{folder} does not exist: {remedy}")
    paths = [path for path in (folder / name for name in sorted(_names(folder))) if is_image(path)]
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
    return _png(str(folder / image.stem))


def _png(start: str) -> Path | None:
    masks = (Path(f"{start}{suffix}") for suffix in (".png", ".PNG"))
    return next((mask for mask in masks if mask.is_file()), None)


def images_in_subfolders(folder: Path, ending: str) -> list[Path]:
    """PNG images ``<folder>/<any>/*<ending>.png`` in the order of folders and names; ``.PNG`` is one too.

    Raises:
        SeglabError: a folder cannot be listed.
    """
    found = []
    for name in sorted(_names(folder)):
        below = folder / name
        found += [below / file for file in sorted(_names(below)) if file.endswith((f"{ending}.png", f"{ending}.PNG"))]
    return [path for path in found if is_image(path)]


def _names(folder: Path) -> list[str]:
    """What a folder holds; nothing if it is none."""
    try:
        return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names: 25,000 Paths take long
    except OSError as error:
        raise SeglabError(f"{folder} cannot be listed ({error.strerror}): allow reading it, or remove it") from error


def with_ids(found: Iterable[tuple[str, Path, str]], ids: str) -> list[Item]:
    """Items of a data set whose masks exist as raw label ids, as train ids, or as both.

    Args:
        found: key, image, and the path of its mask up to the kind of ids.
        ids: ``labelIds`` or ``labelTrainIds``.

    Raises:
        SeglabError: there are masks of the other kind only.
    """
    found = list(found)
    there: dict[str, set[str]] = {}  # listed once: asking for each of 25,000 masks takes seconds

    def mask(start: str, ids: str) -> Path | None:
        folder, name = os.path.split(start)
        if folder not in there:
            there[folder] = set(_names(Path(folder)))
        return next(
            (Path(f"{start}{ids}{suffix}") for suffix in (".png", ".PNG") if f"{name}{ids}{suffix}" in there[folder]),
            None,
        )

    items = [Item(key, image, mask(start, ids)) for key, image, start in found]
    (other,) = {"labelIds", "labelTrainIds"} - {ids}
    others = (mask(start, other) for _, _, start in found)
    if not any(item.mask for item in items) and (one := next((path for path in others if path), None)):
        raise SeglabError(f"masks are stored as {other} only, such as {one}: set --data.ids {other}")
    return items


def check_holdout(every: int, least: int = 0) -> None:
    """
    Raises:
        SeglabError: holding out every n-th image would leave nothing to train on.
    """
    if every < least or every == 1:
        raise SeglabError(f"holdout {every} leaves nothing to train on: 5 keeps every fifth image out")


def hold_out(items: list[Item], every: int, split: str) -> list[Item]:
    """One part of a data set without parts: every n-th item with a mask is val and test, the others train."""
    held_out = [item for item in items if item.mask is not None][::every]
    if split != "train":
        return held_out
    keys = {item.key for item in held_out}
    return [item for item in items if item.key not in keys]


def source_part(items: list[Item], every: int, split: str, name: str) -> list[Item]:
    """As ``hold_out``, for a data set that is usually the source of an adaptation and then needs no val: ``every`` 0.

    Raises:
        SeglabError: val or test of a data set that holds nothing out.
    """
    if every:
        return hold_out(items, every, split)
    if split != "train":
        raise SeglabError(
            f"{name} has no {split} part: evaluate on the target of a DomainAdaptation instead, or set its holdout"
        )
    return items


def is_list(spec: str) -> bool:
    """Whether ``labeled`` or ``unlabeled`` names a list file, existing or not."""
    return spec != "all" and not FRACTION.fullmatch(spec)


def choose_labeled(items: Sequence[Item], spec: str, elsewhere: Iterable[Item] = ()) -> list[Item]:
    """The subset of ``items`` that ``spec`` names.

    Args:
        items: the training items in file order.
        spec: ``all``; ``1/n``: every n-th item in file order, which spreads over video sequences and is nested (the
            1/16 set lies inside the 1/8 set), ceil(N/n) items; or the path of a list file, one ``image mask`` pair,
            image path or key per line, as the lists of the known repositories have it. The mask is not looked at.
        elsewhere: items that cannot be chosen, for the message when a list names one of them.

    Raises:
        SeglabError: the fraction or list is malformed, empty, repeats an item or names one that is not there.
    """
    if spec == "all":
        return list(items)
    if match := FRACTION.fullmatch(spec):
        return list(items[:: int(match[1])])
    path = Path(spec).expanduser()
    if not path.is_file():
        raise SeglabError(f"{spec!r} chooses no images: give 'all', a fraction 1/n or the path of a list file")
    own, chosen = set(items), dict[str, Item]()
    for line, name, item in _resolve(path, items, elsewhere):
        if item not in own:
            where = "has no mask" if item.mask is None else "belongs to another split"
            raise SeglabError(f"{line}: {name} {where}; the list may only name training images")
        if item.key in chosen:
            raise SeglabError(f"{line}: {name} is listed twice")
        chosen[item.key] = item
    return list(chosen.values())


def leave_out(items: Sequence[Item], path: Path, elsewhere: Iterable[Item]) -> list[Item]:
    """The items that a list file does not name; it may name others, of ``elsewhere``.

    Raises:
        SeglabError: the list is absent or empty, or names an image that is nowhere.
    """
    skipped = {item for _, _, item in _resolve(path, items, elsewhere)}
    return [item for item in items if item not in skipped]


def listed(path: Path) -> Iterator[tuple[str, str]]:
    """``file:number`` and the image that a line names, of every line that is not empty.

    Raises:
        SeglabError: the list is absent or empty.
    """
    if not path.is_file():
        raise SeglabError(f"{path} does not exist: give the path of a list file, one image or key per line")
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    if not any(line.strip() for line in lines):
        raise SeglabError(f"{path} lists no image: write one image or key per line")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image = LISTED_IMAGE.match(line)
            yield f"{path}:{number}", (image[0] if image else line.split("\t")[0]).strip()


def _resolve(path: Path, items: Sequence[Item], elsewhere: Iterable[Item]) -> Iterator[tuple[str, str, Item]]:
    """The item that each line of a list means: one of ``items`` unless its path fits one of ``elsewhere`` better."""
    own, foreign = _index(items), _index(elsewhere)
    for line, name in listed(path):
        fits = next((tail for tail in _tails(name) if tail in own or tail in foreign), None)
        if fits is None:
            raise SeglabError(f"{line}: {name} is not in the data set")
        found = own.get(fits) or foreign[fits]
        if len(found) > 1:
            images = describe([item.image for item in found])
            raise SeglabError(f"{line}: {name} may be {images}: write more of its path")
        yield line, name, found[0]


def _index(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Every way a list may call an item: its key, or the path of its image from any parent folder on."""
    index: dict[str, list[Item]] = {}
    for item in items:
        for name in dict.fromkeys(_tails(item.image.as_posix())):
            index.setdefault(name, []).append(item)
    return index | {item.key: [item] for item in items}


def _tails(name: str) -> list[str]:
    """``a/b/c.png`` -> ``a/b/c.png``, ``b/c.png``, ``c.png``, ``c``: the most specific first. None leads upwards."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        return []
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    stem, dot, suffix = parts[-1].rpartition(".") if parts else ("", "", "")
    return [*tails, stem] if dot + suffix.lower() in IMAGE_SUFFIXES else tails


def read_image(path: Path) -> np.ndarray:
    """H W 3 uint8 RGB of an image of any mode, turned as its EXIF orientation says.

    Raises:
        SeglabError: the file is missing, truncated or not an image.
    """
    data = _read(path)
    if png_depth(data) and not _has_exif(data) and (image := _decode_png(data, "rgb", 2)) is not None:
        return image
    if not _ends_whole(data):
        _load_with_pillow(path, data)  # OpenCV fills the missing part of a truncated file with grey, silently
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SeglabError(f"{path} is not a readable image: replace it or leave it out")
    if png_depth(data) == 16 and image.max() < 16:
        raise SeglabError(
            f"{path} has 16 bits per channel and leaves the upper four empty, as 12-bit cameras do: it would be black. "
            "Scale it to 8 bits"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_mask(path: Path, space: LabelSpace) -> np.ndarray:
    """H W uint8 class indices, 255 where ignored; ids outside the label space stay as ``labels.UNKNOWN``.

    Raises:
        SeglabError: the file is missing, truncated, not an image, or cannot hold ids (colours, JPEG).
    """
    ids = read_ids(path, space)
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
        raise SeglabError(wrong_ids(path, read_ids(path, space), space))
    return mask


def wrong_ids(path: Path, ids: np.ndarray, space: LabelSpace) -> str:
    """The message about a mask that stores ids H W which its label space does not know."""
    unknown = unknown_ids(ids, space)
    return f"{path} has ids {unknown} outside the label space: {hint_for_ids(unknown, space)}"


def check_size(path: Path, mask: np.ndarray, image_path: Path, image: np.ndarray) -> None:
    """Raise ``SeglabError`` if a mask and its image differ in size."""
    if image.shape[:2] != mask.shape:
        turned = image.shape[:2] == mask.shape[::-1] and orientation(image_path) > 4
        remedy = "turn the mask alike, or remove the orientation from the image"
        raise SeglabError(
            f"{path} is {mask.shape[1]}x{mask.shape[0]} but its image {image_path} is "
            f"{image.shape[1]}x{image.shape[0]}"
            + (f" as its EXIF orientation turns it: {remedy}" if turned else ": they must be the same size")
        )


def scaled_size(size: tuple[int, ...], scale: float) -> tuple[int, int]:
    """Height and width, at least one pixel each, of an image that is resized by ``scale``."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def orientation(path: Path) -> int:
    """EXIF orientation of a JPEG: 1 upright, 2 to 8 mirrored or turned; 5 to 8 exchange width and height."""
    with Image.open(path) as image:
        return image.getexif().get(0x0112, 1) if image.format == "JPEG" else 1


def unknown_ids(ids: np.ndarray, space: LabelSpace) -> list[int]:
    """The ids stored in a mask that its label space does not know."""
    return [int(i) for i in np.unique(ids) if not 0 <= i <= 255 or space.decode[i] == UNKNOWN]


def describe(names: Sequence[object], most: int = 5) -> str:
    """``a, b, c and 7 more`` for messages."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def read_ids(path: Path, space: LabelSpace) -> np.ndarray:
    """H W integers as a mask file stores them.

    Raises:
        SeglabError: as ``read_mask``.
    """
    data = _read(path)
    if space.in_red:
        return _read_red(path, data)
    if (stored := _decode_png(data, "mono", 0, 3)) is not None:
        return stored[..., 0]
    image = _load_with_pillow(path, data)
    if image.mode not in ID_MODES or image.format == "JPEG":
        raise SeglabError(
            f"{path} is a {image.mode} {image.format} file, which cannot hold exact ids: "
            + hint_for_colours(np.asarray(image.convert("RGB")), space)
        )
    ids = np.asarray(image)
    depth, colour_type = data[24:26]
    if image.format == "PNG" and colour_type == 0 and depth in (2, 4):  # Pillow stretches these greys to 0-255
        return ids // (255 // (2**depth - 1))
    return ids.astype(np.uint8) if ids.dtype == bool else ids


def _read_red(path: Path, data: bytes) -> np.ndarray:
    """H W uint16: the red channel of a 16-bit colour PNG, which Pillow would reduce to 8 bits."""
    _verify(path, data)
    depth, colour_type = data[24:26]
    if data[12:16] != b"IHDR" or (depth, colour_type) != (16, 2):
        raise SeglabError(
            f"{path} is no 16-bit colour PNG: the ids belong in the red channel of one, as SYNTHIA distributes it. "
            "Masks that were converted to one channel are those of a Folder"
        )
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SeglabError(f"{path} is damaged: replace it or leave it out")
    return image[..., 2]  # OpenCV's order is blue, green, red


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SeglabError(f"{path} cannot be read ({error.strerror}): restore it or leave it out") from error


def _decode_png(data: bytes, mode: str, *colour_types: int) -> np.ndarray | None:
    """H W C of an 8-bit PNG of these colour types, by a decoder that checks every checksum.

    None if it is not installed, or the file is of another kind or damaged: the slower ones then say what is wrong.
    """
    if decode_png is None or data[12:16] != b"IHDR" or len(data) < 33 or data[24] != 8 or data[25] not in colour_types:
        return None
    width, height = struct.unpack(">II", data[16:24])
    if width * height > 2000 * len(data):  # deflate packs 1032 bytes into one at most: the header is wrong
        return None
    try:
        return decode_png(data, (height, width), mode)
    except Exception:  # it raises plain exceptions
        return None


def _has_exif(data: bytes) -> bool:
    """Whether a PNG has an orientation: its chunk stands before or after the pixels, which are not searched."""
    pixels = data.find(b"IDAT")
    return b"eXIf" in data[:pixels] or b"eXIf" in data[-65536:]


def png_depth(head: bytes) -> int:
    """Bits per channel by the first 26 bytes of a PNG; 0 for another file."""
    return head[24] if head[12:16] == b"IHDR" and len(head) > 25 else 0


def _ends_whole(data: bytes) -> bool:
    return data.endswith(b"\xff\xd9") or data[-8:-4] == b"IEND"


def _verify(path: Path, data: bytes) -> None:
    """Checksums of a PNG, which loading it skips."""
    try:
        Image.open(BytesIO(data)).verify()
    except UnidentifiedImageError as error:
        raise SeglabError(f"{path} is not an image ({len(data)} bytes): replace it or leave it out") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... on broken files
        raise SeglabError(f"{path} is damaged ({error}): replace it or leave it out") from error


def _load_with_pillow(path: Path, data: bytes) -> Image.Image:
    _verify(path, data)
    try:
        image = Image.open(BytesIO(data))
        image.load()
    except Exception as error:
        raise SeglabError(f"{path} is damaged ({error}): replace it or leave it out") from error
    return image
