"""Cityscapes: fine annotations, 19 trained classes."""

from seglab.data.datamodule import SegmentationData
from seglab.data.files import Item, is_image
from seglab.labels import CITYSCAPES
from seglab.types import SeglabError

SUFFIX = "_leftImg8bit"


class Cityscapes(SegmentationData):
    """Cityscapes (Cordts et al., CVPR 2016): 2975 train, 500 val, 1525 test images of 2048x1024.

    ``root/leftImg8bit/{train,val,test}/<city>/*_leftImg8bit.png`` and ``root/gtFine/...*_gtFine_labelIds.png``; raw
    label ids are mapped to the 19 classes while decoding. File order follows cities and sequences.
    """

    space = CITYSCAPES
    layout = "leftImg8bit/{train,val,test}/<city>/*_leftImg8bit.png and gtFine/.../*_gtFine_labelIds.png"

    def items(self, split: str) -> list[Item]:
        folder = self.root / "leftImg8bit" / split
        images = sorted(path for path in folder.glob(f"*/*{SUFFIX}.png") if is_image(path))
        if not images:
            raise SeglabError(f"{folder} holds no <city>/*{SUFFIX}.png: set --data.root to a folder with {self.layout}")
        items = []
        for image in images:
            key = image.stem.removesuffix(SUFFIX)
            mask = self.root / "gtFine" / split / image.parent.name / f"{key}_gtFine_labelIds.png"
            items.append(Item(key, image, mask if mask.is_file() else None))
        return items
