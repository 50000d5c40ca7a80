"""Cityscapes: fine annotations, 19 trained classes."""

from pathlib import Path
from typing import Any, Literal

from seglab.data.dataset import DataSet
from seglab.data.files import Item, images_in_subfolders, with_ids
from seglab.labels import CITYSCAPES, CITYSCAPES_TRAIN_IDS
from seglab.types import SeglabError

SUFFIX = "_leftImg8bit"
Ids = Literal["labelIds", "labelTrainIds"]
SPACES = {"labelIds": CITYSCAPES, "labelTrainIds": CITYSCAPES_TRAIN_IDS}


class Cityscapes(DataSet):
    """Cityscapes (Cordts et al., CVPR 2016): 2975 train, 500 val, 1525 test images of 2048x1024.

    ``root/leftImg8bit/{train,val,test}/<city>/*_leftImg8bit.png`` and ``root/gtFine/...*_gtFine_labelIds.png``; raw
    label ids are mapped to the 19 classes while decoding. File order follows cities and sequences.

    Args:
        ids: which masks are read: ``labelIds``, as distributed, or ``labelTrainIds``, as cityscapesScripts writes them.
        extra: the 19,998 images of ``leftImg8bit/train_extra`` are unlabeled training images too. Their coarse labels
            are not read.
    """

    layout = "leftImg8bit/{train,val,test}/<city>/*_leftImg8bit.png and gtFine/.../*_gtFine_labelIds.png"

    def __init__(self, root: str, ids: Ids = "labelIds", extra: bool = False, **common: Any) -> None:
        self.space = SPACES[ids]
        super().__init__(root, **common)
        self.ids, self.extra = ids, extra

    def find(self, split: str) -> list[Item]:
        found = with_ids(self._images(split), self.ids)
        if split == "train" and self.extra:
            found += [Item(key, image, None) for key, image, _ in self._images("train_extra")]
        return found

    def candidates(self, items: list[Item]) -> list[Item]:
        return [item for item in items if item.image.parents[1].name == "train"]

    def _images(self, split: str) -> list[tuple[str, Path, str]]:
        """Key, image, and the path of its mask up to the kind of ids."""
        folder = self.root / "leftImg8bit" / split
        images = images_in_subfolders(folder, SUFFIX)
        if not images:
            raise SeglabError(f"{folder} holds no <city>/*{SUFFIX}.png: set --data.root to a folder with {self.layout}")
        keys = [image.stem.removesuffix(SUFFIX) for image in images]
        masks = self.root / "gtFine" / split
        return [
            (key, image, f"{masks}/{image.parent.name}/{key}_gtFine_") for key, image in zip(keys, images, strict=True)
        ]
