"""SYNTHIA: rendered street scenes with 16 of Cityscapes' classes."""

from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item, beside, check_holdout, find_images, source_part
from seglab.labels import SYNTHIA as SPACE


class SYNTHIA(DataSet):
    """SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9,400 images of 1280x760, a labeled source domain.

    ``root/RGB/*.png`` and ``root/GT/LABELS/*.png``, 16-bit colour PNGs whose red channel is the class. The classes are
    the 19 of Cityscapes, of which terrain, truck and train never occur: scores over the others are mIoU16, and mIoU13
    without wall, fence and pole. With experiments/taxonomy/cityscapes_16.yaml on both sides the network has 16 outputs.

    Args:
        holdout: 0: no val part, which the source of a ``DomainAdaptation`` does not need. n: every n-th image is val
            and test, and not train.
    """

    space = SPACE
    layout = "RGB/*.png and GT/LABELS/*.png with the same names"

    def __init__(self, root: str, holdout: int = 0, **common: Any) -> None:
        super().__init__(root, **common)
        check_holdout(holdout)
        self.holdout = holdout

    def find(self, split: str) -> list[Item]:
        images = find_images(self.root / "RGB", f"set the root of SYNTHIA to a folder with {self.layout}")
        items = [Item(path.stem, path, beside(path, self.root / "GT" / "LABELS")) for path in images]
        return source_part(items, self.holdout, split, "SYNTHIA")
