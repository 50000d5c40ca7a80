"""Verify a data set before training: every file is opened once, every bad one is named."""

import glob
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import numpy as np

from seglab.data.checks.findings import Found, Part, Report
from seglab.data.checks.mend import mending
from seglab.data.checks.plausible import misread, unseen
from seglab.data.dataset import SPLITS, DataSet
from seglab.data.decode import (
    check_size,
    count_ids,
    holds_colours,
    is_deep,
    orientation,
    read_ids,
    read_image,
    wrong_ids,
)
from seglab.data.files import Item, describe
from seglab.data.module import SegmentationData
from seglab.files import parallel_map
from seglab.labels import IGNORE, UNKNOWN, LabelSpace
from seglab.types import SeglabError

RARE = 0.005  # share of the labeled pixels


def check_data(data: SegmentationData, workers: int = 0) -> Report:
    """Open every image and mask of a data set, or of both sides of a domain adaptation.

    Args:
        data: what to check.
        workers: threads that decode; 0: as the cores allow.
    """
    report = Report()
    for prefix, side, splits in sides(data):
        _check_splits(side, splits, prefix, workers, report)
    _check_overlap(report)
    _check_streams(data, report)
    for prefix, side, splits in sides(data):
        names = [f"{prefix}{split}" for split in splits]
        if report.problems and (lines := mending(side, [part for part in report.parts if part.name in names])):
            report.mending[prefix.strip()] = lines
    return report


def sides(data: SegmentationData) -> list[tuple[str, DataSet, tuple[str, ...]]]:
    """Prefix of its name, data set and the splits that are used, of each data set."""
    return [
        (f"{name} " if name else "", side, SPLITS if side is data.evaluated else ("train",))
        for name, side in data.sides.items()
        if isinstance(side, DataSet)  # all are; only streams and evaluation ask for less
    ]


def _check_splits(data: DataSet, splits: Sequence[str], prefix: str, workers: int, report: Report) -> None:
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
        part = Part(name, items, data.space, data.root)
        _check_masks_exist(part, split, report)
        _open_all(part, workers, report)
        _check_ids(part, split, report)
        parts.append(part)
    report.parts += parts
    broken, orphans = _orphans(data)
    report.problems += [f"{prefix}{path} is a broken link: restore what it points to or remove it" for path in broken]
    if orphans:
        report.notes.append(f"{prefix}{len(orphans)} masks have no image: {describe(orphans)}")


def _check_masks_exist(part: Part, split: str, report: Report) -> None:
    bare = [item for item in part.items if item.mask is None]
    if not bare:
        return
    folders = {item.image.parent for item in bare} - {item.image.parent for item in part.items if item.mask}
    every = ""
    if folders and len(bare) < len(part.items):
        every = f" (every one in {describe(sorted(folder.name for folder in folders))})"
    (report.problems if split == "val" else report.notes).append(
        f"{part.name}: {len(bare)} of {len(part.items)} images have no mask{every}: "
        f"{describe([item.image for item in bare])}"
    )
    if split == "val":
        part.bad.update(bare)


def _open_all(part: Part, workers: int, report: Report) -> None:
    oriented, deep = [], []
    opened = parallel_map(lambda item: _inspect(item, part.space), part.items, part.name, workers)
    for item, found in zip(part.items, opened, strict=True):
        report.problems += [f"{part.name}: {problem}" for problem in found.problems]
        if found.problems:
            part.bad.add(item)
        if found.size:
            part.sizes[found.size] += 1
            part.digests[found.digest].append(item)
        if found.stored is not None:
            part.stored += found.stored
            classes = np.bincount(part.space.decode, found.stored, 256).astype(np.int64)
            part.pixels += classes
            part.shows[item] = classes > 0
        part.wrong.update(found.wrong)
        part.painted += [item.mask] if found.painted and item.mask else []
        oriented += [item.image] if found.oriented else []
        deep += [item.image] if found.deep else []
    if oriented:
        report.notes.append(
            f"{part.name}: {len(oriented)} images have an EXIF orientation, which is applied, so their masks must be "
            f"turned alike: {describe(oriented)}"
        )
    if deep:
        report.notes.append(
            f"{part.name}: {len(deep)} images have 16 bits per channel, of which the upper 8 are read: {describe(deep)}"
        )


def _inspect(item: Item, space: LabelSpace) -> Found:
    problems, image, ids, stored, wrong, painted = [], None, None, None, Counter[int](), False
    try:
        image = read_image(item.image)
    except SeglabError as error:
        problems.append(str(error))
    if item.mask:
        try:
            ids = read_ids(item.mask, space)
            stored = count_ids(ids)
            if stored.sum() < ids.size or stored[space.decode == UNKNOWN].any():
                problems.append(wrong_ids(item.mask, ids, space))
                values, numbers = np.unique(ids, return_counts=True)
                wrong.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
            if image is not None:
                check_size(item.mask, ids, item.image, image)
        except SeglabError as error:
            problems.append(str(error))
            painted = ids is None and holds_colours(item.mask)
    if image is None:
        return Found(problems, wrong=wrong, painted=painted)
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
    oriented = orientation(item.image) != 1
    return Found(
        problems,
        image.shape[1::-1],
        digest,
        None if problems else stored,
        oriented,
        is_deep(item.image),
        wrong,
        painted,
    )


