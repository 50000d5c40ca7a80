"""ADE20K as the scene parsing challenge of 2016 distributes it: 150 classes."""

from seglab.data.dataset import DataSet
from seglab.data.files import Item, below, paired
from seglab.data.sets.names import ADE20K as NAMES
from seglab.labels import LabelSpace, distinct_palette

PARTS = {"train": "training", "val": "validation", "test": "testing"}


class ADE20K(DataSet):
    """ADE20K (Zhou et al., CVPR 2017) with the 150 classes of the challenge: 20,210 train, 2,000 val images.

    ``root`` or ``root/ADEChallengeData2016`` holds ``images/{training,validation}/*.jpg`` and
    ``annotations/{training,validation}/*.png``, whose ids are 1 to 150; 0 is everything else, and ignored.
    """

    space = LabelSpace(NAMES, distinct_palette(150), {id: id - 1 for id in range(1, 151)}, (0, 255))
    layout = "images/{training,validation}/*.jpg and annotations/{training,validation}/*.png with the same names"

    def find(self, split: str) -> list[Item]:
        home = below(self.root, "ADEChallengeData2016", "images")
        part = PARTS[split]
        return paired(home / "images" / part, home / "annotations" / part, self.layout)
