"""What ``seglab data check`` found, before it is told."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seglab.data.files import Item
from seglab.labels import LabelSpace


@dataclass
class Part:
    """What was found in one split of one data set."""

    name: str
    items: list[Item]
    space: LabelSpace
    root: Path
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (width, height) -> images
    stored: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # pixels by stored id
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # by class index; IGNORE: ignored
    shows: dict[Item, np.ndarray] = field(default_factory=dict)  # readable pair -> (256,) bool, classes in its mask
    digests: dict[bytes, list[Item]] = field(default_factory=lambda: defaultdict(list))  # of the pixels
    bad: set[Item] = field(default_factory=set)  # to leave out
    wrong: Counter[int] = field(default_factory=Counter)  # pixels of masks with ids that the label space lacks
    painted: list[Path] = field(default_factory=list)  # masks of colours in place of ids


@dataclass
class Report:
    """Everything that ``check_data`` found."""

    parts: list[Part] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # training or evaluation would stop on these, or mislead
    notes: list[str] = field(default_factory=list)  # worth knowing
    mending: dict[str, list[str]] = field(default_factory=dict)  # side of the data -> lines of YAML for its init_args


class Found(NamedTuple):
    """One item after opening it."""

    problems: list[str]
    size: tuple[int, int] | None = None  # width, height
    digest: bytes = b""
    stored: np.ndarray | None = None  # (256,) pixels by stored id, of a mask that fits
    oriented: bool = False  # by EXIF
    deep: bool = False  # 16 bits per channel
    wrong: Counter[int] = Counter()  # pixels by id, or 256 + colour, of a mask with some that the label space lacks
    painted: bool = False  # the mask shows colours in place of ids
