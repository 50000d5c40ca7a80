"""A page on which a person names the class of each pixel that a list asks for: one HTML file and nothing else."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from seglab.data.decode import read_image
from seglab.data.files import Item
from seglab.data.points import HEADER, VOID, Point
from seglab.files import parallel_map, write_output
from seglab.labels import IGNORE, LabelSpace

TEMPLATE = Path(__file__).with_name("answers.html")
KEYS = "1234567890qwertyuiopasdfghjklzxcvbnm"  # of the classes, then none: those are clicked
WHOLE, AROUND = 640, 32  # pixels: the longer side of the picture of an image; what is seen around a point, each way


def write_answers_page(path: Path, points: Sequence[Point], images: Mapping[str, Item], space: LabelSpace) -> int:
    """Write the page for the points that nobody has answered; it saves a whole list, the other points included.

    Args:
        path: the HTML file.
        points: of the list.
        images: key -> image.
        space: of the classes.

    Returns:
        Number of points that it asks for.

    Raises:
        SeglabError: an image cannot be read, or the file cannot be written.
    """
    open_points = [(index, point) for index, point in enumerate(points) if point.label is None]
    groups: dict[str, list[tuple[int, Point]]] = {}
    for index, point in open_points:
        groups.setdefault(point.key, []).append((index, point))
    pictures = parallel_map(lambda key: _pictures(images[key], groups[key]), list(groups), "pictures")
    names = {None: "", IGNORE: VOID} | dict(enumerate(space.names))
    content = {
        "header": HEADER,
        "void": VOID,
        "classes": [
            {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour), "key": KEYS[index : index + 1]}
            for index, (name, colour) in enumerate(zip(space.names, space.palette, strict=True))
        ],
        "lines": [[point.key, point.row, point.column, names[point.label]] for point in points],
        "images": list(pictures),
    }
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")  # nothing in it can end its element
    head, middle, end = TEMPLATE.read_text(encoding="utf-8").split("@@")
    write_output(path, head + html.escape(path.stem) + middle + text + end, "--page")
    return len(open_points)


def _pictures(item: Item, points: Sequence[tuple[int, Point]]) -> dict[str, object]:
    image = read_image(item.image)
    height, width = image.shape[:2]
    factor = min(1.0, WHOLE / max(height, width))
    small = cv2.resize(
        image, (max(1, round(width * factor)), max(1, round(height * factor))), None, 0, 0, cv2.INTER_AREA
    )
    padded = cv2.copyMakeBorder(image, AROUND, AROUND, AROUND, AROUND, cv2.BORDER_CONSTANT)
    side = 2 * AROUND + 1
    return {
        "key": item.key,
        "size": [height, width],
        "picture": _jpeg(small, 85),
        "points": [
            {
                "line": index,
                "patch": _jpeg(padded[point.row : point.row + side, point.column : point.column + side], 92),
            }
            for index, point in points
        ],
    }


def _jpeg(image: np.ndarray, quality: int) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return base64.b64encode(data.tobytes()).decode()
