"""The aerial images of Potsdam and Vaihingen of ISPRS: six classes in colours."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from seglab.data.dataset import DataSet
from seglab.data.files import Item, describe, names_by_stem
from seglab.labels import colour_space
from seglab.types import SeglabError

COLOURS = {
    "impervious surface": (255, 255, 255),
    "building": (0, 0, 255),
    "low vegetation": (0, 255, 255),
    "tree": (0, 255, 0),
    "car": (255, 255, 0),
    "clutter": (255, 0, 0),
}
VAL = {  # of the official division; the others train
    "potsdam": [
        "2_13",
        "2_14",
        "3_13",
        "3_14",
        "4_13",
        "4_14",
        "4_15",
        "5_13",
        "5_14",
        "5_15",
        "6_13",
        "6_14",
        "6_15",
        "7_13",
    ],
    "vaihingen": ["2", "4", "6", "8", "10", "12", "14", "16", "20", "22", "24", "27", "29", "31", "33", "35", "38"],
}
NAMES = {  # before and after the number of a tile: of images, masks, masks without boundaries
    "potsdam": ("top_potsdam_", ("_RGB", "_label", "_label_noBoundary")),
    "vaihingen": ("top_mosaic_09cm_area", ("", "", "_noBoundary")),
}


class ISPRS(DataSet):
    """The 2D semantic labeling contest of ISPRS: Potsdam (38 tiles of 6000x6000) or Vaihingen (33 of about 2500x2000).

    ``root/<images>/top_potsdam_2_10_RGB.tif`` and ``root/<masks>/top_potsdam_2_10_label.tif``, or
    ``top_mosaic_09cm_area1.tif`` in both folders, as distributed: masks of colours, black where boundaries
    are left out.
    The 14 and 17 tiles of the contest's test part, whose masks are public now, are val and test. Decode the tiles once
    (``seglab data cache``): a crop would read 36 megapixels each time. mIoU5 is the mean without clutter, as papers
    report it.

    Args:
        area: ``potsdam`` or ``vaihingen``.
        images: folder of the images below root; ``2_Ortho_RGB`` of Potsdam, ``top`` of Vaihingen.
        masks: folder of the masks below root; ``5_Labels_all`` of Potsdam, ``gts_for_participants`` of Vaihingen.
        boundaries: False: masks without boundaries (``_noBoundary``), of a folder that ``masks`` names.
    """

    space = replace(colour_space(list(COLOURS), COLOURS, [(0, 0, 0)]), subsets={"mIoU5": (0, 1, 2, 3, 4)})
    layout = "2_Ortho_RGB/top_potsdam_*_RGB.tif and 5_Labels_all/top_potsdam_*_label.tif, or as Vaihingen's"

    def __init__(
        self,
        root: str,
        area: Literal["potsdam", "vaihingen"] = "potsdam",
        images: str = "",
        masks: str = "",
        boundaries: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(root, **common)
        folders = ("2_Ortho_RGB", "5_Labels_all") if area == "potsdam" else ("top", "gts_for_participants")
        self.area, self.boundaries = area, boundaries
        self.images, self.masks = self.root / (images or folders[0]), self.root / (masks or folders[1])

    def find(self, split: str) -> list[Item]:
        before, (of_image, whole, eroded) = NAMES[self.area]
        pictures = self._tiles(self.images, before, of_image)
        masks = self._tiles(self.masks, before, whole if self.boundaries else eroded)
        chosen = [tile for tile in pictures if (tile in VAL[self.area]) != (split == "train")]
        if not chosen:
            raise SeglabError(f"{self.images} has no tile of {split}, only {describe(list(pictures))}")
        return [Item(f"{self.area}_{tile}", pictures[tile], masks.get(tile)) for tile in chosen]

    def _tiles(self, folder: Path, before: str, after: str) -> dict[str, Path]:
        """Number of a tile -> its file."""
        names = names_by_stem(folder)
        found = {
            stem.removeprefix(before).removesuffix(after): folder / name
            for stem, name in names.items()
            if stem.startswith(before) and stem.endswith(after)
        }
        tiles = {tile: path for tile, path in found.items() if tile.replace("_", "").isdigit()}
        if not tiles:
            raise SeglabError(
                f"{folder} holds no {before}*{after}.tif: set --data.root to a folder with {self.layout}, or name its "
                "folders with --data.images and --data.masks"
            )
        return dict(sorted(tiles.items(), key=lambda pair: [int(part) for part in pair[0].split("_")]))
