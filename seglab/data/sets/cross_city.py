"""Cross-city: Rio, Rome, Taipei and Tokyo, with 13 of Cityscapes' classes."""

from typing import Any, Literal

from seglab.data.dataset import DataSet
from seglab.data.files import Item, paired
from seglab.labels import CITYSCAPES


class CrossCity(DataSet):
    """The cities of NTHU (Chen et al., ICCV 2017): 3,200 images without and 100 with masks each, 2048x1024.

    ``root/<city>/Images/{Train,Test}/*.png|jpg`` and ``root/<city>/Labels/Test/*_eval.png`` with Cityscapes' label ids,
    as the code of MaxSquareLoss reads them. Not checked on the files themselves: ``seglab data check`` says where masks
    hold train ids. Wall, fence, pole, terrain, truck and train do not occur: the score is mIoU13. Test is val.

    Args:
        city: Rio, Rome, Taipei or Tokyo.
    """

    space = CITYSCAPES
    layout = "<city>/Images/{Train,Test}/*.png|jpg and <city>/Labels/Test/*_eval.png"

    def __init__(self, root: str, city: Literal["Rio", "Rome", "Taipei", "Tokyo"] = "Rio", **common: Any) -> None:
        super().__init__(root, **common)
        self.city = city

    def find(self, split: str) -> list[Item]:
        part = "Train" if split == "train" else "Test"
        home = self.root / self.city
        return paired(home / "Images" / part, home / "Labels" / part, self.layout, "_eval")
