"""People's own data: two glob patterns and a class list, no code."""

import re
from pathlib import Path
from typing import Any

from seglab.data.datamodule import SegmentationData
from seglab.data.files import IMAGE_SUFFIXES, Item, describe
from seglab.labels import IGNORE, label_space
from seglab.types import SeglabError


class Folder(SegmentationData):
    """Your own images and masks.

    An image and a mask belong together when the wildcards of the two patterns match the same text, so
    ``images/*.jpg`` and ``masks/*_label.png`` pair ``images/a.jpg`` with ``masks/a_label.png``. A pattern may contain
    ``{split}``, which stands for train, val and test; without it, every ``1/holdout``-th image with a mask is kept out
    of training and serves as val and test. Images without a mask are unlabeled.

    Args:
        images: pattern below root, e.g. ``{split}/images/*.jpg``; ``**/`` matches any number of folders.
        masks: pattern below root of single-channel PNG masks that hold ids.
        classes: class names in index order.
        ids: id stored in the masks -> class name; default: the position in ``classes``. Several ids may share a name.
        void: ids in the masks that are ignored.
        holdout: without ``{split}``, every holdout-th image with a mask is held out.

    Raises:
        SeglabError: the patterns have different numbers of wildcards or the class list and ids disagree.
    """

    def __init__(
        self,
        root: str,
        images: str,
        masks: str,
        classes: list[str],
        ids: dict[int, str] = {},  # noqa: B006 - read only, and the config shows it
        void: list[int] = [IGNORE],  # noqa: B006
        holdout: int = 5,
        **common: Any,
    ) -> None:
        super().__init__(root, **common)
        if images.count("*") != masks.count("*") or "*" not in images:
            raise SeglabError(f"images {images!r} and masks {masks!r} need the same wildcards, at least one *")
        if ("{split}" in images) != ("{split}" in masks):
            raise SeglabError(f"images {images!r} and masks {masks!r}: use {{split}} in both or in neither")
        if holdout < 2:
            raise SeglabError(f"holdout {holdout} leaves nothing to train on: 5 keeps every fifth image out")
        self.space = label_space(classes, ids, void)
        self.images, self.masks, self.holdout = images, masks, holdout
        self.layout = f"{images} with masks {masks}"

    def items(self, split: str) -> list[Item]:
        if "{split}" in self.images:
            return self._paired(self.images.replace("{split}", split), self.masks.replace("{split}", split))
        items = self._paired(self.images, self.masks)
        held_out = [item for item in items if item.mask is not None][:: self.holdout]
        if split != "train":
            return held_out
        keys = {item.key for item in held_out}
        return [item for item in items if item.key not in keys]

    def candidates(self, items: list[Item]) -> list[Item]:
        return [item for item in items if item.mask is not None]

    def _paired(self, image_pattern: str, mask_pattern: str) -> list[Item]:
        images = _match(self.root, image_pattern)
        images = {key: path for key, path in images.items() if path.suffix.lower() in IMAGE_SUFFIXES}
        if not images:
            raise SeglabError(f"no image matches {self.root / image_pattern}: check --data.root and --data.images")
        masks = _match(self.root, mask_pattern)
        if not masks:
            raise SeglabError(f"no mask matches {self.root / mask_pattern}: check --data.masks")
        if orphans := [path for key, path in masks.items() if key not in images]:
            raise SeglabError(f"{len(orphans)} masks have no image: {describe(orphans)}")
        return [Item(key, path, masks.get(key)) for key, path in images.items()]


def _match(root: Path, pattern: str) -> dict[str, Path]:
    """What the wildcards of ``pattern`` matched -> path, in path order."""
    parts = re.split(r"(\*\*/|\*)", pattern)
    wildcards = {"**/": r"((?:[^/]+/)*)", "*": r"([^/]*)"}
    shape = re.compile("".join(wildcards.get(part, re.escape(part)) for part in parts))
    found: dict[str, Path] = {}
    for path in sorted(root.glob(pattern)):
        if match := shape.fullmatch(path.relative_to(root).as_posix()):
            key = "_".join(group.strip("/").replace("/", "_") for group in match.groups() if group)
            if key in found:
                raise SeglabError(f"{found[key]} and {path} match {pattern} alike: make the pattern name one of them")
            found[key] = path
    return found
