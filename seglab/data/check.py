"""Verify a data set before training: every file is opened once, every bad one is named."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seglab.data.adaptation import DomainAdaptation
from seglab.data.datamodule import SegmentationData
from seglab.data.files import Item, describe, read_image, read_pair
from seglab.data.parallel import parallel_map
from seglab.labels import IGNORE, LabelSpace
from seglab.pictures import contact_sheet, overlay
from seglab.types import SeglabError

SHEET_ROWS = 4  # images per part on the contact sheet


@dataclass
class Part:
    """What was found in one split of one data set."""

    name: str
    items: list[Item]
    space: LabelSpace
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (width, height) -> images
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # by class index; IGNORE: ignored
    shows: dict[Item, np.ndarray] = field(default_factory=dict)  # readable pair -> (256,) bool, classes in its mask
    digests: dict[bytes, Path] = field(default_factory=dict)  # of the pixels -> image


@dataclass
class Report:
    """Everything that ``check_data`` found."""

    parts: list[Part] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # training or evaluation would stop on these, or mislead
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
    parts: list[Part] = []
    for split in splits:
        name = prefix + split
        try:
            items = data.items(split)
        except SeglabError as error:  # many data sets keep the test part back
            (report.notes if split == "test" else report.problems).append(f"{name}: {error}")
            continue
        if same := next((part.name for part in parts if part.items == items), None):
            report.notes.append(f"{name} is {same}")
            continue
        part = Part(name, items, data.space)
        if bare := [item.image for item in items if item.mask is None]:
            (report.problems if split == "val" else report.notes).append(
                f"{name}: {len(bare)} of {len(items)} images have no mask: {describe(bare)}"
            )
        _open_all(part, report)
        for other in parts:
            if twins := [f"{part.digests[d]} = {other.digests[d]}" for d in part.digests if d in other.digests]:
                report.problems.append(f"{name} has {len(twins)} images of {other.name}: {describe(twins)}")
        parts.append(part)
    report.parts += parts
    if orphans := _orphans(data):
        report.notes.append(f"{prefix}{len(orphans)} masks have no image: {describe(orphans)}")


def _open_all(part: Part, report: Report) -> None:
    def inspect(item: Item) -> tuple[tuple[int, int], bytes, np.ndarray | None] | str:
        try:
            image, mask = (read_image(item.image), None) if item.mask is None else read_pair(item, part.space)
        except SeglabError as error:
            return f"{part.name}: {error}"
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        return image.shape[1::-1], digest, None if mask is None else np.bincount(mask.ravel(), minlength=256)

    for item, result in zip(part.items, parallel_map(inspect, part.items, part.name), strict=True):
        if isinstance(result, str):
            report.problems.append(result)
            continue
        size, digest, histogram = result
        part.sizes[size] += 1
        part.digests[digest] = item.image
        if histogram is not None:
            part.pixels += histogram
            part.shows[item] = histogram > 0


def _orphans(data: SegmentationData) -> list[Path]:
    """Masks in the folders of a data set that belong to no image of any split."""
    items: list[Item] = []
    for split in ("train", "val", "test"):
        with suppress(SeglabError):  # an absent split is reported above
            items += data.items(split)
    masks = {item.mask for item in items if item.mask}
    named = [(item.mask, item.key) for item in items if item.mask and item.mask.name.startswith(item.key)]
    endings = sorted({(mask.parent, mask.name.removeprefix(key)) for mask, key in named})
    return [path for folder, ending in endings for path in sorted(folder.glob(f"*{ending}")) if path not in masks]


def _check_streams(data: SegmentationData, report: Report) -> None:
    """The labeled and unlabeled sets that training would use."""
    try:
        labeled, unlabeled = data.labeled_items(), data.unlabeled_items()
    except SeglabError as error:
        report.problems.append(f"training: {error}")
        return
    report.notes.append(f"training uses {len(labeled)} labeled and {len(unlabeled)} unlabeled images")
    shows = {item: classes for part in report.parts for item, classes in part.shows.items()}
    present = np.any([np.zeros(256, bool), *[shows[item] for item in labeled if item in shows]], axis=0)
    if absent := [name for name, there in zip(data.space.names, present, strict=False) if not there]:
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
    images = [np.sum([*part.shows.values(), np.zeros(256, int)], axis=0) for part in report.parts]
    for index, name in [*enumerate(names), (IGNORE, "ignored")]:
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
    verdict = f"problems: {len(report.problems)}" if report.problems else "no problems found"
    console.print(verdict, style="bold red" if report.problems else "bold green")


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
