"""LoveDA: land cover of towns and villages from above."""

from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item, paired
from seglab.labels import LabelSpace
from seglab.types import SeglabError

AREAS = ("Urban", "Rural")


class LoveDA(DataSet):
    """LoveDA (Wang et al., NeurIPS datasets 2021): 2,522 train, 1,669 val, 1,796 test images of 1024x1024.

    ``root/{Train,Val,Test}/{Urban,Rural}/images_png/*.png`` and ``.../masks_png/*.png`` with ids 1 to 7; 0 has no data
    and is ignored. The masks of Test are with its server. Urban to rural, its task of adaptation, is a source with
    ``areas: [Urban]`` and a target with ``areas: [Rural]``.

    Args:
        areas: Urban, Rural or both, in every part.

    Raises:
        SeglabError: an unknown area, or none.
    """

    space = LabelSpace(
        ("background", "building", "road", "water", "barren", "forest", "agriculture"),
        (
            (255, 255, 255), (255, 0, 0), (255, 255, 0), (0, 0, 255), (159, 129, 183), (0, 255, 0), (255, 195, 128),
        ),
        {id: id - 1 for id in range(1, 8)},
        (0, 255),
    )  # fmt: skip
    layout = "{Train,Val,Test}/{Urban,Rural}/images_png/*.png and .../masks_png/*.png with the same names"

    def __init__(
        self,
        root: str,
        areas: list[str] = ["Urban", "Rural"],  # noqa: B006 - read only, and the config shows it
        **common: Any,
    ) -> None:
        super().__init__(root, **common)
        if not areas or set(areas) - set(AREAS):
            raise SeglabError(f"areas {areas}: choose one or both of {', '.join(AREAS)}")
        self.areas = areas

    def find(self, split: str) -> list[Item]:
        folders = [self.root / split.capitalize() / area for area in self.areas]
        parts = [paired(folder / "images_png", folder / "masks_png", self.layout) for folder in folders]
        return [item for part in parts for item in part]
