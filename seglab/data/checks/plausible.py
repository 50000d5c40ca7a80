"""What masks hold in place of the ids expected: train ids, label ids, colours."""

from collections.abc import Iterable

import numpy as np

from seglab.labels import CITYSCAPES, CITYSCAPES_TRAIN_IDS, IGNORE, UNKNOWN, LabelSpace

FEW = 5  # real scenes show at least so many ids
VOID = 0.25  # share of pixels: label ids of real scenes are rarely void, train ids read as label ids mostly
MOSTLY = 0.5  # share of ignored pixels beside which a class that no mask shows is taken for a wrong id map
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
    ignored = ", ".join(str(id) for id in np.flatnonzero((stored > 0) & (space.decode == IGNORE)))
    return (
        f"no mask shows {', '.join(absent)}, and {100 * share:.0f} % of the pixels are ignored (ids {ignored}): map "
        "the ids of each class to it"
    )


def hint_for_ids(unknown: Iterable[int], space: LabelSpace) -> str:
    """What to do about ids that a label space does not know, for the end of a message."""
    unknown = set(unknown)
    if unknown <= _known(CITYSCAPES) and _known(space) == _known(CITYSCAPES_TRAIN_IDS):
        return "they are Cityscapes' label ids, but are read as train ids: set --data.ids labelIds"
    if space.ids and unknown <= set(range(space.num_classes)):
        return "they are the indices of the classes: leave out the id map, or map these ids to a class"
    return "map them to a class or list them as void (`seglab data check` finds every such file)"


def hint_for_colours(picture: np.ndarray, space: LabelSpace) -> str:
    """What to do about a mask H W 3 uint8 of colours, for the end of a message."""
    pack = np.array([65536, 256, 1])
    colours = (picture @ pack)[picture.any(-1)]  # black is void
    if len(colours) and np.isin(colours, np.array(space.palette) @ pack).mean() >= PAINTED:
        return (
            "it shows the classes in their colours: read the masks of ids instead (Cityscapes: *_labelIds.png), or "
            "convert each colour to its id"
        )
    return "convert it to a PNG with one channel, the id of each pixel"


def _known(space: LabelSpace) -> set[int]:
    return {int(stored) for stored in np.flatnonzero(space.decode != UNKNOWN)}
