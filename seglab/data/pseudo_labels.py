"""Pseudo-labels that an earlier run wrote to a folder."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from seglab.data.files import Item, describe
from seglab.data.streams import MaskFiles
from seglab.files import read_json
from seglab.labels import LabelSpace
from seglab.types import SeglabError

DESCRIPTION = "pseudo_labels.json"
REMEDY = "write them with `seglab pseudo-label RUN_DIR --output FOLDER`"


def pseudo_label_files(folder: Path, space: LabelSpace, items: Sequence[Item], scale: float = 1.0) -> MaskFiles:
    """The pseudo-labels ``<key>.png`` of ``items``: class indices, 255 where there is none.

    Args:
        folder: that ``seglab pseudo-label`` wrote.
        space: of the data.
        items: the unlabeled images.
        scale: of the images as their reader gives them, relative to their files.

    Raises:
        SeglabError: the folder or its description is absent, they are of other classes, or an image has none.
    """
    present = described(folder, space)
    if missing := [item.key for item in items if item.key not in present]:
        raise SeglabError(
            f"{len(missing)} of {len(items)} unlabeled images have no pseudo-label in {folder}: {describe(missing)}: "
            f"{REMEDY}, for the same unlabeled images"
        )
    return MaskFiles(partial(_file, folder), LabelSpace(space.names, space.palette), scale)


def described(folder: Path, space: LabelSpace) -> set[str]:
    """The keys of the images that a folder has pseudo-labels of.

    Raises:
        SeglabError: the folder or its description is absent, or they are of other classes.
    """
    description = folder / DESCRIPTION
    if not description.is_file():
        raise SeglabError(f"{folder} holds no pseudo-labels ({description} is not there): {REMEDY}")
    try:
        classes = read_json(description)["classes"]
    except (SeglabError, KeyError) as error:
        raise SeglabError(f"{description} is damaged: {REMEDY}") from error
    if classes != list(space.names):
        raise SeglabError(f"{description} names the classes {classes}, the data {list(space.names)}: {REMEDY}")
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.png")}


def _file(folder: Path, item: Item) -> Path:
    return folder / f"{item.key}.png"
