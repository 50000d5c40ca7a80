"""Label spaces: class names, colours, the ids that files store, and the subsets that papers report."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from seglab.types import SeglabError

IGNORE = 255  # the class index that no loss and no metric counts
UNKNOWN = 254  # what an id outside the label space decodes to; never leaves the decoder
MAX_COLOURS = UNKNOWN  # ids that masks of colours can have


@dataclass(frozen=True)
class Taxonomy:
    """Other classes for a data set, so that data sets which name theirs differently train together.

    Attributes:
        classes: new class names in index order; none: the data set keeps its own.
        mapping: class of the data set -> new class. A class that it leaves out is ignored; several may share one.

    Raises:
        SeglabError: a new class repeats or is not in ``classes``.
    """

    classes: tuple[str, ...] = ()
    mapping: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if repeated := [name for name, count in Counter(self.classes).items() if count > 1]:
            raise SeglabError(f"taxonomy.classes repeats {', '.join(repeated)}: name every class once")
        if absent := sorted(set(self.mapping.values()) - set(self.classes)):
            raise SeglabError(
                f"taxonomy.mapping maps to {', '.join(absent)}, which taxonomy.classes {list(self.classes)} lacks"
            )


@dataclass(frozen=True)
class LabelSpace:
    """A taxonomy and how files on disk store it.

    Attributes:
        names: class names; the position is the class index.
        palette: one (R, G, B) per class, 0-255.
        ids: id stored in a file -> class index. Default: the class index itself.
        void: ids stored in a file that are known and not trained on.
        subsets: name of a reported subset (``"mIoU16"``) -> class indices it averages over.
        in_red: files store an id in the red channel of a 16-bit colour PNG, as those of SYNTHIA do.
        stored_colours: files store one of these (R, G, B) per pixel, whose position is the id.
        nearest: a value or colour that files store and that is not known becomes the nearest known one.
        steps: numbers of classes that arrived one after the other, where they do; their sum is all of them.
        grey_is_id: a colour file whose three channels are equal stores ids, as many tools write them.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ids: Mapping[int, int] = field(default_factory=dict)
    void: tuple[int, ...] = (IGNORE,)
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    in_red: bool = False
    stored_colours: tuple[tuple[int, int, int], ...] = ()
    grey_is_id: bool = False
    nearest: bool = False
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) != len(self.palette):
            raise SeglabError(
                f"{len(self.names)} class names but {len(self.palette)} colours: give one colour per class"
            )
        if len(set(self.names)) != len(self.names):
            raise SeglabError(f"class names repeat: {', '.join(self.names)}")
        if not 0 < len(self.names) < UNKNOWN:
            raise SeglabError(f"a label space has 1 to {UNKNOWN - 1} classes, this one {len(self.names)}")
        for stored, index in self.ids.items():
            if not (0 <= stored <= 255 and 0 <= index < len(self.names)):
                raise SeglabError(
                    f"id map {stored} -> {index}: ids are 0 to 255 and class indices 0 to {len(self.names) - 1}"
                )
        if outside := [stored for stored in self.void if not 0 <= stored <= 255]:
            raise SeglabError(f"void ids {outside} are outside 0 to 255")
        if both := sorted(set(self.void) & set(self._stored)):
            raise SeglabError(f"ids {both} stand for a class and are listed as void: choose one, or map ids to classes")

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def _stored(self) -> Mapping[int, int]:
        return self.ids or {index: index for index in range(self.num_classes)}

    @cached_property
    def decode(self) -> np.ndarray:
        """Look-up table (256,) uint8: stored id -> class index, IGNORE for void, UNKNOWN for the rest."""
        table = np.full(256, UNKNOWN, np.uint8)
        for stored, index in self._stored.items():
            table[stored] = index
        table[list(self.void)] = IGNORE
        return table

    @cached_property
    def id_of_colour(self) -> np.ndarray:
        """Look-up table (2^24,) uint8: 65536 R + 256 G + B -> stored id; UNKNOWN for the rest."""
        table = np.full(1 << 24, UNKNOWN, np.uint8)
        for index, (red, green, blue) in enumerate(self.stored_colours):
            table[red << 16 | green << 8 | blue] = index
        return table

    @cached_property
    def nearest_id(self) -> np.ndarray:
        """Look-up table (256,) uint8: value -> the nearest stored id that is known."""
        known = np.flatnonzero(self.decode != UNKNOWN)
        return known[np.abs(np.arange(256)[:, None] - known).argmin(1)].astype(np.uint8)

    @cached_property
    def encode(self) -> np.ndarray:
        """Look-up table (256,) uint8: class index -> the lowest stored id; IGNORE, and a class without id: 255."""
        table = np.full(256, IGNORE, np.uint8)
        for stored, index in sorted(self._stored.items(), reverse=True):
            table[index] = stored
        return table

    def after_step(self, step: int) -> "LabelSpace":
        """The classes of steps 0 ... ``step`` alone, for a network; ``decode`` knows no id of the later ones."""
        steps = self.steps[: step + 1]
        number = sum(steps)
        ids = {stored: index for stored, index in self._stored.items() if index < number}
        return replace(self, names=self.names[:number], palette=self.palette[:number], ids=ids, subsets={}, steps=steps)

    def stored_name(self, id: int) -> str:
        """How files show an id: itself, or its colour."""
        return str(list(self.stored_colours[id])) if id < len(self.stored_colours) else str(id)

    @cached_property
    def colours(self) -> np.ndarray:
        """Look-up table (256, 3) uint8: class index -> RGB; ignored pixels are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = self.palette
        return table

    def converted(self, taxonomy: Taxonomy) -> "LabelSpace":
        """The same files read as other classes.

        Ids follow their class; those of a class that the mapping leaves out become void. ``encode`` writes a class that
        several ids stand for with the lowest. A subset survives where each of its classes becomes a class of its own,
        a colour where it is that of the first class that becomes the new one.

        Raises:
            SeglabError: the mapping names a class that this space lacks, or none that files store.
        """
        if unknown := [name for name in taxonomy.mapping if name not in self.names]:
            raise SeglabError(f"taxonomy.mapping names {', '.join(unknown)}; the data set has {', '.join(self.names)}")
        position = {name: index for index, name in enumerate(taxonomy.classes)}
        becomes = {
            old: position[taxonomy.mapping[name]] for old, name in enumerate(self.names) if name in taxonomy.mapping
        }
        ids = {stored: becomes[old] for stored, old in self._stored.items() if old in becomes}
        if not ids:
            raise SeglabError(f"taxonomy.mapping keeps no class of the data set, which has {', '.join(self.names)}")
        parts = Counter(becomes.values())
        inherited = {new: self.palette[old] for old, new in reversed(becomes.items())}
        spare = (colour for colour in distinct_palette(len(taxonomy.classes) * 2) if colour not in inherited.values())
        return replace(
            self,
            names=tuple(taxonomy.classes),
            palette=tuple(inherited.get(new) or next(spare) for new in position.values()),
            ids=ids,
            void=tuple(sorted({*self.void, *self._stored.keys() - ids.keys()})),
            subsets={
                name: tuple(becomes[old] for old in indices)
                for name, indices in self.subsets.items()
                if all(old in becomes and parts[becomes[old]] == 1 for old in indices)
            },
        )


def distinct_palette(n: int) -> tuple[tuple[int, int, int], ...]:
    """The bit-interleaved VOC colour map without its black background entry, for n classes."""
    colours = []
    for index in range(1, n + 1):
        rgb, bits = [0, 0, 0], index
        for shift in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (bits >> channel & 1) << shift
            bits >>= 3
        colours.append((rgb[0], rgb[1], rgb[2]))
    return tuple(colours)


def label_space(
    names: Sequence[str],
    ids: Mapping[int, str] | None = None,
    void: Sequence[int] = (IGNORE,),
    nearest: bool = False,
) -> LabelSpace:
    """A label space from a class list and an optional map of stored id to class name.

    Raises:
        SeglabError: the map names a class that is not in the list, or leaves a class without an id.
    """
    known = _positions(names, set((ids or {}).values()), "the id map", "id")
    return LabelSpace(
        names=tuple(names),
        palette=distinct_palette(len(names)),
        ids={stored: known[name] for stored, name in (ids or {}).items()},
        void=tuple(stored for stored in void if stored != IGNORE or stored not in (ids or {})),  # masks of 0 and 255
        grey_is_id=True,
        nearest=nearest,
    )


Colour = Sequence[int]  # R, G, B from 0 to 255


def colour_space(
    names: Sequence[str],
    colours: Mapping[str, Colour | Sequence[Colour]],
    void: Sequence[Colour] = (),
    nearest: bool = False,
) -> LabelSpace:
    """A label space of masks that show each class in a colour.

    Args:
        names: classes in index order.
        colours: class -> its colour, or several.
        void: colours that are ignored.
        nearest: other colours become the nearest of these.

    Raises:
        SeglabError: a colour is none or stands for two classes; or the map names a class that is not in the list, or
            leaves one without a colour.
    """
    _positions(names, colours.keys(), "colors", "colour")
    pairs: list[tuple[Any, str | None]] = [(colour, None) for colour in void]
    for owner, given in colours.items():
        several = given if given and isinstance(given[0], Sequence) else [given]
        pairs += [(colour, owner) for colour in several]
    of_class: dict[tuple[int, int, int], str | None] = {}
    for colour, name in pairs:
        if not isinstance(colour, Sequence) or len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            raise SeglabError(f"colour {colour} of {name or 'void'}: give red, green and blue, each from 0 to 255")
        red, green, blue = colour
        if (other := of_class.setdefault((red, green, blue), name)) != name:
            raise SeglabError(f"colour {list(colour)} stands for {name} and for {other or 'void'}: choose one")
    if len(of_class) > MAX_COLOURS:
        raise SeglabError(f"{len(of_class)} colours: give {MAX_COLOURS} or fewer")
    rank: dict[str | None, int] = {name: index for index, name in enumerate([*names, None])}
    stored = sorted(of_class, key=lambda colour: rank[of_class[colour]])  # ids are in class order, void comes last
    of_index = [of_class[colour] for colour in stored]
    return LabelSpace(
        names=tuple(names),
        palette=tuple(stored[of_index.index(name)] for name in names),
        ids={index: rank[name] for index, name in enumerate(of_index) if name},
        void=(*(index for index, name in enumerate(of_index) if not name), IGNORE),
        stored_colours=tuple(stored),
        nearest=nearest,
    )


def _positions(names: Sequence[str], given: Collection[str], what: str, kind: str) -> dict[str, int]:
    known = {name: index for index, name in enumerate(names)}
    if unknown := sorted(set(given) - set(known)):
        raise SeglabError(f"{what} names {', '.join(unknown)}, which the class list {list(names)} lacks")
    if given and (missing := [name for name in names if name not in given]):
        raise SeglabError(f"{what} gives no {kind} to {', '.join(missing)}")
    return known


# Cityscapes: 34 labelIds, 19 of them trained; GTA5 stores the same ids.
CITYSCAPES = LabelSpace(
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    ids={
        7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
        28: 15, 31: 16, 32: 17, 33: 18,
    },
    void=(0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 34, 255),  # 34: GTA5's licence plate, -1 as uint8 is 255
    subsets={
        "mIoU16": (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18),
        "mIoU13": (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18),
    },
)  # fmt: skip

# The 19 classes as *_labelTrainIds.png store them.
CITYSCAPES_TRAIN_IDS = replace(CITYSCAPES, ids={index: index for index in range(19)}, void=(255,))

# SYNTHIA-RAND-CITYSCAPES: 16 of Cityscapes' 19 classes, by the numbers of its README. Void are 0, parking slot 13, road
# work 14, lane marking 22, and 16, 18, 20: terrain, truck and train have a number but no pixel.
SYNTHIA = replace(
    CITYSCAPES,
    ids={3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 1: 10, 10: 11, 17: 12, 8: 13, 19: 15, 12: 17, 11: 18},
    void=(0, 13, 14, 16, 18, 20, 22, 255),
    in_red=True,
)

# CamVid as the SegNet authors distribute it: class indices 0-10 stored as they are, 11 is void.
CAMVID = LabelSpace(
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
    ),
    palette=(
        (70, 130, 180), (70, 70, 70), (153, 153, 153), (128, 64, 128), (244, 35, 232), (107, 142, 35), (220, 220, 0),
        (190, 153, 153), (0, 0, 142), (220, 20, 60), (119, 11, 32),
    ),
    void=(11, 255),
)  # fmt: skip

# Pascal VOC 2012: class indices, 255 on the borders of objects.
VOC = LabelSpace(
    names=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    palette=((0, 0, 0), *distinct_palette(20)),
)  # fmt: skip
