"""Labeled subsets: fractions, and list files in the formats of the known repositories."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seglab.data.files import IMAGE_SUFFIXES, Item, describe
from seglab.files import read_text
from seglab.types import SeglabError

LISTED_IMAGE = re.compile(
    r"[^\t]*?\.(?:png|jpe?g|tiff?|bmp|webp)(?!\S)", re.IGNORECASE
)  # the first of a line; names may have spaces
FRACTION = re.compile(r"1/([1-9]\d*)")
COUNT = re.compile(r"[1-9]\d*")


def is_list(spec: str) -> bool:
    """Whether ``labeled`` or ``unlabeled`` names a list file, existing or not."""
    return spec != "all" and not FRACTION.fullmatch(spec) and not COUNT.fullmatch(spec)


def choose_labeled(items: Sequence[Item], spec: str, elsewhere: Iterable[Item] = ()) -> list[Item]:
    """The subset of ``items`` that ``spec`` names.

    Args:
        items: the training items in file order.
        spec: ``all``; ``1/n``: every n-th item in file order, which spreads over video sequences and is nested (the
            1/16 set lies inside the 1/8 set), ceil(N/n) items; the number of items of such a fraction; or the path of
            a list file, one ``image mask`` pair, image path or key per line, as the lists of the known repositories
            have it. The mask is not looked at.
        elsewhere: items that cannot be chosen, for the message when a list names one of them.

    Raises:
        SeglabError: the fraction or list is malformed, empty, repeats an item or names one that is not there.
    """
    if spec == "all":
        return list(items)
    if match := FRACTION.fullmatch(spec):
        return list(items[:: int(match[1])])
    if COUNT.fullmatch(spec):
        return _counted(items, int(spec))
    path = Path(spec).expanduser()
    if not path.is_file():
        raise SeglabError(
            f"{spec!r} chooses no images: give 'all', a fraction 1/n, a number of images or the path of a list file"
        )
    chosen: dict[str, Item] = {}
    for line, name, item, own in _resolve(path, items, elsewhere):
        if not own:
            where = "has no mask" if item.mask is None else "belongs to another split"
            raise SeglabError(f"{line}: {name} {where}; the list may only name training images")
        if item.key in chosen:
            raise SeglabError(f"{line}: {name} is listed twice")
        chosen[item.key] = item
    return list(chosen.values())


def _counted(items: Sequence[Item], count: int) -> list[Item]:
    for step in range(1, len(items) + 1):
        if (chosen := items[::step]) and len(chosen) == count:
            return list(chosen)
    counts = sorted({len(items[::step]) for step in range(1, len(items) + 1)}, key=lambda other: abs(other - count))
    nearest = ", ".join(map(str, sorted(counts[:4])))
    raise SeglabError(f"labeled {count}: every n-th of {len(items)} images are {nearest} or another such number")


def leave_out(items: Sequence[Item], path: Path, elsewhere: Iterable[Item]) -> list[Item]:
    """The items that a list file does not name; it may name others, of ``elsewhere``.

    Raises:
        SeglabError: the list is absent or empty, or names an image that is nowhere.
    """
    skipped = {item for _, _, item, _ in _resolve(path, items, elsewhere)}
    return [item for item in items if item not in skipped]


def listed(path: Path) -> Iterator[tuple[str, str]]:
    """``file:number`` and the image that a line names, of every line that is not empty.

    Raises:
        SeglabError: the list is absent or empty.
    """
    if not path.is_file():
        raise SeglabError(f"{path} does not exist: give the path of a list file, one image or key per line")
    lines = read_text(path).splitlines()
    if not any(line.strip() for line in lines):
        raise SeglabError(f"{path} lists no image: write one image or key per line")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image = LISTED_IMAGE.match(line)
            yield f"{path}:{number}", (image[0] if image else line.split("\t")[0]).strip()


def _resolve(path: Path, items: Iterable[Item], elsewhere: Iterable[Item]) -> Iterator[tuple[str, str, Item, bool]]:
    """Each line of a list: where it stands, the name, the item that it means, and whether that is one of ``items``.

    It is, unless the path fits one of ``elsewhere`` better.
    """
    own, foreign = _Names(items), None
    for line, name in listed(path):
        parts = _parts(name)
        if ".." in parts:
            raise SeglabError(f"{line}: {name} leads upwards, out of the data set: write its path below the root")
        for tail in _tails(parts):
            mine = own.called(tail)
            foreign = foreign or (None if mine else _Names(elsewhere))
            if found := mine or (foreign.called(tail) if foreign else []):
                break
        else:
            raise SeglabError(f"{line}: {name} is not in the data set")
        if len(found) > 1:
            images = describe([item.image for item in found])
            raise SeglabError(f"{line}: {name} may be {images}: write more of its path")
        yield line, name, found[0], bool(mine)


class _Names:
    """Finds items by what a list calls them: a key, the path of an image from any parent folder on, or its stem."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.keys: dict[str, Item] = {}
        self.files: dict[str, list[Item]] = {}
        for item in items:
            self.keys[item.key] = item
            path = str(item.image)  # many times as fast as the properties of a path
            file = path[path.rfind("/") + 1 :]
            for name in (file, file[: file.rfind(".")]):
                self.files.setdefault(name, []).append(item)

    def called(self, tail: str) -> list[Item]:
        """Every item with this name."""
        if tail in self.keys:
            return [self.keys[tail]]
        folders, _, name = tail.rpartition("/")
        named = self.files.get(name, [])
        return [item for item in named if f"/{item.image}".endswith(f"/{tail}")] if folders else named


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _tails(parts: list[str]) -> Iterator[str]:
    """Of ``a/b/c.png``: itself, ``b/c.png``, ``c.png``, ``c``: the most specific first."""
    for start in range(len(parts)):
        yield "/".join(parts[start:])
    stem, dot, suffix = parts[-1].rpartition(".") if parts else ("", "", "")
    if dot + suffix.lower() in IMAGE_SUFFIXES:
        yield stem
