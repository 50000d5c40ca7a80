"""Pascal VOC 2012, with or without the further masks of SBD."""

from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from seglab.data.dataset import DataSet
from seglab.data.files import Item, describe, names_by_stem
from seglab.data.lists import listed
from seglab.labels import VOC as SPACE
from seglab.types import SeglabError

MASKS = ("SegmentationClass", "SegmentationClassAug")  # in this order: VOC's own mask before SBD's
BLENDED = ("train_aug.txt", "trainaug.txt")


class VOC(DataSet):
    """Pascal VOC 2012 (Everingham et al.): 1449 val images, 10,582 train with SBD's masks (Hariharan, ICCV 2011).

    ``root``, ``root/VOC2012`` or ``root/VOCdevkit/VOC2012`` holds ``JPEGImages/*.jpg``; masks are
    ``SegmentationClass/*.png`` (palette or grey PNGs) and, for what is not there, ``SegmentationClassAug/*.png``. So
    the devkit alone works, the devkit with a folder of SBD's masks beside its own, and one folder of all 12,031 masks.

    Parts are lists in ``ImageSets/Segmentation``, of bare names or of ``image mask`` pairs. Training images are those
    of ``train_aug.txt`` or ``trainaug.txt``; without such a list, every image with a mask that is not in ``val.txt``:
    10,582 with SBD's masks, the 1464 of ``train.txt`` without. Images are in the order of their names, so ``1/16``,
    ``1/8``, ``1/4`` and ``1/2`` of ``train_aug`` are the very lists of CPS.

    Args:
        labeled_from: what ``labeled`` chooses from: ``train_aug`` (blended: 1/16 is 662) or ``train``, whose masks are
            VOC's own (classic: 92, 183, 366, 732 or 1464). Default: ``train`` for a number of images, else
            ``train_aug``. The rest of all training images is unlabeled either way.
    """

    space = SPACE
    layout = (
        "JPEGImages/*.jpg, SegmentationClass/*.png (SBD's masks there or in SegmentationClassAug) and "
        "ImageSets/Segmentation/{train,val}.txt"
    )

    def __init__(self, root: str, labeled_from: Literal["train_aug", "train"] | None = None, **common: Any) -> None:
        super().__init__(root, **common)
        self.labeled_from = labeled_from

    def find(self, split: str) -> list[Item]:
        home = self._home()
        masks = self._masks
        keys = self._training(home) if split == "train" else self._listed(home, f"{split}.txt")
        if absent := sorted(keys - self._images.keys()):
            raise SeglabError(f"{len(absent)} images of {split} are not in {home / 'JPEGImages'}: {describe(absent)}")
        folder = home / "JPEGImages"
        return [
            Item(key, folder / self._images[key], home / masks[key] if key in masks else None) for key in sorted(keys)
        ]

    @cached_property
    def _images(self) -> dict[str, str]:
        return names_by_stem(self._home() / "JPEGImages")

    @cached_property
    def _masks(self) -> dict[str, str]:
        home, found = self._home(), dict[str, str]()
        for folder in reversed(MASKS):
            found |= {stem: f"{folder}/{name}" for stem, name in names_by_stem(home / folder).items()}
        return found

    def candidates(self, items: list[Item]) -> list[Item]:
        if (self.labeled_from or ("train" if self.labeled.isdecimal() else "train_aug")) == "train_aug":
            return items
        train = self._listed(self._home(), "train.txt")
        return [item for item in items if item.key in train]

    def _home(self) -> Path:
        places = [self.root, self.root / "VOC2012", self.root / "VOCdevkit" / "VOC2012"]
        for place in places:
            if (place / "JPEGImages").is_dir():
                return place
        raise SeglabError(f"{self.root} holds no JPEGImages: set --data.root to a folder with {self.layout}")

    def _training(self, home: Path) -> set[str]:
        validation = self._listed(home, "val.txt")
        name = next((name for name in BLENDED if (home / "ImageSets" / "Segmentation" / name).is_file()), None)
        if name is None:
            return self._masks.keys() - validation
        keys = self._listed(home, name)
        if both := sorted(keys & validation):
            raise SeglabError(f"{len(both)} images are in {name} and in val.txt of {home}: {describe(both)}")
        return keys

    def _listed(self, home: Path, name: str) -> set[str]:
        path = home / "ImageSets" / "Segmentation" / name
        if not path.is_file():
            raise SeglabError(f"{path} does not exist: copy the list from the VOC devkit, one image per line")
        return {PurePosixPath(image).name.removesuffix(".jpg") for _, image in listed(path)}
