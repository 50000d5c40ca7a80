"""People's own data: two glob patterns and a class list, no code."""

import glob
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from seglab.data.dataset import SPLITS, DataSet
from seglab.data.files import FORMATS, Item, check_holdout, describe, hold_out, is_image
from seglab.data.lists import choose_labeled
from seglab.labels import IGNORE, colour_space, label_space
from seglab.types import SeglabError

WILDCARD = re.compile(r"(\*\*/|\*)")
CHOICE = re.compile(r"\{([^{}]*,[^}]*)\}")  # {a,b}, unlike {split}


class Folder(DataSet):
    """Your own images and masks; ``seglab data init FOLDER`` writes these arguments.

    An image and a mask belong together when the wildcards of the two patterns match the same text, so
    ``images/*.jpg`` and ``masks/*_label.png`` pair ``images/a.jpg`` with ``masks/a_label.png``. One pattern
    or both may contain ``{split}``, which stands for train, val and test, or for the names in ``splits``. Without it
    ``splits`` may give list files; without both, every ``1/holdout``-th image with a mask is kept out of training and
    serves as val and test. Images without a mask are unlabeled. A file that both patterns match belongs to the longer
    one, so ``*.png`` and ``*_label.png`` may share a folder.

    Images are PNG, JPEG, TIFF, BMP or WebP files; those of 16 bits per channel are read by their upper 8.

    Args:
        images: pattern below root, e.g. ``{split}/images/*.{jpg,png}``; ``*`` matches a part of one name, ``**/`` any
            number of folders, ``{a,b}`` either text, every other character itself; ``.jpg`` is ``.JPG`` too.
        masks: pattern below root of masks without loss (PNG, TIFF, BMP) that hold ids in one channel or in three equal
            ones; or, with ``colors``, colours.
        classes: class names in index order; default: the order of ``ids`` or ``colors``.
        ids: id stored in the masks -> class name; default: the position in ``classes``. Several ids may share a name.
        void: ids in the masks that are ignored.
        nearest: other values or colours in the masks become the nearest of these, for masks that were saved as JPEG or
            resized with interpolation. A class that lies between two others in value appears on their borders.
        colors: class name -> [red, green, blue] in the masks, or a list of several; in place of ids.
        void_colors: colours in the masks that are ignored.
        splits: what ``{split}`` stands for, such as ``{train: training, val: validation}``; default: train, val, test.
            Without ``{split}``: list files below root, one image or key per line, such as ``{train: train.txt, val:
            val.txt}``; a part train that is left out has every image of no list.
        holdout: without parts, every holdout-th image with a mask is held out.

    Raises:
        SeglabError: the patterns have different wildcards or the class list and ids disagree.
    """

    def __init__(
        self,
        root: str,
        images: str,
        masks: str,
        classes: list[str] = [],  # noqa: B006 - read only, and the config shows it
        ids: dict[int, str] = {},  # noqa: B006
        void: list[int] = [IGNORE],  # noqa: B006
        splits: dict[str, str] = {},  # noqa: B006
        holdout: int = 5,
        colors: dict[str, list[int] | list[list[int]]] = {},  # noqa: B006
        void_colors: list[list[int]] = [],  # noqa: B006
        nearest: bool = False,
        **common: Any,
    ) -> None:
        if ids and colors:
            raise SeglabError("the masks are given both ids and colors: choose what they hold")
        if void_colors and not colors:
            raise SeglabError("void_colors are of masks of colours: give colors for the classes too")
        classes = classes or list(colors) or list(dict.fromkeys(ids.values()))
        if not classes:
            raise SeglabError("Folder has no classes: name them, as in classes: [background, object]")
        self.space = (
            colour_space(classes, colors, void_colors, nearest) if colors else label_space(classes, ids, void, nearest)
        )
        super().__init__(root, **common)
        images, masks = _pattern(images), _pattern(masks)
        if images == masks:
            raise SeglabError(f"images and masks are both {images!r}: nothing tells them apart")
        if WILDCARD.findall(images) != WILDCARD.findall(masks) or "*" not in images:
            raise SeglabError(f"images {images!r} and masks {masks!r} need the same wildcards, at least one *")
        if wrong := sorted(splits.keys() - set(SPLITS)):
            raise SeglabError(f"splits names {', '.join(wrong)}: give the folder names of {', '.join(SPLITS)}")
        in_names = "{split}" in images + masks
        lists = [name for name in splits.values() if name.endswith(".txt")]
        if splits and not in_names and len(lists) < len(splits):
            raise SeglabError(
                f"splits {splits}: write {{split}} in images {images!r} or masks {masks!r}, or in both; or give list "
                "files (.txt)"
            )
        if in_names and lists:
            raise SeglabError(f"splits {splits}: {{split}} stands for names of folders, and lists go without it")
        check_holdout(holdout, least=2)
        self.images, self.masks, self.splits, self.holdout = images, masks, splits, holdout
        self.layout = f"{images} with masks {masks}"

    def find(self, split: str) -> list[Item]:
        if "{split}" in self.images:
            return self._paired(self._part(self.images, split), self._part(self.masks, split))
        if "{split}" in self.masks:
            items = self._paired(self.images, self._part(self.masks, split))
            others = [self._part(self.masks, other) for other in SPLITS if other != split]
            taken = {key for other in others for key in _match(self.root, other)}
            return [item for item in items if item.mask or (split == "train" and item.key not in taken)]
        items = self._paired(self.images, self.masks)
        if self.splits:
            return self._of_lists(items, split)
        part = hold_out(items, self.holdout, split)
        if split != "train" and not part:
            raise SeglabError(f"no mask matches {self.root / self.masks}: check --data.masks {self.masks!r}")
        return part

    def _of_lists(self, items: list[Item], split: str) -> list[Item]:
        chosen = {name: set(choose_labeled(items, str(self._list(name)))) for name in self.splits}
        if split in chosen:
            return [item for item in items if item in chosen[split]]
        if split == "train":
            return [item for item in items if not any(item in others for others in chosen.values())]
        raise SeglabError(f"splits names no list of {split}: add one, such as {split}: {split}.txt")

    def _list(self, split: str) -> Path:
        path = Path(self.splits[split]).expanduser()
        return path if path.is_absolute() else self.root / path

    def candidates(self, items: list[Item]) -> list[Item]:
        return [item for item in items if item.mask is not None]

    def _part(self, pattern: str, split: str) -> str:
        return pattern.replace("{split}", self.splits.get(split, split))

    def _paired(self, image_pattern: str, mask_pattern: str) -> list[Item]:
        images, masks = _match(self.root, image_pattern), _match(self.root, mask_pattern)
        if len(image_pattern) < len(mask_pattern):
            images = _without(images, masks)
        else:
            masks = _without(masks, images)
        others = [path for path in images.values() if not is_image(path)]
        images = {key: path for key, path in images.items() if is_image(path)}
        if not images and others:
            raise SeglabError(
                f"{len(others)} files match {self.root / image_pattern}, but {FORMATS} alone are read: "
                f"{describe(others)}"
            )
        if not images:
            raise SeglabError(
                f"no image matches {self.root / image_pattern}: {_near(self.root, image_pattern)}check --data.root and "
                "--data.images"
            )
        shared = "{split}" in self.images and "{split}" not in self.masks  # by the images of all parts
        if not shared and (orphans := [path for key, path in masks.items() if key not in images]):
            raise SeglabError(
                f"{len(orphans)} masks have no image: {describe(orphans)}. Remove them, or check --data.images "
                f"{self.images!r} and --data.masks {self.masks!r}"
            )
        return [Item(key, path, masks.get(key)) for key, path in images.items()]


