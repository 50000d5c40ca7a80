"""Synscapes: photorealistic rendered street scenes with Cityscapes' label ids."""

from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item, beside, check_holdout, find_images, source_part
from seglab.labels import CITYSCAPES


class Synscapes(DataSet):
    """Synscapes (Wrenninge and Unger, 2018): 25,000 images of 1440x720, a labeled source domain.

    ``root/img/rgb/*.png`` and ``root/img/class/*.png``, which store Cityscapes' label ids. ``img/rgb-2k`` is not read:
    its images are larger than the labels.

    Args:
        holdout: 0: no val part, which the source of a ``DomainAdaptation`` does not need. n: every n-th image is val
            and test, and not train.
    """

    space = CITYSCAPES
    layout = "img/rgb/*.png and img/class/*.png with the same names"

    def __init__(self, root: str, holdout: int = 0, **common: Any) -> None:
        super().__init__(root, **common)
        check_holdout(holdout)
        self.holdout = holdout

    def find(self, split: str) -> list[Item]:
        images = find_images(self.root / "img" / "rgb", f"set the root of Synscapes to a folder with {self.layout}")
        items = [Item(path.stem, path, beside(path, self.root / "img" / "class")) for path in images]
        return source_part(items, self.holdout, split, "Synscapes")