def _check_ids(part: Part, split: str, report: Report) -> None:
    problem = misread(part.stored, part.space) or (unseen(part.stored, part.space) if split == "train" else None)
    if problem:
        report.problems.append(f"{part.name}: {problem}")
    shares = part.pixels[: part.space.num_classes] / max(1, part.pixels[: part.space.num_classes].sum())
    if split == "train" and (rare := [i for i, share in enumerate(shares) if 0 < share < RARE]):
        named = describe([f"{part.space.names[i]} ({100 * shares[i]:.2f} %)" for i in rare])
        report.notes.append(
            f"{part.name}: less than {100 * RARE:.1f} % of the labeled pixels show {named}: `--criterion.weights "
            "balanced`, Dice, Focal or Tversky (`seglab list criteria`) and rare_classes help such classes"
        )
    void = [item.mask for item, classes in part.shows.items() if not classes[:IGNORE].any()]
    absent = [name for index, name in enumerate(part.space.names) if not part.pixels[index]]
    if split != "train" and len(void) < len(part.shows) and absent:
        report.notes.append(f"{part.name} shows no {', '.join(absent)}: no mean counts them unless they are predicted")
    if not void:
        return
    if len(void) < len(part.shows):
        report.notes.append(f"{part.name}: {len(void)} masks are void everywhere: {describe(void)}")
    elif split == "test":
        report.notes.append(f"{part.name}: all masks are void, as those of a public test set: nothing can be scored")
    else:
        report.problems.append(f"{part.name}: all masks are void everywhere: check the ids, or the folder of masks")


def _orphans(data: DataSet) -> tuple[list[Path], list[Path]]:
    """Files in the folders of masks that are broken links, and masks whose image does not exist."""
    items: list[Item] = []
    for split in ("train", "val", "test"):
        with suppress(SeglabError):  # an absent split is reported above
            items += data.find(split)
    used = {item.mask for item in items if item.mask}
    endings: set[tuple[Path, str, Path, str, bool]] = set()
    for key, image, mask in items:
        if mask and mask.name.startswith(key) and image.name.startswith(key):
            deep = mask.parent.name == image.parent.name and mask.parent != image.parent  # a city may lack all images
            folders = [path.parent.parent if deep else path.parent for path in (mask, image)]
            endings.add((folders[0], mask.name.removeprefix(key), folders[1], image.name.removeprefix(key), deep))
    broken, orphans = [], []
    for folder, ending, images, image_ending, deep in sorted(endings):
        for path in sorted(folder.glob(f"{'*/' if deep else ''}*{glob.escape(ending)}")):
            if path in used or path.name.startswith("."):
                continue
            image = images / path.relative_to(folder).with_name(path.name.removesuffix(ending) + image_ending)
            if path.is_symlink() and not path.exists():
                broken.append(path)
            elif not image.exists():
                orphans.append(path)
    return broken, orphans


def _check_overlap(report: Report) -> None:
    for part in report.parts:
        copies = [items for items in part.digests.values() if len(items) > 1]
        if copies:
            pairs = [f"{items[1].image} = {items[0].image}" for items in copies]
            report.notes.append(f"{part.name}: {len(copies)} images occur more than once: {describe(pairs)}")
    for one, other in combinations(report.parts, 2):
        if one.name.endswith("train") and other.name.endswith("train"):
            continue
        if both := [digest for digest in other.digests if digest in one.digests]:
            twins = [f"{other.digests[digest][0].image} = {one.digests[digest][0].image}" for digest in both]
            report.problems.append(f"{other.name} has {len(both)} images of {one.name}: {describe(twins)}")
            one.bad.update(item for digest in both for item in one.digests[digest])


def _check_streams(data: SegmentationData, report: Report) -> None:
    """The labeled and unlabeled sets that training would use."""
    labeled, unlabeled = (_listed(data, name, report) for name in ("labeled", "unlabeled"))
    parts = {part.name: part for part in report.parts}
    if labeled is None:
        for prefix, side, _ in sides(data)[:1]:
            with suppress(SeglabError, KeyError):
                parts[f"{prefix}train"].bad.update(item for item in side.selection.labeled if item.mask is None)
    if labeled is None or unlabeled is None:
        return
    report.notes.append(f"training uses {len(labeled)} labeled and {len(unlabeled)} unlabeled images")
    present = _shown(data, {item: classes for part in report.parts for item, classes in part.shows.items()})
    if absent := [name for name, there in zip(data.space.names, present, strict=False) if not there]:
        report.notes.append(f"the labeled images show no {', '.join(absent)}")

    digests = {item: digest for part in report.parts for digest, items in part.digests.items() for item in items}
    known = {digests[item]: item for item in labeled if item in digests}
    own = set(labeled)
    twins = [item for item in unlabeled if item not in own and digests.get(item) in known]
    if twins:
        pairs = [f"{item.image} = {known[digests[item]].image}" for item in twins]
        report.notes.append(f"{len(twins)} unlabeled images are copies of labeled ones: {describe(pairs)}")


def _shown(data: SegmentationData, shows: Mapping[Item, np.ndarray]) -> np.ndarray:
    """(256,) bool: the classes that the labels of training show."""
    present = np.zeros(256, bool)
    for part in data.streams["labeled"].parts:
        pointed = part.owner.pointed
        for item in part.items():
            if pointed is not None:
                present[pointed[item.key].labels] = True
            elif item in shows:
                present |= shows[item]
    return present


def _listed(data: SegmentationData, stream: str, report: Report) -> list[Item] | None:
    try:
        return data.stream_items(stream)
    except SeglabError as error:
        if (problem := f"training: {error}") not in report.problems:
            report.problems.append(problem)
        return None
