"""BDD100K: driving in the United States, with Cityscapes' classes."""

from seglab.data.dataset import DataSet
from seglab.data.files import Item, below, paired
from seglab.labels import CITYSCAPES_TRAIN_IDS


class BDD100K(DataSet):
    """BDD100K (Yu et al., CVPR 2020), the 10,000 images with masks: 7,000 train, 1,000 val, 2,000 test of 1280x720.

    ``root`` or ``root/bdd100k`` holds ``images/10k/{train,val,test}/*.jpg`` and
    ``labels/sem_seg/masks/{train,val}/*.png`` with train ids, 255 ignored; or, of the release of 2018,
    ``seg/images/{train,val,test}/*.jpg`` and ``seg/labels/{train,val}/*_train_id.png``.
    """

    space = CITYSCAPES_TRAIN_IDS
    layout = "images/10k/{train,val,test}/*.jpg and labels/sem_seg/masks/{train,val}/*.png with the same names"

    def find(self, split: str) -> list[Item]:
        home = below(self.root, "bdd100k", "images", "seg")
        if (home / "seg" / "images").is_dir():
            return paired(home / "seg/images" / split, home / "seg/labels" / split, self.layout, "_train_id")
        return paired(home / "images/10k" / split, home / "labels/sem_seg/masks" / split, self.layout)
