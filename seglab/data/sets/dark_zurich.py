"""Dark Zurich: driving at night, with Cityscapes' classes."""

from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item
from seglab.data.sets.acdc import anonymised
from seglab.data.sets.cityscapes import SPACES, Ids
from seglab.types import SeglabError

TIMES = ("night", "twilight", "day")


class DarkZurich(DataSet):
    """Dark Zurich (Sakaridis et al., ICCV 2019): 2416 unlabeled night, 50 val and 151 test images of 1920x1080.

    ``root/rgb_anon/{train,val,test}/night/<sequence>/*_rgb_anon.png``, ``root/rgb_anon/train/{twilight,day}/...`` and
    ``root/gt/val/night/<sequence>/*_gt_labelTrainIds.png``. Train has no masks: it is the target of a
    ``DomainAdaptation``. The masks of test are with its benchmark server; ``val_ref`` and ``test_ref`` are not read.

    Args:
        times: which training images: ``night``, ``twilight`` (2920 more), ``day`` (3041 more).
        ids: which masks are read: ``labelTrainIds`` or ``labelIds``.

    Raises:
        SeglabError: an unknown time, or none.
    """

    layout = "rgb_anon/{train,val,test}/night/<sequence>/*_rgb_anon.png and gt/val/night/.../*_gt_labelTrainIds.png"

    def __init__(
        self,
        root: str,
        times: list[str] = ["night"],  # noqa: B006 - read only, and the config shows it
        ids: Ids = "labelTrainIds",
        **common: Any,
    ) -> None:
        self.space = SPACES[ids]
        super().__init__(root, **common)
        if not times or set(times) - set(TIMES):
            raise SeglabError(f"times {times}: choose one or more of {', '.join(TIMES)}")
        self.times, self.ids = times, ids

    def find(self, split: str) -> list[Item]:
        times = self.times if split == "train" else ["night"]
        return anonymised(self.root, [f"{split}/{time}" for time in times], self.ids, self.layout)
