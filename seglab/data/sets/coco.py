"""COCO of 2017: its 80 things and the rest, or things and stuff."""

from typing import Any, Literal

from seglab.data.dataset import DataSet
from seglab.data.files import Item, paired
from seglab.data.sets.names import COCO_STUFF, COCO_THINGS
from seglab.labels import LabelSpace, distinct_palette
from seglab.types import SeglabError

PARTS = {"train": "train2017", "val": "val2017"}
ABSENT = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}  # category ids of things that were never annotated
THING_IDS = [id for id in range(1, 91) if id not in ABSENT]  # of COCO's annotations
STUFF_IDS = range(92, 183)


class COCO(DataSet):
    """COCO (Lin et al., ECCV 2014) with 81 classes: background and the 80 things; 118,287 train, 5,000 val images.

    ``root/{train2017,val2017}/*.jpg`` and ``root/masks/*.png`` of the same names, both parts in one folder, as
    UniMatch, UniMatch V2 and CorrMatch distribute them: 0 is background, 1 to 80 are the things in the order of their
    category ids, 255 is ignored. Their lists of labeled and unlabeled images are read as they are. COCO's own
    annotations are polygons, which ``pycocotools`` draws.
    """

    space = LabelSpace(("background", *COCO_THINGS), ((0, 0, 0), *distinct_palette(80)))
    layout = "{train2017,val2017}/*.jpg and masks/*.png with the same names"

    def find(self, split: str) -> list[Item]:
        return paired(self.root / _part(split), self.root / "masks", self.layout)


class COCOStuff(DataSet):
    """COCO-Stuff (Caesar et al., CVPR 2018) with 171 classes, 80 things and 91 of stuff, on COCO's images of 2017.

    ``root/images/{train2017,val2017}/*.jpg`` and ``root/annotations/{train2017,val2017}/*.png`` as
    ``stuffthingmaps_trainval2017.zip`` unpacks there.

    Args:
        ids: ``original``: category id - 1, as distributed; ``labelTrainIds``: 0 to 170, as mmsegmentation converts them
            to ``*_labelTrainIds.png``. 255 is ignored in both.
    """

    layout = "images/{train2017,val2017}/*.jpg and annotations/{train2017,val2017}/*.png with the same names"

    def __init__(self, root: str, ids: Literal["original", "labelTrainIds"] = "original", **common: Any) -> None:
        stored = {id - 1: index for index, id in enumerate([*THING_IDS, *STUFF_IDS])} if ids == "original" else {}
        self.space = LabelSpace((*COCO_THINGS, *COCO_STUFF), distinct_palette(171), stored)
        super().__init__(root, **common)
        self.ids = ids

    def find(self, split: str) -> list[Item]:
        part, ending = _part(split), "" if self.ids == "original" else "_labelTrainIds"
        return paired(self.root / "images" / part, self.root / "annotations" / part, self.layout, ending)


def _part(split: str) -> str:
    if split not in PARTS:
        raise SeglabError(f"COCO's {split} part has no masks: score val")
    return PARTS[split]
