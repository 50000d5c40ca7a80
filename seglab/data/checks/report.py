"""What ``seglab data check`` prints and writes."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seglab.data.checks.check import sides
from seglab.data.checks.findings import Report
from seglab.data.dataset import DataSet
from seglab.data.decode import read_image, read_pair
from seglab.data.files import describe
from seglab.data.module import SegmentationData
from seglab.files import write_whole
from seglab.labels import IGNORE
from seglab.pictures import contact_sheet, overlay
from seglab.types import SeglabError

SHEET_ROWS = 4  # images per part on the contact sheet


def print_report(report: Report, data: SegmentationData, console: Console) -> None:
    """Tables of label spaces, counts and class shares, then notes and problems."""
    for prefix, side, _ in sides(data):
        console.print(_space_table(side, f"{prefix}label space"))

    counts = Table("part", "images", "with mask", "sizes", title="files")
    for part in report.parts:
        sizes = describe([f"{w}x{h} ({n})" for (w, h), n in part.sizes.most_common()], 3)
        masks = sum(item.mask is not None for item in part.items)
        counts.add_row(part.name, str(len(part.items)), str(masks), sizes)
    console.print(counts)

    shares = Table("class", *[f"{part.name} % of pixels (images)" for part in report.parts], title="classes")
    images = [np.sum([*part.shows.values(), np.zeros(256, int)], axis=0) for part in report.parts]
    for index, name in [*enumerate(data.space.names), (IGNORE, "ignored")]:
        cells = [
            f"{100 * part.pixels[index] / max(1, part.pixels.sum()):.2f} ({count[index]})"
            for part, count in zip(report.parts, images, strict=True)
        ]
        shares.add_row(escape(name), *cells)
    console.print(shares)

    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in report.problems:
        console.print(f"problem: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
    for name, lines in report.mending.items():
        where = ".".join(("data", *([name, "init_args"] if name else ["init_args"])))
        console.print(f"This may mend it, under {where}:", highlight=False)
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    verdict = f"problems: {len(report.problems)}" if report.problems else "no problems found"
    console.print(verdict, style="bold red" if report.problems else "bold green")


def _space_table(data: DataSet, title: str) -> Table:
    """How the stored ids are read: by class, and which are ignored."""
    space, own = data.space, data.own_space
    converted = space is not own
    table = Table(
        "class",
        "stored colours" if space.stored_colours else "stored ids",
        *(["classes of the data set"] if converted else []),
        title=title,
    )
    for index, name in [*enumerate(space.names), (IGNORE, "ignored")]:
        stored = np.flatnonzero(space.decode == index)
        sources = [own.names[i] for i in dict.fromkeys(own.decode[stored].tolist()) if i < own.num_classes]
        shown = ", ".join(map(space.stored_name, stored.tolist())) if space.stored_colours else ranges(stored.tolist())
        table.add_row(escape(name), escape(shown), *([escape(", ".join(sources))] if converted else []))
    return table


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in short: ``0-6, 9, 10``."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def write_bad(report: Report, data: SegmentationData, path: Path) -> list[str]:
    """List the images to leave out, one path relative to the root per line, as the argument ``skip`` reads them.

    The two sides of an adaptation skip by lists of their own: ``<stem>_source<ending>`` and ``<stem>_target<ending>``.
    A data set without bad images gets no list; one from an earlier check is removed.

    Returns:
        What was written, for people.
    """
    said = []
    for prefix, side, splits in sides(data):
        parts = [part for part in report.parts if part.name in [prefix + split for split in splits]]
        bad = [item.image for part in parts for item in part.items if item in part.bad]
        file = path.with_name(f"{path.stem}_{prefix.strip()}{path.suffix}") if prefix else path
        if not bad:
            file.unlink(missing_ok=True)
            continue
        names = [image.relative_to(side.root) if image.is_relative_to(side.root) else image for image in bad]
        write_whole(file, "".join(f"{name.as_posix()}\n" for name in dict.fromkeys(names)))
        whole = sum(len(part.items) for part in parts)
        doubt = ": more than half, so rather a setting is wrong" if 2 * len(bad) > whole else ""
        key = f"data.{prefix.strip()}.skip" if prefix else "data.skip"
        said.append(f"{len(bad)} of {whole} images to leave out{doubt}: --{key} {file}")
    return said or ["no image to leave out"]


def write_sheet(report: Report, path: Path) -> None:
    """Contact sheet of images, spread evenly over each part, beside their masks.

    Raises:
        SeglabError: no image can be read.
    """
    rows, captions = [], []
    for part in report.parts:
        colours = part.space.colours
        for item in part.items[:: max(1, -(-len(part.items) // SHEET_ROWS))]:
            try:
                image, mask = (read_image(item.image), None) if item.mask is None else read_pair(item, part.space)
            except SeglabError:  # named in the report
                continue
            if mask is None:
                rows.append([image, image, np.zeros_like(image)])
            else:
                rows.append([image, overlay(image, mask, colours), colours[mask]])
            captions.append(f"{part.name}: {item.key}")
    if not rows:
        raise SeglabError(f"no image to draw on {path}: none can be read")
    contact_sheet(rows, ["image", "overlay", "mask"], path, captions)
