"""Predictions as files: what benchmark servers read, or the ids that the data set stores and a picture for people."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from seglab.files import remove_partial, write_whole
from seglab.labels import CITYSCAPES, IGNORE, VOC, LabelSpace, distinct_palette
from seglab.pictures import overlay, write_image
from seglab.types import SeglabError

FORMATS = ("ids", "cityscapes", "acdc", "voc")
FRAME = re.compile(r"(.+_\d{6}_\d{6})(?:_.*)?")  # the part of a Cityscapes name that its server pairs files by
VOC_PALETTE = np.array([(0, 0, 0), *distinct_palette(255)], np.uint8)  # 256 x RGB


@dataclass(frozen=True)
class Export:
    """A folder of predictions, one PNG of the original image size per image.

    Formats:
        ``ids``: the ids, or colours, that the data set stores (the first of each class), and ``<name>_overlay.jpg``.
        ``cityscapes``: Cityscapes' labelIds, whatever ids the data set stores, named ``<city>_<seq>_<frame>.png``.
        ``acdc``: class indices (Cityscapes' train ids), named as the image, for ACDC and Dark Zurich.
        ``voc``: class indices in a palette PNG of Pascal VOC's colours.

    A server counts every file, so a server's format is only written to a folder that holds nothing else; files of
    the same names are replaced, so a command that died may be given again. ``ids`` replaces its own names and leaves
    other files alone. A file is there whole or not at all.

    Attributes:
        folder: created if missing.
        space: how class indices are stored and coloured.
        format: one of ``FORMATS``.
        names: key of an image -> file name without ending (``file_names``); for keys that it lacks, the key.
    """

    folder: Path
    space: LabelSpace
    format: str = "ids"
    names: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise SeglabError(f"--format {self.format!r}: give one of {', '.join(FORMATS)}")
        foreign = [name for name in self.space.names if name not in CITYSCAPES.names]
        if self.format == "cityscapes" and foreign:
            raise SeglabError(
                f"--format cityscapes: {', '.join(foreign)} are no classes of Cityscapes, so it has no ids for them; "
                "--format ids writes the ids of the data set"
            )
        if self.format == "acdc" and self.space.names != CITYSCAPES.names:
            raise SeglabError(
                "--format acdc writes class indices as Cityscapes' 19 classes number them, but the label space is "
                f"{', '.join(self.space.names)}; --format ids writes the ids of the data set"
            )

    @property
    def draws(self) -> bool:
        """Whether it writes overlays, which need the image."""
        return self.format == "ids"

    @cached_property
    def table(self) -> np.ndarray:
        """Look-up table (256,) uint8: class index -> what the file holds."""
        if self.format == "ids":
            return self.space.encode
        table = np.full(256, IGNORE, np.uint8)
        table[: self.space.num_classes] = (
            [CITYSCAPES.encode[CITYSCAPES.names.index(name)] for name in self.space.names]
            if self.format == "cityscapes"
            else np.arange(self.space.num_classes)
        )
        return table

    @cached_property
    def _palette(self) -> np.ndarray | None:
        """256 x RGB: the colours that the data set stores, where it stores colours."""
        if self.format != "ids" or not self.space.stored_colours:
            return None
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.space.stored_colours)] = self.space.stored_colours
        return palette

    def __str__(self) -> str:
        return f"{len(self.names or {})} predictions written to {self.folder} ({self.format})"

    def warnings(self) -> list[str]:
        """What a server would hold against these files."""
        names = self.space.names
        if self.format == "cityscapes" and (missing := [name for name in CITYSCAPES.names if name not in names]):
            return [
                f"the label space lacks {', '.join(missing)}: a server scores them 0 wherever they occur, "
                "so these files are no fair entry"
            ]
        if self.format == "voc" and names != VOC.names:
            return [f"these are not the classes of Pascal VOC ({', '.join(names)}): its server would misread them"]
        merged = {
            names[index]: [stored for stored, other in self.space.ids.items() if other == index]
            for index in set(self.space.ids.values())
        }
        if self.format == "ids" and (
            without := [n for n, id_ in zip(names, self.table, strict=False) if id_ == IGNORE]
        ):
            return [f"no stored id stands for {', '.join(without)}: pixels of it are written as {IGNORE}"]
        if self.format == "ids" and (several := [name for name, stored in merged.items() if len(stored) > 1]):
            return [f"several ids stand for {', '.join(several)}: the lowest is written, which no server expects"]
        return []

    def open(self, names: Sequence[str]) -> None:
        """Create the folder for files of these names; remove what a killed process left unfinished.

        Raises:
            SeglabError: two images would share a file, the folder cannot be written, or it holds other files and the
                format is a server's.
        """
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise SeglabError(
                f"several images would be written to {repeated[0]}.png: give --images a folder with one image per frame"
            )
        own = {file for name in names for file in self._files(name)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_partial(self.folder)
            found = sorted(path.name for path in self.folder.iterdir())
        except OSError as error:
            raise SeglabError(f"cannot write to {self.folder} ({error.strerror}): choose another folder") from error
        foreign = [name for name in found if name not in own and not name.startswith(".")]
        if foreign and self.format != "ids":
            raise SeglabError(
                f"{self.folder} holds {len(foreign)} files of something else ({foreign[0]}), "
                "which a server would count: choose an empty folder"
            )

    def _files(self, name: str) -> list[str]:
        return [f"{name}.png", *([f"{name}_overlay.jpg"] if self.draws else [])]

    def overlays(self) -> Iterator[np.ndarray]:
        """The overlays that were written, H W 3 uint8, in the order of the images."""
        for name in (self.names or {}).values():
            yield np.asarray(Image.open(self.folder / f"{name}_overlay.jpg"))

    def write(
        self,
        key: str,
        prediction: np.ndarray,
        image: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
    ) -> None:
        """Write the files of one image.

        Args:
            key: of the image; may hold dots.
            prediction: H W uint8 class indices.
            image: H W 3 uint8; needed where ``draws``.
            probabilities: K H W float16, written to ``<name>.npz`` under this name.

        Raises:
            SeglabError: the folder cannot be written.
        """
        name = (self.names or {}).get(key, key)
        try:
            palette = VOC_PALETTE if self.format == "voc" else self._palette
            write_image(self.folder / f"{name}.png", self.table[prediction], palette)
            if image is not None and self.draws:
                write_image(self.folder / f"{name}_overlay.jpg", overlay(image, prediction, self.space.colours))
            if probabilities is not None:
                write_whole(self.folder / f"{name}.npz", lambda file: np.savez(file, probabilities=probabilities))
        except OSError as error:
            raise SeglabError(f"cannot write {self.folder / name}.png ({error.strerror}): make room") from error


def file_name(key: str, image: Path, format: str) -> str:
    """The name, without ending, that a format gives to the prediction of an image."""
    if format == "acdc":
        return image.stem
    frame = FRAME.fullmatch(key) if format == "cityscapes" else None
    return frame[1] if frame else key
