"""Labeled pixels in place of masks: the list file that asks for them and holds the answers, and their way to a crop.

A list is a CSV file with a line per pixel, ``key,row,column,class``: the image's key, the place in the image as its
file stores it (counted from 0, after the EXIF orientation), and the class by name or index. The class is empty while
nobody has answered, and ``void`` where nobody can tell.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seglab.data.decode import orientation, read_image
from seglab.data.files import Item, describe
from seglab.files import parallel_map, read_text
from seglab.labels import IGNORE, LabelSpace
from seglab.types import SeglabError

HEADER = ["key", "row", "column", "class"]
VOID = "void"  # the answer of somebody who cannot tell
ASK = "`seglab pick` asks for pixels, and its page takes the answers"


class Point(NamedTuple):
    """A line of a list: a pixel and its class; None: not answered, ``IGNORE``: void."""

    key: str
    row: int
    column: int
    label: int | None = None


@dataclass(frozen=True)
class Points:
    """The labeled pixels of an image or a crop; of two in one place the later one stays.

    Attributes:
        rows, columns: N places.
        labels: N class indices.
        size: height and width of what the places are counted in.
    """

    rows: np.ndarray
    columns: np.ndarray
    labels: np.ndarray
    size: tuple[int, int]

    def cut(self, scaled: tuple[int, int], top: int, left: int, size: tuple[int, int]) -> "Points":
        """Those in a crop of the image resized to ``scaled``: each in the one pixel that its centre falls into.

        So none vanishes and none doubles, as labels of a resized mask would. Where several fall into one pixel, the one
        nearest to that pixel's centre comes last. All in whole numbers, but for the distances.
        """
        places, distance = [], np.zeros(len(self.labels))
        for index, old, new, start in zip((self.rows, self.columns), self.size, scaled, (top, left), strict=True):
            centre = (2 * index + 1) * new  # in pixels of the resized image, times 2 old
            place = centre // (2 * old)
            distance += np.abs(centre - (2 * place + 1) * old) / (2 * old)
            places.append(place - start)
        rows, columns = places
        inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
        order = np.argsort(-distance[inside], kind="stable")
        return Points(rows[inside][order], columns[inside][order], self.labels[inside][order], size)

    def mirrored(self) -> "Points":
        """After a horizontal flip."""
        return replace(self, columns=self.size[1] - 1 - self.columns)

    def mask(self) -> np.ndarray:
        """H W uint8: the class of each labeled pixel, 255 elsewhere."""
        mask = np.full(self.size, IGNORE, np.uint8)
        mask[self.rows, self.columns] = self.labels
        return mask

    def counts(self, num_classes: int) -> np.ndarray:
        """(K,) points of each class."""
        return np.bincount(self.labels, minlength=num_classes)[:num_classes]


def read_points(path: Path, space: LabelSpace) -> list[Point]:
    """The lines of a list, each pixel once: an answer counts more than none.

    Raises:
        SeglabError: there is no such list; a line is malformed or names a class that does not exist; or one pixel has
            two classes.
    """
    if not path.is_file():
        raise SeglabError(f"points {path}: there is no such file; {ASK}")
    lines = csv.reader(StringIO(read_text(path)))
    header = next(lines, [])
    if [name.strip().lower() for name in header] != HEADER:
        raise SeglabError(f"{path}: its first line is {','.join(header)!r}: give {','.join(HEADER)}")
    names = {name: index for index, name in enumerate(space.names)}
    known = {str(index): index for index in names.values()} | {"": None, VOID: IGNORE} | names
    found: dict[tuple[str, int, int], tuple[int | None, str]] = {}
    for line in lines:
        where = f"{path}:{lines.line_num}"
        if not any(line):
            continue
        if len(line) != len(HEADER):
            raise SeglabError(f"{where} has {len(line)} fields: give {','.join(HEADER)}")
        key, row, column, name = (field.strip() for field in line)
        if not (row.isdecimal() and column.isdecimal()):
            raise SeglabError(f"{where}: row {row!r} and column {column!r} are places in pixels, counted from 0")
        if name not in known:
            near = get_close_matches(name, space.names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {describe(space.names, 30)}"
            raise SeglabError(f"{where}: there is no class {name!r}: {hint} An index, and {VOID}, are answers too")
        label = known[name]
        place = key, int(row), int(column)
        before, line_before = found.get(place, (None, where))
        if before is not None and label is not None and before != label:
            raise SeglabError(
                f"{where} gives pixel {place[1:]} of {key} the class {_name(label, space)}, {line_before} gives it "
                f"{_name(before, space)}: remove one of the lines"
            )
        found[place] = (label, where) if before is None else (before, line_before)
    return [Point(*place, label) for place, (label, _) in found.items()]


def format_points(points: Iterable[Point], space: LabelSpace) -> str:
    """What a list file holds, with classes by name."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for key, row, column, label in points:
        writer.writerow([key, row, column, "" if label is None else _name(label, space)])
    return text.getvalue()


def points_of(
    path: Path, space: LabelSpace, items: Sequence[Item], elsewhere: Callable[[], Sequence[Item]]
) -> dict[str, Points]:
    """Key -> labeled pixels of each image that has any.

    Args:
        path: of a list.
        space: of the classes.
        items: the training images.
        elsewhere: lists those of other parts, for the message when the list names one.

    Raises:
        SeglabError: as ``read_points``; or a line names an image that is not there or a pixel outside it.
    """
    groups: dict[str, list[Point]] = {}
    for point in read_points(path, space):
        groups.setdefault(point.key, []).append(point)
    images = {item.key: item.image for item in items}
    if unknown := [key for key in groups if key not in images]:
        others = {item.key for item in elsewhere()}
        near = get_close_matches(unknown[0], images, 1)
        hint = "it is of another part" if unknown[0] in others else f"the nearest is {near[0]}" if near else ""
        raise SeglabError(
            f"{path} names {len(unknown)} images that are not among the {len(images)} training images: "
            f"{describe(unknown)}{f' ({hint})' if hint else ''}. Give the keys of this data set"
        )
    sizes = parallel_map(lambda key: image_size(images[key]), list(groups), "sizes")
    found = {}
    for (key, group), size in zip(groups.items(), sizes, strict=True):
        for point in group:
            if point.row >= size[0] or point.column >= size[1]:
                raise SeglabError(
                    f"{path}: row {point.row}, column {point.column} is outside {images[key]}, which is {size[0]} high "
                    f"and {size[1]} wide: correct the line of {key}"
                )
        known = [point for point in group if point.label not in (None, IGNORE)]
        if known:
            columns = np.array([[point.row, point.column, point.label] for point in known], np.int64).T
            found[key] = Points(columns[0], columns[1], columns[2].astype(np.uint8), size)
    return found


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is read, from its header where that is possible.

    Raises:
        SeglabError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception:  # reading it whole says what is wrong
        height, width = read_image(path).shape[:2]
        return height, width
    return (width, height) if orientation(path) > 4 else (height, width)


@dataclass(frozen=True)
class PointMasks:
    """Labeled pixels painted into masks of the size of their images."""

    points: Mapping[str, Points]

    def __call__(self, item: Item, image: np.ndarray) -> np.ndarray:
        """Class indices H W uint8, 255 where no pixel is labeled."""
        size = image.shape[0], image.shape[1]
        return self.points[item.key].cut(size, 0, 0, size).mask()


def _name(label: int, space: LabelSpace) -> str:
    return VOID if label == IGNORE else space.names[label]
