"""From files to pixels and class indices; whatever cannot be trusted is refused by name."""

import struct
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from seglab.data.checks.plausible import binary, hint_for_colours, hint_for_ids, hint_for_unknown_colours, misread
from seglab.data.files import Item, describe
from seglab.labels import IGNORE, UNKNOWN, LabelSpace
from seglab.types import SeglabError

try:
    from kornia_rs.io import decode_image_png_u8 as decode_png
except ImportError:  # the extra ``fast``; without it OpenCV and Pillow take more than twice as long
    decode_png = None

COLOUR_MODES = ("RGB", "RGBA", "LA")
ID_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes of one integer per pixel
GREY = 24  # by which JPEG may part the channels of a grey picture
SHOWN = 8  # ids in a message
SAMPLE = 8  # masks of a first look, spread evenly
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes; the last two of files beyond 4 GB
OTHERS = (b"BM", b"RIFF")  # of BMP and WebP
LOSSY = ("JPEG", "WEBP")  # formats that change the values of pixels, the second not always
EXACT = 1 << 24  # pixels up to which OpenCV's float32 counts are exact


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


def read_image(path: Path) -> np.ndarray:
    """H W 3 uint8 RGB of an image of any mode, turned as its EXIF orientation says.

    Raises:
        SeglabError: the file is missing, truncated, not an image, or one of floats or signed numbers.
    """
    data = _read(path)
    if png_depth(data) and not _has_exif(data) and (image := _decode_png(data, "rgb", 2)) is not None:
        return image
    if data.startswith((*TIFF, *OTHERS)):
        return cv2.cvtColor(_read_other(path, data), cv2.COLOR_BGR2RGB)
    if not _ends_whole(data):
        _load_with_pillow(path, data)  # OpenCV fills the missing part of a truncated file with grey, silently
    image = _decode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise SeglabError(f"{path} is not a readable image: replace it or leave it out")
    if png_depth(data) == 16:
        _check_depth(path, image)
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
    if space.stored_colours:
        return f"{path} has pixels in colours that no class has: {hint_for_unknown_colours(ids)}"
    shown = f"{unknown}" if len(unknown) <= SHOWN else f"{unknown[:SHOWN]} and {len(unknown) - SHOWN} more"
    return f"{path} has ids {shown} outside the label space: {hint_for_ids(unknown, space)}"


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
    """EXIF orientation of a JPEG or WebP: 1 upright, 2 to 8 mirrored or turned; 5 to 8 exchange width and height."""
    try:
        image = Image.open(path)
    except UnidentifiedImageError:  # OpenCV reads more kinds of TIFF
        return 1
    with image:
        return image.getexif().get(0x0112, 1) if image.format in LOSSY else 1


def holds_colours(path: Path) -> bool:
    """Whether a mask file shows colours without loss, in place of ids."""
    try:
        with Image.open(path) as image:
            return image.mode in COLOUR_MODES and image.format not in LOSSY
    except Exception:  # damaged
        return False


def is_deep(path: Path) -> bool:
    """Whether an image has 16 bits per channel, by its header."""
    with path.open("rb") as file:
        head = file.read(26)
    if not head.startswith(TIFF):
        return png_depth(head) == 16
    try:
        with Image.open(path) as image:
            bits = image.getexif().get(258, 8)
            return max(bits if isinstance(bits, tuple) else (bits,)) == 16
    except Exception:  # Pillow knows fewer kinds than OpenCV
        return False


def unknown_ids(ids: np.ndarray, space: LabelSpace) -> list[int]:
    """The ids stored in a mask that its label space does not know."""
    return [int(i) for i in np.unique(ids) if not 0 <= i <= 255 or space.decode[i] == UNKNOWN]


def read_ids(path: Path, space: LabelSpace) -> np.ndarray:
    """H W integers as a mask file stores them; of a mask of colours the position of each, or 256 + its RGB in hex.

    Raises:
        SeglabError: as ``read_mask``.
    """
    data = _read(path)
    if space.in_red:
        return _read_red(path, data)
    if space.stored_colours:
        return _read_colours(path, data, space)
    ids = _read_plain(path, data, space)
    return cv2.LUT(np.ascontiguousarray(ids), space.nearest_id) if space.nearest and ids.dtype == np.uint8 else ids


