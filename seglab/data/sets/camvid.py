"""CamVid, the 11-class version that the SegNet authors distribute."""

from itertools import groupby
from typing import Any

from seglab.data.dataset import DataSet
from seglab.data.files import Item, beside, check_holdout, find_images
from seglab.labels import CAMVID
from seglab.types import SeglabError


class CamVid(DataSet):
    """CamVid (Brostow et al., 2009) with the 11 classes of SegNet: 367 train, 101 val, 233 test images of 480x360.

    ``root/{train,val,test}`` hold PNG or JPEG images, ``root/{train,val,test}annot`` PNG masks of the same stems with
    class indices 0-10 and 11 for void. File order follows the video sequences: 0001TP (dusk), 0006R0 and 0016E5 (day)
    in train, 0016E5 in val.

    Args:
        sequences: keep only files whose names begin so, in every part. Default: all. With the underscore, as in
            ``0016E5_``: YAML reads a bare 0016E5 as a number.
        holdout: 0: val is the folder ``val``. n: val is the last 1/n of each sequence of train, which train loses.
            Neighbouring frames are near-duplicates, so a part that is scattered over train would flatter.
        labeled_from: what ``labeled`` chooses from: training frames whose names begin so, as in ``sequences``. Default:
            all. The rest of all training frames is unlabeled either way, so that one drive can have the labels and
            the others none.
    """

    space = CAMVID
    layout = "{train,val,test}/*.png|jpg and {train,val,test}annot/*.png with the same names"

    def __init__(
        self,
        root: str,
        sequences: list[str] = [],  # noqa: B006 - read only, and the config shows it
        holdout: int = 0,
        labeled_from: list[str] = [],  # noqa: B006 - as above
        **common: Any,
    ) -> None:
        super().__init__(root, **common)
        check_holdout(holdout)
        self.sequences, self.holdout, self.labeled_from = sequences, holdout, labeled_from

    def find(self, split: str) -> list[Item]:
        if not self.holdout or split == "test":
            return self._part(split)
        parts: list[Item] = []
        for _, frames in groupby(self._part("train"), _sequence):
            sequence = list(frames)
            start = len(sequence) - len(sequence) // self.holdout
            parts += sequence[:start] if split == "train" else sequence[start:]
        return parts

    def candidates(self, items: list[Item]) -> list[Item]:
        if absent := [begin for begin in self.labeled_from if not any(item.key.startswith(begin) for item in items)]:
            there = ", ".join(sorted({_sequence(item) for item in items}))
            raise SeglabError(
                f"labeled_from: no training frame in {self.root} begins with {', '.join(absent)}; there are {there}"
            )
        return [item for item in items if not self.labeled_from or item.key.startswith(tuple(self.labeled_from))]

    def _part(self, folder: str) -> list[Item]:
        images = find_images(self.root / folder, f"set --data.root to a folder with {self.layout}")
        annotations = self.root / f"{folder}annot"
        frames = [Item(path.stem, path, beside(path, annotations)) for path in images]
        absent = [begin for begin in self.sequences if not any(frame.key.startswith(begin) for frame in frames)]
        if absent and (folder == "train" or len(absent) == len(self.sequences)):
            there = ", ".join(sorted({_sequence(frame) for frame in frames}))
            raise SeglabError(
                f"{self.root / folder} has no frame of {', '.join(absent)}, only of {there}: choose others, or for val "
                "set holdout"
            )
        return [frame for frame in frames if not self.sequences or frame.key.startswith(tuple(self.sequences))]


def _sequence(item: Item) -> str:
    return item.key.partition("_")[0]
