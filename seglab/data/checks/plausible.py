"""What masks hold in place of the ids expected: train ids, label ids, colours."""

from collections.abc import Iterable

import numpy as np

from seglab.data.files import describe
from seglab.labels import CITYSCAPES, CITYSCAPES_TRAIN_IDS, IGNORE, UNKNOWN, LabelSpace

FEW = 5  # real scenes show at least so many ids
VOID = 0.25  # share of pixels: label ids of real scenes are rarely void, train ids read as label ids mostly
MOSTLY = 0.5  # share of ignored pixels beside which a class that no mask shows is taken for a wrong id map
MANY = 40  # values or colours beyond those of any class list: masks that were resized or compressed
PAINTED = 0.9  # share of pixels in colours of the classes that makes a picture of classes


def misread(stored: np.ndarray, space: LabelSpace) -> str | None:
    """Why masks of these ids are not what they are read as, or None.

    Label ids of Cityscapes always show vegetation, sky or cars (21, 23, 26) over a few images; train ids end at 18, and
    most of them (0-6, 9, 10 among them) are void when read as label ids.

    Args:
        stored: (256,) pixels by stored id, over several masks.
        space: how they are read.
    """
    present = np.flatnonzero(stored[:IGNORE])
    if binary(stored, space):
        names = ", ".join(f"{stored}: {name}" for stored, name in zip((0, IGNORE), space.names, strict=True))
        return (
            f"the masks hold 0 and 255 alone, and 255 is ignored, so that none shows {space.names[1]}: set --data.ids "
            f"'{{{names}}}'"
        )
    if _known(space) != _known(CITYSCAPES) or len(present) < FEW or present[-1] >= CITYSCAPES.num_classes:
        return None
    is_void = CITYSCAPES.decode[present] == IGNORE
    if is_void.all() or stored[present][is_void].sum() < VOID * stored[present].sum():
        return None
    return (
        f"the masks hold no ids but {', '.join(map(str, present))}: these are train ids, but they are read as "
        "Cityscapes' label ids. Set --data.ids labelTrainIds, or use the *_labelIds.png files"
    )


def binary(stored: np.ndarray, space: LabelSpace) -> bool:
    """Whether masks with these pixels (256,) by stored id are those of two classes, of which 255 is read as void."""
    return (
        space.num_classes == 2
        and set(np.flatnonzero(stored).tolist()) == {0, IGNORE}
        and space.decode[[0, IGNORE]].tolist() == [0, IGNORE]
    )


def unseen(stored: np.ndarray, space: LabelSpace) -> str | None:
    """Why classes that no mask shows are probably a wrong id map, or None.

    Args:
        stored: (256,) pixels by stored id, over all labeled masks.
        space: how they are read.
    """
    pixels = np.bincount(space.decode, stored, 256)
    absent = [name for name, count in zip(space.names, pixels, strict=False) if not count]
    share = pixels[IGNORE] / max(1, pixels.sum())
    if not absent or share < MOSTLY or share == 1 or binary(stored, space):
        return None
    kind = "colours" if space.stored_colours else "ids"
    ignored = ", ".join(space.stored_name(int(id)) for id in np.flatnonzero((stored > 0) & (space.decode == IGNORE)))
    return (
        f"no mask shows {', '.join(absent)}, and {100 * share:.0f} % of the pixels are ignored ({kind} {ignored}): map "
        f"the {kind} of each class to it"
    )


def hint_for_ids(unknown: Iterable[int], space: LabelSpace) -> str:
    """What to do about ids that a label space does not know, for the end of a message."""
    unknown = set(unknown)
    if unknown <= _known(CITYSCAPES) and _known(space) == _known(CITYSCAPES_TRAIN_IDS):
        return "they are Cityscapes' label ids, but are read as train ids: set --data.ids labelIds"
    if space.ids and unknown <= set(range(space.num_classes)):
        return "they are the indices of the classes: leave out the id map, or map these ids to a class"
    if len(unknown) >= MANY and unknown <= set(range(256)):
        return (
            "so many values come from resizing masks with interpolation or from saving them as JPEG: make the masks "
            "anew, or set --data.nearest true, which makes each the nearest id"
        )
    return "map them to a class or list them as void (`seglab data check` finds every such file)"


def hint_for_colours(picture: np.ndarray, space: LabelSpace, lossy: bool = False) -> str:
    """What to do about a mask H W 3 uint8 of colours, for the end of a message.

    Args:
        picture: what the mask shows.
        space: how masks are read.
        lossy: it comes from a format that changes colours.
    """
    pack = np.array([65536, 256, 1])
    packed = picture @ pack
    colours = packed[picture.any(-1)]  # black is void
    if lossy:
        return (
            "make it a PNG with one channel, the id of each pixel, from the original drawing; where that is lost, set "
            "--data.nearest true, which makes each value the nearest id"
        )
    if len(colours) and np.isin(colours, np.array(space.palette) @ pack).mean() >= PAINTED:
        return (
            "it shows the classes in their colours: read the masks of ids instead (Cityscapes: *_labelIds.png), or "
            "convert each colour to its id"
        )
    if space.grey_is_id and len(np.unique(packed)) <= MANY:
        flag = f"--data.colors '{{{space.names[0]}: [0, 0, 0]}}'"
        return f"name its colours in place of ids, as in {flag}. It shows {_shares(packed)}"
    return "convert it to a PNG with one channel, the id of each pixel"


def hint_for_unknown_colours(ids: np.ndarray) -> str:
    """Which colours a mask H W shows that are not known, stored as 256 + RGB in hex, and what to do."""
    found = np.unique(ids[ids >= 256])
    shown = _shares(ids[ids >= 256] - 256, ids.size)
    if len(found) >= MANY:
        return (
            f"{shown}. So many come from resizing masks with interpolation or from saving them as JPEG: make the masks "
            "anew, or set --data.nearest true, which makes each the nearest colour of a class"
        )
    return f"{shown}. Add them to colors, or to void_colors"


def unpacked(colour: int) -> tuple[int, int, int]:
    """(R, G, B) of 65536 R + 256 G + B."""
    colour = int(colour)
    return colour >> 16, colour >> 8 & 255, colour & 255


def _shares(packed: np.ndarray, size: int = 0) -> str:
    """Colours 65536 R + 256 G + B with their share of ``size`` pixels, the most frequent first."""
    found, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    size = size or packed.size
    return describe([f"{list(unpacked(found[index]))} ({100 * counts[index] / size:.2f} %)" for index in order])


def _known(space: LabelSpace) -> set[int]:
    return {int(stored) for stored in np.flatnonzero(space.decode != UNKNOWN)}
