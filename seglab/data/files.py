"""Which files make up a data set, and its parts where it comes without."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seglab.types import SeglabError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
FORMATS = "PNG, JPEG, TIFF, BMP and WebP"


class Item(NamedTuple):
    """One image of a data set; ``key`` identifies it in lists, messages and predictions."""

    key: str
    image: Path
    mask: Path | None


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
    """Whether the name is that of a file that is read; hidden files (``._a.png`` of macOS archives) are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def names_by_stem(folder: Path) -> dict[str, str]:
    """Stem -> name of each image or mask in a folder: names, since paths of 17,000 files take long; empty if absent."""
    found = {}
    for name in _names(folder):
        stem, dot, suffix = name.rpartition(".")
        if stem and (dot + suffix).lower() in IMAGE_SUFFIXES and name[0] != ".":
            found[stem] = name
    return found


def paired(images: Path, masks: Path, layout: str, ending: str = "") -> list[Item]:
    """The images of one folder with the masks of the same stems, plus an ending, in another; sorted by name.

    Raises:
        SeglabError: there is no image; names the layout that is expected.
    """
    found = find_images(images, f"set --data.root to a folder with {layout}")
    there = names_by_stem(masks)
    names = [(path, there.get(f"{path.stem}{ending}")) for path in found]
    return [Item(path.stem, path, masks / name if name else None) for path, name in names]


def below(root: Path, folder: str, *marks: str) -> Path:
    """``root``, or the folder below it that archives unpack to, if that has one of ``marks`` and root has none."""
    inside = root / folder
    has = [any((place / mark).is_dir() for mark in marks) for place in (root, inside)]
    return inside if has == [False, True] else root


def images_of_drives(folder: Path, ending: str, remedy: str) -> list[Path]:
    """Images ``<folder>/<drive>/*<ending>.<any>`` in the order of drives and names.

    Raises:
        SeglabError: there is none.
    """
    found = []
    for drive in sorted(_names(folder)):
        names = names_by_stem(folder / drive)
        found += [folder / drive / name for stem, name in sorted(names.items()) if stem.endswith(ending)]
    if not found:
        raise SeglabError(f"{folder} holds no <drive>/*{ending} image: {remedy}")
    return found


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


def describe(names: Sequence[object], most: int = 5) -> str:
    """``a, b, c and 7 more`` for messages."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
