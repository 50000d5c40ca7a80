"""Image tags: which classes an image shows, in place of where."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from seglab.data.files import Item, describe, find_images
from seglab.labels import LabelSpace
from seglab.types import SeglabError

Tags = Mapping[str, np.ndarray]  # key of an image -> K bool
FORM = "each line is `KEY: class, class`"


def read_tags(path: Path, space: LabelSpace, items: Sequence[Item], elsewhere: Callable[[], list[Item]]) -> Tags:
    """The tags of training images, from a text file with a line ``KEY: class, class`` for each.

    Args:
        path: of the file.
        space: of the data.
        items: the training images.
        elsewhere: lists images that are not for training.

    Raises:
        SeglabError: the file is absent, a line is malformed, or names a class or an image that is none.
    """
    if not path.is_file():
        raise SeglabError(f"data.tags: {path} does not exist: give a file of which {FORM}")
    known, found = {item.key for item in items}, dict[str, np.ndarray]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, colon, names = (part.strip() for part in line.partition(":"))
        if not colon:
            raise SeglabError(f"{path}, line {number}: {line!r} has no colon: {FORM}")
        tags = np.zeros(space.num_classes, bool)
        for name in (name.strip() for name in names.split(",") if name.strip()):
            if name not in space.names:
                near = get_close_matches(name, space.names, 1)
                raise SeglabError(
                    f"{path}, line {number}: {name!r} is no class{f', did you mean {near[0]!r}?' if near else ''} "
                    f"The classes: {', '.join(space.names)}"
                )
            tags[space.names.index(name)] = True
        found[key] = tags
    if strange := sorted(found.keys() - known):
        held = {item.key for item in elsewhere()} & set(strange)
        why = "is for evaluation" if held else "is not in the data set"
        raise SeglabError(f"{path} has tags of {len(strange)} images of which one {why}: {describe(strange)}")
    if not found:
        raise SeglabError(f"{path} has no tags: {FORM}")
    return found


def outside_items(folder: Path) -> list[Item]:
    """The images of a folder, none of which shows a class.

    Raises:
        SeglabError: there is no such folder, or no image in it.
    """
    paths = find_images(folder, "set data.outside to a folder of images that show no class of the data")
    return [Item(path.stem, path, None) for path in paths]
