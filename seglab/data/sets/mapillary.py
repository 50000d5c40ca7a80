"""Mapillary Vistas: streets of the whole world."""

from pathlib import Path
from typing import Any, Literal

from seglab.data.dataset import DataSet
from seglab.data.files import Item, paired
from seglab.data.sets.names import MAPILLARY_1_2, MAPILLARY_2_0
from seglab.labels import LabelSpace, distinct_palette

NAMES = {"1.2": MAPILLARY_1_2, "2.0": MAPILLARY_2_0}
PARTS = {"train": "training", "val": "validation", "test": "testing"}


class MapillaryVistas(DataSet):
    """Mapillary Vistas (Neuhold et al., ICCV 2017): 18,000 train, 2,000 val, 5,000 test images of many sizes.

    ``root/{training,validation,testing}/images/*.jpg`` and ``root/{training,validation}/v1.2/labels/*.png`` or
    ``v2.0/labels``; of the older archive ``labels`` without a version is 1.2. Masks are palette PNGs of class indices;
    the last one, Unlabeled, is ignored. As Cityscapes' classes: the taxonomies ``mapillary_1_2_to_cityscapes`` and
    ``mapillary_2_0_to_cityscapes``.

    Args:
        version: 1.2 (65 classes) or 2.0 (123).
    """

    layout = (
        "{training,validation,testing}/images/*.jpg and {training,validation}/v1.2/labels/*.png (or v2.0, or labels)"
    )

    def __init__(self, root: str, version: Literal["1.2", "2.0"] = "1.2", **common: Any) -> None:
        self.space = mapillary_space(version)
        super().__init__(root, **common)
        self.version = version

    def find(self, split: str) -> list[Item]:
        home = self.root / PARTS[split]
        return paired(home / "images", self._labels(home), self.layout)

    def _labels(self, home: Path) -> Path:
        own = home / f"v{self.version}" / "labels"
        return home / "labels" if self.version == "1.2" and not own.is_dir() else own


def mapillary_space(version: str) -> LabelSpace:
    """Ids of masks are indices; the one behind the last class is Unlabeled."""
    names = NAMES[version]
    return LabelSpace(names, distinct_palette(len(names)), void=(len(names), 255))
