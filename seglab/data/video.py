"""Frames of video files, read and written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seglab.data.files import Item
from seglab.types import SeglabError

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
CODEC = "mp4v"


class Video:
    """Reads frames as ``decode.Files`` reads images, forwards, so that each is decoded once.

    Args:
        path: of a video file.

    Raises:
        SeglabError: it cannot be read, or has no frame.
    """

    scale = 1.0

    def __init__(self, path: Path) -> None:
        self.path = path
        capture = self._open()
        self.rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        count = 0
        while capture.grab():  # the header may be wrong
            count += 1
        if not count:
            raise SeglabError(f"{path} holds no frame that can be decoded: convert it to MP4 (H.264)")
        self.items = [Item(f"{path.stem}_{number:06d}", path, None) for number in range(count)]
        self._numbers = {item.key: number for number, item in enumerate(self.items)}
        self._capture: cv2.VideoCapture | None = None
        self._next = 0

    def image(self, item: Item) -> np.ndarray:
        """H W 3 uint8 RGB.

        Raises:
            SeglabError: the frame cannot be decoded.
        """
        number = self._numbers[item.key]
        if self._capture is None or number < self._next:
            self._capture, self._next = self._open(), 0
        while self._next < number and self._capture.grab():
            self._next += 1
        there, frame = self._capture.read()
        if not there:
            raise SeglabError(f"{self.path}: frame {number} cannot be decoded: convert it to MP4 (H.264)")
        self._next = number + 1
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def labels(self, item: Item) -> np.ndarray:
        """A video has none."""
        raise NotImplementedError

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise SeglabError(f"{self.path} is no video that can be read: convert it to MP4 (H.264)")
        return capture

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_capture": None, "_next": 0}  # each process opens it for itself


def is_video(path: Path) -> bool:
    """Whether the name is that of a video file."""
    return path.suffix.lower() in SUFFIXES


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    """Write an MP4 file.

    Args:
        path: ends with ``.mp4``.
        frames: H W 3 uint8 RGB, all of one size.
        rate: frames per second.

    Raises:
        SeglabError: it cannot be written.
    """
    writer: cv2.VideoWriter | None = None
    partial = path.with_name(f".{path.stem}.partial.mp4")
    for frame in frames:
        if writer is None:
            writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*CODEC), rate, frame.shape[1::-1])
            if not writer.isOpened():
                raise SeglabError(f"cannot write {path}: choose another folder")
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    if writer is not None:
        writer.release()
        partial.replace(path)
