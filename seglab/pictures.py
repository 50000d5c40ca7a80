"""Pictures for people: masks over images, sheets of thumbnails, and image files that are whole or absent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seglab.files import write_whole

GAP = 4  # pixels between the cells of a sheet
LINE = 18  # height of a caption


def overlay(image: np.ndarray, classes: np.ndarray, colours: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Colours of classes over an image; H W 3 uint8.

    Args:
        image: H W 3 uint8.
        classes: H W uint8 class indices.
        colours: 256 3 uint8, the RGB of each index (``LabelSpace.colours``, where ignored pixels are black).
        alpha: weight of the colours: 0 shows the image, 1 the classes.
    """
    blend = (1.0 - alpha) * image.astype(np.float32) + alpha * colours[classes].astype(np.float32)
    return blend.round().astype(np.uint8)


def write_image(path: Path, image: np.ndarray, palette: np.ndarray | None = None) -> None:
    """Write a picture in the format of the ending, as ``write_whole``.

    Args:
        path: image file to write.
        image: H W or H W 3 uint8.
        palette: 256 3 uint8, the colours of the values of an H W image; makes it a palette PNG.
    """
    picture = Image.fromarray(image)
    if palette is not None:
        picture.putpalette(palette.tobytes())
    kind = Image.registered_extensions()[path.suffix.lower()]
    write_whole(path, lambda file: picture.save(file, kind))


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    path: Path,
    captions: Sequence[str] = (),
    width: int = 320,
    legend: Mapping[str, tuple[int, int, int]] | None = None,
) -> None:
    """Write a grid of pictures, each scaled to one width.

    Args:
        rows: pictures H W or H W 3 uint8; the rows may differ in height.
        titles: one heading per column.
        path: image file to write.
        captions: one line above each row, for example the file's name; may be left out.
        width: width of a column in pixels.
        legend: name -> RGB, listed below the grid.
    """
    cells = [[_thumbnail(picture, width) for picture in row] for row in rows]
    heights = [max(cell.height for cell in row) for row in cells]
    line = LINE if captions else 0
    sheet_width = GAP + len(titles) * (width + GAP)
    sheet_height = GAP + LINE + sum(height + line + GAP for height in heights)
    font = ImageFont.load_default(size=12)
    legend = legend or {}
    places, legend_height = _flow([LINE + round(font.getlength(name)) + 3 * GAP for name in legend], sheet_width - GAP)
    sheet = Image.new("RGB", (sheet_width, sheet_height + legend_height), "white")
    draw = ImageDraw.Draw(sheet)

    for column, title in enumerate(titles):
        draw.text((GAP + column * (width + GAP), GAP), title, "black", font)
    top = GAP + LINE
    for index, (row, height) in enumerate(zip(cells, heights, strict=True)):
        if captions:
            draw.text((GAP, top), captions[index], "black", font)
            top += line
        for column, cell in enumerate(row):
            sheet.paste(cell, (GAP + column * (width + GAP), top))
        top += height + GAP
    for (name, colour), (x, y) in zip(legend.items(), places, strict=True):
        draw.rectangle((GAP + x, top + y + 2, GAP + x + LINE - 8, top + y + LINE - 6), colour, "gray")
        draw.text((GAP + x + LINE - 4, top + y), name, "black", font)
    write_image(path, np.asarray(sheet))


def _flow(lengths: Sequence[int], width: int) -> tuple[list[tuple[int, int]], int]:
    """Places (x, y) of words that fill lines of a width, and the height of all lines."""
    places, x, y = [], 0, 0
    for length in lengths:
        if x and x + length > width:
            x, y = 0, y + LINE
        places.append((x, y))
        x += length
    return places, y + LINE if places else 0


def _thumbnail(picture: np.ndarray, width: int) -> Image.Image:
    height = max(round(picture.shape[0] * width / picture.shape[1]), 1)
    return Image.fromarray(picture).convert("RGB").resize((width, height))
