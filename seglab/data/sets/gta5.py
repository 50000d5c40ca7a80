"""GTA5: rendered street scenes with Cityscapes' label ids."""

from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item, beside, check_holdout, find_images, source_part
from seglab.labels import CITYSCAPES


class GTA5(DataSet):
    """GTA5 (Richter et al., ECCV 2016): 24,966 images of 1914x1052, a labeled source domain.

    ``root/images/*.png|jpg`` and ``root/labels/*.png`` (palette PNGs that store Cityscapes' label ids). Some labels
    have another size than their image: training names the first it meets, ``seglab data check`` all; ``skip`` leaves
    out the images that a list names.

    Args:
        holdout: 0: no val part, which the source of a ``DomainAdaptation`` does not need. n: every n-th image is val
            and test, and not train.
    """

    space = CITYSCAPES
    layout = "images/*.png|jpg and labels/*.png with the same names"

    def __init__(self, root: str, holdout: int = 0, **common: Any) -> None:
        super().__init__(root, **common)
        check_holdout(holdout)
        self.holdout = holdout

    def find(self, split: str) -> list[Item]:
        images = find_images(self.root / "images", f"set the root of GTA5 to a folder with {self.layout}")
        items = [Item(path.stem, path, beside(path, self.root / "labels")) for path in images]
        return source_part(items, self.holdout, split, "GTA5")
