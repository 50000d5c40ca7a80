"""What masks hold: their ids or colours with shares, and names for them where a file tells."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from seglab.data.checks.plausible import MANY, unpacked
from seglab.data.decode import COLOUR_MODES
from seglab.files import parallel_map, read_text
from seglab.labels import CAMVID, CITYSCAPES, IGNORE, VOC
from seglab.types import SeglabError

LOSSY = (".jpg", ".jpeg", ".webp")
TINY = 0.003  # of the pixels of a mask
NEAR = 16  # values apart
MASKS = 300  # that are opened, evenly spread
NAMES = (
    "classes",
    "class_names",
    "labels",
    "names",
    "categories",
    "labelmap",
    "_classes",
    "class_dict",
    "label_colors",
)
KNOWN = {  # colours of public data sets
    "Cityscapes": dict(zip(CITYSCAPES.palette, CITYSCAPES.names, strict=True)),
    "VOC": dict(zip(VOC.palette, VOC.names, strict=True)),
    "CamVid": dict(zip(CAMVID.palette, CAMVID.names, strict=True)),
    "ISPRS": {
        (255, 255, 255): "impervious surface", (0, 0, 255): "building", (0, 255, 255): "low vegetation",
        (0, 255, 0): "tree", (255, 255, 0): "car", (255, 0, 0): "clutter",
    },
}  # fmt: skip
Colour = tuple[int, int, int]
Value = int | Colour


class Content(NamedTuple):
    """What several masks hold.

    Attributes:
        shares: id, or (R, G, B), -> share of the pixels, in descending order of ids or of shares.
        images: id or colour -> number of masks that show it.
        opened: masks that were opened.
        blurred: share of the pixels with other values, left out: resizing or JPEG makes many.
    """

    shares: dict[Value, float]
    images: dict[Value, int]
    opened: int
    blurred: float


class Classes(NamedTuple):
    """A proposal for the classes of a ``Folder``.

    Attributes:
        names: id or colour -> class.
        void: ids or colours to ignore.
        source: where the names are from, for people.
    """

    names: dict[Value, str]
    void: Sequence[Value]
    source: str


def count(masks: Sequence[Path], colours: bool) -> Content:
    """Count the values of masks, of some of them where there are many.

    Raises:
        SeglabError: none can be read.
    """
    chosen = masks[:: max(1, -(-len(masks) // MASKS))]
    total: Counter[int] = Counter()
    shown: Counter[int] = Counter()
    opened = mixed = 0
    for found in parallel_map(lambda path: _values(path, colours), chosen, "looking at masks"):
        if found is not None:
            opened += 1
            total.update(found)
            shown.update(found.keys())
            mixed += _is_mixed(found)
    if not total:
        raise SeglabError(f"none of {len(chosen)} masks can be read, such as {chosen[0]}")
    pixels = sum(total.values())
    kept, blurred = list(total), 0.0
    if 2 * mixed > opened or chosen[0].suffix.lower() in LOSSY:  # what holds nearly all pixels, not its mixtures
        kept = []
        for value, number in total.most_common(MANY):
            if number >= pixels / 100 and not any(_near(value, other, colours) for other in kept):
                kept.append(value)
        blurred = 1 - sum(total[value] for value in kept) / pixels
    ordered = sorted(kept, key=lambda value: -total[value]) if colours else sorted(kept)
    name = unpacked if colours else int
    return Content(
        {name(value): total[value] / pixels for value in ordered},
        {name(value): shown[value] for value in ordered},
        opened,
        blurred,
    )


def _is_mixed(found: dict[int, int]) -> bool:
    """Whether nearly all values of a mask are on a few pixels each, as those between classes on their borders."""
    size = sum(found.values())
    few = sum(number < TINY * size for number in found.values())
    return few >= 8 and few > 0.7 * len(found)


def _near(one: int, other: int, colours: bool) -> bool:
    """Whether JPEG may have made one of the other."""
    pairs = zip(unpacked(one), unpacked(other), strict=True) if colours else [(one, other)]
    return max(abs(a - b) for a, b in pairs) <= NEAR


def _values(path: Path, colours: bool) -> dict[int, int] | None:
    try:
        with Image.open(path) as image:
            if colours or image.mode in COLOUR_MODES:
                pixels = np.asarray(image.convert("RGB")).astype(np.int32)
            else:
                pixels = np.asarray(image).astype(np.int32)
        with path.open("rb") as file:
            head = file.read(26)
        if pixels.ndim == 2 and head[12:16] == b"IHDR" and head[24:] in (b"\2\0", b"\4\0"):
            pixels //= 255 // (2 ** head[24] - 1)  # Pillow stretches these greys to 0-255
    except Exception:  # `data check` names it
        return None
    if pixels.ndim == 3:
        pixels = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2] if colours else pixels[..., 0]
    flat = pixels.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] - 1))  # of runs, which are few
    values, which = np.unique(flat[starts], return_inverse=True)
    numbers = np.bincount(which, np.diff(starts, append=flat.size)).astype(np.int64)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def name_classes(root: Path, content: Content, colours: bool) -> Classes:
    """Names for the values that masks hold: from a file of the folder, a known palette, or made up."""
    values = list(content.shares)
    listed = _listed(root)
    if colours:
        for source, names in listed:
            if isinstance(names, dict) and set(values) <= names.keys() | {(0, 0, 0)}:
                return Classes(dict(names), [value for value in values if value not in names], source)
        for source, known in KNOWN.items():
            named = [value for value in values if value in known]
            if len(named) > 2 and set(values) <= known.keys() | {(0, 0, 0)}:
                names = {value: known[value] for value in known if value in values}
                return Classes(names, [value for value in values if value not in known], f"the colours of {source}")
        names = {value: "background" if value == (0, 0, 0) else f"class_{index}" for index, value in enumerate(values)}
        return Classes(names, [], "")
    for source, names in listed:
        if isinstance(names, dict) and set(values) <= names.keys() | {IGNORE}:
            return Classes(dict(names), [value for value in values if value not in names], source)
    if set(values) <= {0, IGNORE} or set(values) <= {0, 1}:
        two = next((names for _, names in listed if isinstance(names, list) and len(names) == 2), None)
        one = next((names for _, names in listed if isinstance(names, list) and len(names) == 1), ["object"])
        first, second = two or ["background", *one]
        return Classes({0: first, max(values) or 1: second}, [], "")
    void = [value for value in values if value == IGNORE]
    rest = [value for value in values if value != IGNORE]
    for source, names in listed:
        if isinstance(names, list) and all(isinstance(value, int) and value < len(names) for value in rest):
            return Classes(dict(enumerate(names)), void, source)
    return Classes({value: "background" if value == 0 else f"class_{value}" for value in rest}, void, "")


def _listed(root: Path) -> list[tuple[str, list[str] | dict[Value, str]]]:
    """Class lists and colour maps in files of the usual names: one name a line, or ``name,r,g,b`` (CVAT, Kaggle)."""
    found: list[tuple[str, list[str] | dict[Value, str]]] = []
    for path in sorted([*root.glob("*.*"), *root.glob("*/*.*")]):
        if path.suffix.lower() not in (".txt", ".csv") or path.stem.lower() not in NAMES:
            continue
        try:
            lines = [line.strip() for line in read_text(path).splitlines()]
        except SeglabError:
            continue
        lines = [line for line in lines if line and not line.startswith("#")]
        coloured = _coloured(lines) or _numbered(lines)
        if coloured:
            found.append((path.name, coloured))
        elif lines and len(lines) < IGNORE and not any(re.search(r"[,;:\t]", line) for line in lines):
            found.append((path.name, [re.sub(r"^\d+\s+", "", line) for line in lines]))
    return found


def _coloured(lines: Sequence[str]) -> dict[Value, str]:
    names: dict[Value, str] = {}
    for row in csv.reader(io.StringIO("\n".join(lines))):
        text = ",".join(row)
        if match := re.match(r"\s*([^,:]+?)\s*[,:]\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)", text):
            names[int(match[2]), int(match[3]), int(match[4])] = match[1]
    return names


def _numbered(lines: Sequence[str]) -> dict[Value, str]:
    """``id, name`` per line, as in Roboflow's ``_classes.csv``."""
    rows = [row for row in csv.reader(io.StringIO("\n".join(lines))) if len(row) == 2 and row[0].strip().isdigit()]
    return {int(id): name.strip() for id, name in rows}


def image_size(path: Path) -> tuple[int, int] | None:
    """Height and width of an image file, None where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception:
        pixels = cv2.imread(str(path))
        return None if pixels is None else (pixels.shape[0], pixels.shape[1])
