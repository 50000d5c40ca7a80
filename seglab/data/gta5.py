"""GTA5: rendered street scenes with Cityscapes' label ids."""

from seglab.data.datamodule import SegmentationData
from seglab.data.files import Item, beside, find_images
from seglab.labels import CITYSCAPES
from seglab.types import SeglabError


class GTA5(SegmentationData):
    """GTA5 (Richter et al., ECCV 2016): 24,966 images of 1914x1052, a labeled source domain.

    ``root/images/*.png|jpg`` and ``root/labels/*.png`` (palette PNGs that store Cityscapes' label ids). It has no
    validation part: use it as the source of ``DomainAdaptation``.
    """

    space = CITYSCAPES
    layout = "images/*.png|jpg and labels/*.png with the same names"

    def items(self, split: str) -> list[Item]:
        if split != "train":
            raise SeglabError(f"GTA5 has no {split} part: evaluate on the target of a DomainAdaptation instead")
        images = find_images(self.root / "images", f"set the root of GTA5 to a folder with {self.layout}")
        return [Item(path.stem, path, beside(path, self.root / "labels")) for path in images]
