"""IDD: driving in India."""

from pathlib import Path
from typing import Any, Literal

from seglab.data.dataset import DataSet
from seglab.data.files import Item, images_of_drives, names_by_stem
from seglab.data.sets.names import IDD_LEVEL_3
from seglab.labels import CITYSCAPES_TRAIN_IDS, LabelSpace, distinct_palette

SUFFIX = "_leftImg8bit"
SPACES = {
    "csTrainIds": CITYSCAPES_TRAIN_IDS,
    "level3Ids": LabelSpace(IDD_LEVEL_3, distinct_palette(len(IDD_LEVEL_3))),
}


class IDD(DataSet):
    """IDD (Varma et al., WACV 2019): about 7,000 train and 1,000 val images of 1920x1080, most of them.

    ``root/leftImg8bit/{train,val,test}/<drive>/*_leftImg8bit.png|jpg`` and
    ``root/gtFine/{train,val}/<drive>/*_gtFine_label<ids>.png``, which ``preperation/createLabels.py`` of AutoNUE's
    public code draws from the distributed polygons (``--id-type csTrainId`` or ``level3Id``). 255 is ignored.

    Args:
        ids: ``csTrainIds``: Cityscapes' 19 classes; ``level3Ids``: the 26 of IDD's third level.
    """

    layout = "leftImg8bit/{train,val,test}/<drive>/*_leftImg8bit.png|jpg and gtFine/.../*_gtFine_labelcsTrainIds.png"

    def __init__(self, root: str, ids: Literal["csTrainIds", "level3Ids"] = "csTrainIds", **common: Any) -> None:
        self.space = SPACES[ids]
        super().__init__(root, **common)
        self.ids = ids

    def find(self, split: str) -> list[Item]:
        items, masks = [], dict[Path, dict[str, str]]()
        remedy = f"set --data.root to a folder with {self.layout}"
        for image in images_of_drives(self.root / "leftImg8bit" / split, SUFFIX, remedy):
            drive, key = image.parent.name, image.stem.removesuffix(SUFFIX)
            folder = self.root / "gtFine" / split / drive
            if folder not in masks:
                masks[folder] = names_by_stem(folder)
            name = masks[folder].get(f"{key}_gtFine_label{self.ids}")
            items.append(Item(f"{drive}_{key}", image, folder / name if name else None))
        return items
