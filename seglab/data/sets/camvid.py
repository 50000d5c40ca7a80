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
    """

    space = CAMVID
    layout = "{train,val,test}/*.png|jpg and {train,val,test}annot/*.png with the same names"

    def __init__(
        self,
        root: str,
        sequences: list[str] = [],  # noqa: B006 - read only, and the config shows it
        holdout: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(root, **common)
        check_holdout(holdout)
        self.sequences, self.holdout = sequences, holdout

    def find(self, split: str) -> list[Item]:
        if not self.holdout or split == "test":
            return self._part(split)
        parts: list[Item] = []
        for _, frames in groupby(self._part("train"), _sequence):
            sequence = list(frames)
            start = len(sequence) - len(sequence) // self.holdout
            parts += sequence[:start] if split == "train" else sequence[start:]
        return parts

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
