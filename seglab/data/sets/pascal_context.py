"""Pascal Context: VOC's images of 2010 with every pixel labeled."""

from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item, below, describe, names_by_stem
from seglab.data.lists import listed
from seglab.data.sets.names import PASCAL_CONTEXT
from seglab.labels import LabelSpace, distinct_palette
from seglab.types import SeglabError


class PascalContext(DataSet):
    """Pascal Context (Mottaghi et al., CVPR 2014) with its 59 most frequent classes: 4,998 train, 5,105 val images.

    ``root``, ``root/VOC2010`` or ``root/VOCdevkit/VOC2010`` holds ``JPEGImages/*.jpg``,
    ``SegmentationClassContext/*.png`` with ids 1 to 59, 0 for the rest, and
    ``ImageSets/SegmentationContext/{train,val}.txt``, as mmsegmentation's converter writes them from the distributed
    ``trainval_merged.json``.

    Args:
        background: the rest (id 0) is a class of its own, the first of 60; otherwise it is ignored.
    """

    layout = "JPEGImages/*.jpg, SegmentationClassContext/*.png and ImageSets/SegmentationContext/{train,val}.txt"

    def __init__(self, root: str, background: bool = False, **common: Any) -> None:
        names, palette = PASCAL_CONTEXT, distinct_palette(59)
        if background:
            self.space = LabelSpace(("background", *names), ((0, 0, 0), *palette))
        else:
            self.space = LabelSpace(names, palette, {id: id - 1 for id in range(1, 60)}, (0, 255))
        super().__init__(root, **common)
        self.background = background

    def find(self, split: str) -> list[Item]:
        home = below(self.root, "VOCdevkit/VOC2010", "JPEGImages")
        home = below(home, "VOC2010", "JPEGImages")
        images, masks = names_by_stem(home / "JPEGImages"), names_by_stem(home / "SegmentationClassContext")
        if not images:
            raise SeglabError(f"{self.root} holds no JPEGImages: set --data.root to a folder with {self.layout}")
        lines = listed(home / "ImageSets" / "SegmentationContext" / f"{split}.txt")
        keys = [name.rpartition("/")[2].removesuffix(".jpg") for _, name in lines]
        if absent := [key for key in keys if key not in images]:
            raise SeglabError(f"{len(absent)} images of {split} are not in {home / 'JPEGImages'}: {describe(absent)}")
        folder = home / "SegmentationClassContext"
        return [
            Item(key, home / "JPEGImages" / images[key], folder / masks[key] if key in masks else None)
            for key in sorted(keys)
        ]