def _pattern(text: str) -> str:
    """The pattern in its shortest spelling.

    Raises:
        SeglabError: it is absolute, ``**`` is not a whole folder, or a choice has wildcards or no end.
    """
    if text.startswith("/"):
        raise SeglabError(f"pattern {text!r} is absolute: patterns are relative to --data.root")
    *folders, name = PurePosixPath(text).parts or ("",)
    if "**" in name or any("**" in folder and folder != "**" for folder in folders):
        raise SeglabError(f"pattern {text!r}: ** stands for whole folders, as in **/*.png")
    if any("*" in choice or "{" in choice for choice in CHOICE.findall(text)):
        raise SeglabError(f"pattern {text!r}: {{a,b}} chooses between plain texts, as in *.{{jpg,png}}")
    return "/".join([*folders, name])


def _choices(pattern: str) -> list[str]:
    """The patterns that one with ``{a,b}`` stands for."""
    found = CHOICE.search(pattern)
    if not found:
        return [pattern]
    start, end = found.span()
    return [other for text in found[1].split(",") for other in _choices(pattern[:start] + text + pattern[end:])]


def _match(root: Path, pattern: str) -> dict[str, Path]:
    """What the wildcards of ``pattern`` matched -> path, in path order."""
    found: dict[str, Path] = {}
    for choice in _choices(pattern):
        for key, path in _match_one(root, choice).items():
            if found.setdefault(key, path) != path:
                raise SeglabError(f"{found[key]} and {path} match {pattern} alike: rename or remove one of them")
    return dict(sorted(found.items(), key=lambda pair: pair[1])) if "{" in pattern else found


def _match_one(root: Path, pattern: str) -> dict[str, Path]:
    suffix = "" if "*" in PurePosixPath(pattern).suffix else PurePosixPath(pattern).suffix
    parts = WILDCARD.split(pattern.removesuffix(suffix))
    groups = {"**/": r"((?:[^/]+/)*)", "*": r"([^/]*)"}
    shape = re.compile("".join(groups.get(part) or re.escape(part) for part in parts) + f"(?i:{re.escape(suffix)})")
    any_case = "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else glob.escape(c) for c in suffix)
    found: dict[str, Path] = {}
    for path in sorted(root.glob("".join(part if part in groups else glob.escape(part) for part in parts) + any_case)):
        match = shape.fullmatch(path.relative_to(root).as_posix())
        if match and not path.name.startswith("."):
            key = "_".join(group.strip("/").replace("/", "_") for group in match.groups() if group)
            if key in found:
                raise SeglabError(f"{found[key]} and {path} match {pattern} alike: rename or remove one of them")
            found[key] = path
    return found


def _near(root: Path, pattern: str) -> str:
    """What lies in the folder of a pattern that matches nothing, or which part of the way is missing."""
    folder = root
    for part in PurePosixPath(pattern).parts[:-1]:
        if "*" in part or not folder.is_dir():
            break
        folder /= part
        if not folder.is_dir():
            there = (
                sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
            )
            return f"{folder} does not exist" + (f", {folder.parent} has {describe(there)}; " if there else "; ")
    if not folder.is_dir():
        return f"{folder} does not exist; "
    endings = Counter(path.suffix for path in folder.iterdir() if path.suffix and path.is_file())
    shown = describe([f"*{ending} ({count})" for ending, count in endings.most_common()])
    return f"{folder} has {shown}; " if endings else ""


def _without(found: dict[str, Path], taken: dict[str, Path]) -> dict[str, Path]:
    paths = set(taken.values())
    return {key: path for key, path in found.items() if path not in paths}
