"""ACDC, the driving set: fog, night, rain and snow, with Cityscapes' classes."""

from pathlib import Path
from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item, images_in_subfolders, with_ids
from seglab.data.sets.cityscapes import SPACES, Ids
from seglab.types import SeglabError

CONDITIONS = ("fog", "night", "rain", "snow")
SUFFIX = "_rgb_anon"


class ACDC(DataSet):
    """ACDC (Sakaridis et al., ICCV 2021): 1600 train, 406 val, 2000 test images of 1920x1080 in adverse conditions.

    Not the cardiac MRI set of the same name (Automated Cardiac Diagnosis Challenge): export its slices to PNGs, and
    read them by ``Folder``.

    ``root/rgb_anon/{fog,night,rain,snow}/{train,val,test}/<sequence>/*_rgb_anon.png`` and
    ``root/gt/.../*_gt_labelTrainIds.png``; the masks of test are with its benchmark server. The reference images in
    fair weather (``*_ref``) are not read.

    Args:
        conditions: which of the four, in every part.
        ids: which masks are read: ``labelTrainIds`` or ``labelIds``.

    Raises:
        SeglabError: an unknown condition, or none.
    """

    layout = "rgb_anon/<condition>/{train,val,test}/<sequence>/*_rgb_anon.png and gt/.../*_gt_labelTrainIds.png"

    def __init__(
        self,
        root: str,
        conditions: list[str] = ["fog", "night", "rain", "snow"],  # noqa: B006 - read only, and the config shows it
        ids: Ids = "labelTrainIds",
        **common: Any,
    ) -> None:
        self.space = SPACES[ids]
        super().__init__(root, **common)
        if not conditions or set(conditions) - set(CONDITIONS):
            raise SeglabError(f"conditions {conditions}: choose one or more of {', '.join(CONDITIONS)}")
        self.conditions, self.ids = conditions, ids

    def find(self, split: str) -> list[Item]:
        folders = [f"{condition}/{split}" for condition in self.conditions]
        return anonymised(self.root, folders, self.ids, self.layout)


def anonymised(root: Path, folders: list[str], ids: str, layout: str) -> list[Item]:
    """Items of ``root/rgb_anon/<folder>/<sequence>`` with their masks of ``root/gt``, as ACDC and Dark Zurich lie.

    Raises:
        SeglabError: a folder holds no image, or there are masks of the other kind of ids only.
    """
    found = []
    for folder in folders:
        images = images_in_subfolders(root / "rgb_anon" / folder, SUFFIX)
        if not images:
            raise SeglabError(
                f"{root / 'rgb_anon' / folder} holds no <sequence>/*{SUFFIX}.png: set --data.root to a folder with "
                f"{layout}"
            )
        for image in images:
            key = image.stem.removesuffix(SUFFIX)
            found.append((key, image, f"{root / 'gt' / folder / image.parent.name / key}_gt_"))
    return with_ids(found, ids)
