"""People's own data: two glob patterns and a class list, no code."""

import glob
import re
from pathlib import Path, PurePosixPath
from typing import Any

from seglab.data.dataset import SPLITS, DataSet
from seglab.data.files import Item, check_holdout, describe, hold_out, is_image
from seglab.labels import IGNORE, label_space
from seglab.types import SeglabError

WILDCARD = re.compile(r"(\*\*/|\*)")


class Folder(DataSet):
    """Your own images and masks.

    An image and a mask belong together when the wildcards of the two patterns match the same text, so
    ``images/*.jpg`` and ``masks/*_label.png`` pair ``images/a.jpg`` with ``masks/a_label.png``. One pattern
    or both may contain ``{split}``, which stands for train, val and test, or for the names in ``splits``; without it,
    every ``1/holdout``-th image with a mask is kept out of training and serves as val and test. Images without a mask
    are unlabeled. A file that both patterns match belongs to the longer one, so ``*.png`` and ``*_label.png`` may share
    a folder.

    Args:
        images: pattern below root, e.g. ``{split}/images/*.jpg``; ``*`` matches a part of one name, ``**/`` any number
            of folders, every other character itself; ``.jpg`` is ``.JPG`` too.
        masks: pattern below root of single-channel PNG masks that hold ids.
        classes: class names in index order.
        ids: id stored in the masks -> class name; default: the position in ``classes``. Several ids may share a name.
        void: ids in the masks that are ignored.
        splits: what ``{split}`` stands for, such as ``{train: training, val: validation}``; default: train, val, test.
        holdout: without ``{split}``, every holdout-th image with a mask is held out.

    Raises:
        SeglabError: the patterns have different wildcards or the class list and ids disagree.
    """

    def __init__(
        self,
        root: str,
        images: str,
        masks: str,
        classes: list[str],
        ids: dict[int, str] = {},  # noqa: B006 - read only, and the config shows it
        void: list[int] = [IGNORE],  # noqa: B006
        splits: dict[str, str] = {},  # noqa: B006
        holdout: int = 5,
        **common: Any,
    ) -> None:
        self.space = label_space(classes, ids, void)
        super().__init__(root, **common)
        images, masks = _pattern(images), _pattern(masks)
        if images == masks:
            raise SeglabError(f"images and masks are both {images!r}: nothing tells them apart")
        if WILDCARD.findall(images) != WILDCARD.findall(masks) or "*" not in images:
            raise SeglabError(f"images {images!r} and masks {masks!r} need the same wildcards, at least one *")
        if wrong := sorted(splits.keys() - set(SPLITS)):
            raise SeglabError(f"splits names {', '.join(wrong)}: give the folder names of {', '.join(SPLITS)}")
        if splits and "{split}" not in images + masks:
            raise SeglabError(f"splits {splits}: write {{split}} in images {images!r} or masks {masks!r}, or in both")
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
        part = hold_out(self._paired(self.images, self.masks), self.holdout, split)
        if split != "train" and not part:
            raise SeglabError(f"no mask matches {self.root / self.masks}: check --data.masks {self.masks!r}")
        return part

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
        images = {key: path for key, path in images.items() if is_image(path)}
        if not images:
            raise SeglabError(f"no image matches {self.root / image_pattern}: check --data.root and --data.images")
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
        SeglabError: it is absolute, or ``**`` is not a whole folder.
    """
    if text.startswith("/"):
        raise SeglabError(f"pattern {text!r} is absolute: patterns are relative to --data.root")
    *folders, name = PurePosixPath(text).parts or ("",)
    if "**" in name or any("**" in folder and folder != "**" for folder in folders):
        raise SeglabError(f"pattern {text!r}: ** stands for whole folders, as in **/*.png")
    return "/".join([*folders, name])


def _match(root: Path, pattern: str) -> dict[str, Path]:
    """What the wildcards of ``pattern`` matched -> path, in path order."""
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


def _without(found: dict[str, Path], taken: dict[str, Path]) -> dict[str, Path]:
    paths = set(taken.values())
    return {key: path for key, path in found.items() if path not in paths}
