"""CamVid, the 11-class version that the SegNet authors distribute."""

from seglab.data.datamodule import SegmentationData
from seglab.data.files import Item, beside, find_images
from seglab.labels import CAMVID


class CamVid(SegmentationData):
    """CamVid (Brostow et al., 2009) with the 11 classes of SegNet: 367 train, 101 val, 233 test images of 480x360.

    ``root/{train,val,test}`` hold PNG or JPEG images, ``root/{train,val,test}annot`` PNG masks of the same stems with
    class indices 0-10 and 11 for void. File order follows the video sequences.
    """

    space = CAMVID
    layout = "{train,val,test}/*.png|jpg and {train,val,test}annot/*.png with the same names"

    def items(self, split: str) -> list[Item]:
        images = find_images(self.root / split, f"set --data.root to a folder with {self.layout}")
        annotations = self.root / f"{split}annot"
        return [Item(path.stem, path, beside(path, annotations)) for path in images]
