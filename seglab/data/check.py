"""Verify a data set before training: every file is opened once, every bad one is named."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from seglab.data.adaptation import DomainAdaptation
from seglab.data.datamodule import SegmentationData
from seglab.data.files import Item, describe, read_image, read_pair
from seglab.labels import IGNORE
from seglab.pictures import contact_sheet, overlay
from seglab.types import SeglabError

SHEET_ROWS = 4  # images per part on the contact sheet


@dataclass
class Part:
    """What was found in one split of one data set."""

    name: str
    items: list[Item]
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (width, height) -> images
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # by class index; IGNORE: ignored
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # images that show the class


@dataclass
class Report:
    """Everything that ``check_data`` found."""

    parts: list[Part] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # training or evaluation would stop on these
    notes: list[str] = field(default_factory=list)  # worth knowing


def check_data(data: SegmentationData) -> Report:
    """Open every image and mask of a data set, or of both sides of a domain adaptation."""
    report = Report()
    if isinstance(data, DomainAdaptation):
        _check_splits(data.source, ["train"], "source ", report)
        _check_splits(data.target, ["train", "val", "test"], "target ", report)
    else:
        _check_splits(data, ["train", "val", "test"], "", report)
    _check_streams(data, report)
    return report


def _check_splits(data: SegmentationData, splits: Sequence[str], prefix: str, report: Report) -> None:
    seen: dict[str, str] = {}
    for split in splits:
        try:
            items = data.items(split)
        except SeglabError as error:
            (report.notes if split == "test" else report.problems).append(f"{prefix}{split}: {error}")
            continue
        part = Part(prefix + split, items)
        report.parts.append(part)
        if repeated := [item.key for item in items if seen.setdefault(item.key, split) != split]:
            report.problems.append(f"{prefix}{split} repeats images of {seen[repeated[0]]}: {describe(repeated)}")
        bare = [item.image for item in items if item.mask is None]
        if bare:
            report.notes.append(f"{part.name}: {len(bare)} of {len(items)} images have no mask: {describe(bare)}")
        report.notes += _orphans(part)
        _open_all(data, part, report)


def _open_all(data: SegmentationData, part: Part, report: Report) -> None:
    def inspect(item: Item) -> tuple[tuple[int, int], np.ndarray | None] | str:
        try:
            image, mask = (read_image(item.image), None) if item.mask is None else read_pair(item, data.space)
        except SeglabError as error:
            return f"{part.name}: {error}"
        return (image.shape[1], image.shape[0]), None if mask is None else np.bincount(mask.ravel(), minlength=256)

    with ThreadPoolExecutor() as pool:
        results = pool.map(inspect, part.items)
        for found in track(results, part.name, len(part.items), console=Console(stderr=True), transient=True):
            if isinstance(found, str):
                report.problems.append(found)
                continue
            size, histogram = found
            part.sizes[size] += 1
            if histogram is not None:
                part.pixels += histogram
                part.images += histogram > 0


def _orphans(part: Part) -> list[str]:
    """Masks in the folders of a part that belong to no image."""
    masks = {item.mask for item in part.items if item.mask}
    endings = {(m.parent, m.name.removeprefix(i.key)) for i in part.items if (m := i.mask) and m.name.startswith(i.key)}
    found = [path for folder, ending in sorted(endings) for path in sorted(folder.glob(f"*{ending}")) if path not in masks]
    return [f"{part.name}: {len(found)} masks have no image: {describe(found)}"] if found else []


def _check_streams(data: SegmentationData, report: Report) -> None:
    """The labeled and unlabeled sets that training would use."""
    space = data.source.space if isinstance(data, DomainAdaptation) else data.space
    try:
        labeled, unlabeled = data.labeled_items(), data.unlabeled_items()
    except SeglabError as error:
        report.problems.append(f"training: {error}")
        return
    report.notes.append(f"training uses {len(labeled)} labeled and {len(unlabeled)} unlabeled images")
    present = np.zeros(256, bool)
    for item in labeled:
        try:
            present[np.unique(read_pair(item, space)[1])] = True
        except SeglabError:  # named above already
            continue
    if absent := [name for name, there in zip(space.names, present, strict=False) if not there]:
        report.notes.append(f"the labeled images show no {', '.join(absent)}")


def print_report(report: Report, names: Sequence[str], console: Console) -> None:
    """Tables of counts and class shares, then notes and problems."""
    counts = Table("part", "images", "with mask", "sizes", title="files")
    for part in report.parts:
        sizes = describe([f"{w}x{h} ({n})" for (w, h), n in part.sizes.most_common()], 3)
        masks = sum(item.mask is not None for item in part.items)
        counts.add_row(part.name, str(len(part.items)), str(masks), sizes)
    console.print(counts)

    shares = Table("class", *[f"{part.name} % of pixels (images)" for part in report.parts], title="classes")
    for index, name in [*enumerate(names), (IGNORE, "ignored")]:
        cells = [f"{100 * p.pixels[index] / max(1, p.pixels.sum()):.2f} ({p.images[index]})" for p in report.parts]
        shares.add_row(name, *cells)
    console.print(shares)

    for note in report.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for problem in report.problems:
        console.print(f"problem: {problem}", style="red", highlight=False, soft_wrap=True)
    verdict = f"{len(report.problems)} problems" if report.problems else "no problems found"
    console.print(verdict, style="bold red" if report.problems else "bold green")


def write_sheet(report: Report, data: SegmentationData, path: Path) -> None:
    """Contact sheet of images, spread evenly over each part, beside their masks."""
    rows, captions = [], []
    for part in report.parts:
        for item in part.items[:: max(1, -(-len(part.items) // SHEET_ROWS))]:
            try:
                image, mask = (read_image(item.image), None) if item.mask is None else read_pair(item, data.space)
            except SeglabError:  # named in the report
                continue
            colours = np.zeros_like(image) if mask is None else data.space.colours[mask]
            rows.append([image, image if mask is None else overlay(image, mask, data.space.colours), colours])
            captions.append(f"{part.name}: {item.key}")
    if rows:
        contact_sheet(rows, ["image", "overlay", "mask"], path, captions)