def _read_plain(path: Path, data: bytes, space: LabelSpace) -> np.ndarray:
    """H W integers of a mask in one channel, or in three equal ones."""
    if (stored := _decode_png(data, "mono", 0, 3)) is not None:
        return stored[..., 0]
    image = _load_with_pillow(path, data)
    lossy = image.format in LOSSY and not space.nearest
    if image.mode in COLOUR_MODES and not lossy and space.grey_is_id:
        channels = np.asarray(image.convert("RGB"))
        apart = GREY if space.nearest else 0
        if (np.ptp(channels, axis=-1) <= apart).all():
            return np.ascontiguousarray(channels[..., 1])
    if image.mode not in ID_MODES or lossy:
        raise SeglabError(
            f"{path} is a {image.mode} {image.format} file, which cannot hold exact ids: "
            + hint_for_colours(np.asarray(image.convert("RGB")), space, image.format in LOSSY)
        )
    ids = np.asarray(image)
    depth, colour_type = data[24:26]
    if image.format == "PNG" and colour_type == 0 and depth in (2, 4):  # Pillow stretches these greys to 0-255
        return ids // (255 // (2**depth - 1))
    return ids.astype(np.uint8) if ids.dtype == bool else ids


def check_sample(masks: Sequence[Path], space: LabelSpace) -> None:
    """Look at a few of the labeled masks.

    Raises:
        SeglabError: one cannot be read, all are void, or they are train ids read as label ids.
    """
    every, masks = masks, masks[:: -(-len(masks) // SAMPLE)]
    stored = np.sum([count_ids(read_ids(mask, space)) for mask in masks], axis=0)
    rest = iter(every)
    while binary(stored, space) and (mask := next(rest, None)):  # few masks may show a rare class
        stored = stored + count_ids(read_ids(mask, space))
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


def _read_red(path: Path, data: bytes) -> np.ndarray:
    """H W uint16: the red channel of a 16-bit colour PNG, which Pillow would reduce to 8 bits."""
    _verify(path, data)
    depth, colour_type = data[24:26]
    if data[12:16] != b"IHDR" or (depth, colour_type) != (16, 2):
        raise SeglabError(
            f"{path} is no 16-bit colour PNG: the ids belong in the red channel of one, as SYNTHIA distributes it. "
            "Masks that were converted to one channel are those of a Folder"
        )
    image = _decode(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SeglabError(f"{path} is damaged: replace it or leave it out")
    return image[..., 2]  # OpenCV's order is blue, green, red


def _read_colours(path: Path, data: bytes, space: LabelSpace) -> np.ndarray:
    """H W uint8: the position of each pixel's colour; int32 with 256 + RGB in hex where it is not known."""
    colours = _decode_png(data, "rgb", 2)
    if colours is None:
        image = _load_with_pillow(path, data)
        if image.mode not in (*COLOUR_MODES, "1", "L", "P") or (image.format == "JPEG" and not space.nearest):
            raise SeglabError(
                f"{path} is a {image.mode} {image.format} file, which cannot hold exact colours: make it a PNG of the "
                "colours of the classes"
            )
        colours = np.asarray(image.convert("RGB"))
    packed = colours[..., 0].astype(np.int32) << 16 | colours[..., 1].astype(np.int32) << 8 | colours[..., 2]
    ids = space.id_of_colour[packed]
    unknown = ids == UNKNOWN
    if not unknown.any():
        return ids
    if not space.nearest:
        return np.where(unknown, packed + 256, ids)
    found, which = np.unique(packed[unknown], return_inverse=True)
    known = np.array(space.stored_colours, np.int32)
    parted = np.stack([found >> 16, found >> 8 & 255, found & 255], 1)
    ids[unknown] = np.square(parted[:, None] - known).sum(2).argmin(1).astype(np.uint8)[which]
    return ids


def _read_other(path: Path, data: bytes) -> np.ndarray:
    """H W 3 uint8 BGR of a TIFF, BMP or WebP file."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)  # what it prints about a damaged file is said below
    try:
        image = _decode(data, cv2.IMREAD_UNCHANGED if data.startswith(TIFF) else cv2.IMREAD_COLOR)
    finally:
        cv2.utils.logging.setLogLevel(before)
    if image is None:
        raise SeglabError(
            f"{path} is damaged, or of a kind that is not read (8 or 16 bits and 1, 3 or 4 channels are): replace it "
            "or leave it out"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise SeglabError(
            f"{path} holds {image.dtype} pixels, and which of them is black and which is white is unknown: scale it to "
            "8 or 16 bits"
        )
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4):
        raise SeglabError(f"{path} has {channels} channels: write the three that the network should see as 8-bit RGB")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
        _check_depth(path, image)
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image[..., :3]


def _check_depth(path: Path, image: np.ndarray) -> None:
    """Raise ``SeglabError`` if the upper 8 of 16 bits say nothing."""
    if image.max() < 16:
        raise SeglabError(
            f"{path} has 16 bits per channel and leaves the upper four empty, as 12-bit cameras do: it would be black. "
            "Scale it to 8 bits"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SeglabError(f"{path} cannot be read ({error.strerror}): restore it or leave it out") from error


def _decode(data: bytes, flag: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # the header tells of a size that it refuses, or there is no byte
        return None


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
