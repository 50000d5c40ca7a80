"""Which files are images, which are their masks, what their names have in common, and how they are parted."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from seglab.data.files import FORMATS, describe, is_image
from seglab.data.init.look import IMAGE_WORDS, MASK_WORDS, Kind, kind
from seglab.files import parallel_map
from seglab.types import SeglabError

PART = re.compile(
    r"(?P<before>(?:.*[_\-. ])?)"
    r"(?P<name>(?P<train>training|trainset|train|trn)|(?P<val>validation|valid|val|dev)|(?P<test>testing|testset|test))"
    r"(?P<year>(?:20\d\d)?)"
    r"(?P<after>.*)",
    re.IGNORECASE,
)
SEPARATOR = re.compile(r"[_\-. ]")
LOOKS = 5  # files of a group that are opened
GROUPS = 200  # files that are opened in all, at least one of each group
SAMPLE = 400  # images by which two patterns are compared
MARKERS = 8  # kinds of files that share a folder and tell themselves apart by a word in their names, at most
LISTS = ("*.txt", "*/*.txt", "*/*/*.txt")


class File(NamedTuple):
    """An image file below the root."""

    folder: PurePosixPath  # with {split} in place of a part's name
    part: str  # train, val, test or nothing
    stem: str
    suffix: str


class Group(NamedTuple):
    """Files of one folder with one ending and one word at the end or beginning of their names."""

    folder: PurePosixPath
    suffix: str
    before: str
    after: str
    files: tuple[File, ...]


class Candidate(NamedTuple):
    """Files that one pattern could match: of one folder, or of several that differ in one place."""

    folder: str  # a pattern, of which * and ** stand for what differs
    groups: tuple[Group, ...]
    kind: Kind
    files: tuple[File, ...]  # of all groups
    places: tuple[str, ...]  # what the wildcards of the folder match, of each file
    ends: tuple[tuple[str, str], ...]  # what names may have around their key


class Layout(NamedTuple):
    """The two patterns of a ``Folder``, and what they match."""

    images: str
    masks: str
    kind: Kind  # of the masks
    splits: dict[str, str]  # train, val, test -> name of the part or list file
    notes: tuple[str, ...]  # for people


def find_layout(root: Path) -> Layout:
    """The most plausible patterns of images and masks in a folder.

    Raises:
        SeglabError: there are no images, no masks, or no names that fit.
    """
    files, names = _walk(root)
    if not files:
        raise SeglabError(f"{root} holds no image, with whatever folders below it: {FORMATS} are read")
    groups = list(_groups(files))
    looks = max(1, min(LOOKS, GROUPS // len(groups)))
    found = parallel_map(lambda group: _kind(root, group, names, looks), groups, "looking at images")
    kinds = dict(zip(groups, found, strict=True))
    candidates = sorted(_candidates(groups, kinds), key=lambda candidate: -len(candidate.files))
    images = [c for c in candidates if c.kind == Kind.PHOTO]
    masks = [c for c in candidates if c.kind in (Kind.IDS, Kind.COLOURS)]
    if not images or not masks:
        seen = describe(sorted({f"{group.folder}/*{group.suffix}: {kinds[group].value}" for group in groups}), 8)
        lacking = "no masks (few values or colours without loss)" if images else "no photos"
        raise SeglabError(f"{root} shows {lacking} among {seen}. Write the file by hand: seglab/data/README.md")
    best = _matched(images[0], masks[0])
    for one, other in product(images, masks):
        if len(one.files) >= best.score[0]:  # otherwise it matches fewer
            best = max(best, _matched(one, other), key=lambda match: match.score)
    if not best.pairs:
        raise SeglabError(
            f"no mask in {describe(sorted({c.folder for c in masks}))} has the name of an image in "
            f"{describe(sorted({c.folder for c in images}))}, whatever is cut off their ends: rename one of them"
        )
    return _layout(root, best, groups, kinds, names)


class _Match(NamedTuple):
    images: Candidate
    masks: Candidate
    ends: tuple[str, str, str, str]  # before and after the key, of images and of masks
    pairs: int  # of a sample of the images
    score: tuple[float, ...]


def _walk(root: Path) -> tuple[list[File], dict[tuple[PurePosixPath, str], str]]:
    """All image files, and the names of parts by folder pattern and part."""
    found: list[tuple[PurePosixPath, str]] = []
    for walked, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        relative = PurePosixPath(os.path.relpath(walked, root))
        found += [(relative, name) for name in sorted(names) if is_image(Path(name))]
    parted = {folder: _parted(folder) for folder in {folder for folder, _ in found}}
    seen: dict[PurePosixPath, set[str]] = defaultdict(set)
    for choices in parted.values():
        for _, part, _, place in choices:  # cities of train are not those of val
            seen[place].add(part)
    names_of: dict[tuple[PurePosixPath, str], str] = {}
    files = []
    for folder, name in found:
        pattern, part, word = folder, "", ""
        for choice in parted[folder]:
            if "train" in seen[choice[3]] and len(seen[choice[3]]) > 1:
                pattern, part, word, _ = choice
        if part:
            names_of.setdefault((pattern, part), word)
        path = PurePosixPath(name)
        files.append(File(pattern, part, path.stem, path.suffix))
    return files, names_of


def _parted(folder: PurePosixPath) -> list[tuple[PurePosixPath, str, str, PurePosixPath]]:
    """Folder pattern, part, its name, and the pattern up to it, of each component that could name one."""
    choices = []
    for index, component in enumerate(folder.parts):
        if match := PART.fullmatch(component):
            part = next(part for part in ("train", "val", "test") if match[part])
            parts = list(folder.parts)
            parts[index] = f"{match['before']}{{split}}{match['after']}"
            place = PurePosixPath(*parts[: index + 1])
            choices.append((PurePosixPath(*parts), part, match["name"] + match["year"], place))
    return choices


def _groups(files: Iterable[File]) -> Iterator[Group]:
    folders: dict[tuple[PurePosixPath, str], list[File]] = defaultdict(list)
    for file in files:
        folders[file.folder, file.suffix.lower()].append(file)
    for (folder, suffix), members in folders.items():
        markers = _markers([file.stem for file in members])
        marked: dict[tuple[str, str], list[File]] = defaultdict(list)
        for file in members:
            marked[_mark(file.stem, markers)].append(file)
        for (before, after), own in marked.items():
            yield Group(folder, suffix, before, after, tuple(own))


def _markers(stems: Sequence[str]) -> set[tuple[str, str]]:
    """Words at the beginning and end of names by which files of several kinds in one folder differ."""
    least = max(2, len(stems) // 20)
    for end in (1, 0):
        counts = Counter(mark for stem in stems if (mark := _word(stem, end))[end])
        common = {mark for mark, count in counts.items() if count >= least}
        rest = len(stems) - sum(counts[mark] for mark in common)
        if common and len(common) + (rest > 0) > 1 and len(common) <= MARKERS and (rest == 0 or rest >= least):
            return common
    return set()


def _mark(stem: str, markers: set[tuple[str, str]]) -> tuple[str, str]:
    return next((mark for end in (1, 0) if (mark := _word(stem, end)) in markers), ("", ""))


def _word(stem: str, end: int) -> tuple[str, str]:
    """The first or last word of a name with its separator; nothing of a number or a name without separators."""
    places = [match.start() for match in SEPARATOR.finditer(stem)]
    if not places:
        return "", ""
    word = stem[places[-1] :] if end else stem[: places[0] + 1]
    return ("", "") if not re.search(r"[A-Za-z]", word) else ("", word) if end else (word, "")


def _kind(root: Path, group: Group, names: Mapping[tuple[PurePosixPath, str], str], looks: int) -> Kind:
    """What most of a few files show."""
    name = f"{group.folder}/{group.before} {group.after}"
    shown = group.files[:: -(-len(group.files) // looks)]
    kinds = Counter(kind(_path(root, file, names), name) for file in shown)
    if kinds[Kind.IDS] and kinds[Kind.COLOURS]:  # black alone in some
        return Kind.COLOURS
    return kinds.most_common(1)[0][0]


def _path(root: Path, file: File, names: Mapping[tuple[PurePosixPath, str], str]) -> Path:
    word = names.get((file.folder, file.part), "")
    return root / str(file.folder).replace("{split}", word) / f"{file.stem}{file.suffix}"


def _candidates(groups: Sequence[Group], kinds: Mapping[Group, Kind]) -> list[Candidate]:
    """Each folder, and folders that differ in one component or from one on."""
    found: dict[tuple[str, str, str, str, Kind], list[Group]] = defaultdict(list)
    for group in groups:
        rest = (group.suffix, group.before, group.after, kinds[group])
        parts = group.folder.parts
        found[(str(group.folder), *rest)].append(group)
        for index, part in enumerate(parts):
            if "{split}" not in part:
                found[(str(PurePosixPath(*parts[:index], "*", *parts[index + 1 :])), *rest)].append(group)
            if not any("{split}" in later for later in parts[index:]):
                found[(str(PurePosixPath(*parts[:index], "**")), *rest)].append(group)
        for index in range(len(parts)):  # scenes/<any>/images
            if "{split}" not in "".join(parts[:-1][index:]) and len(parts) > index + 1:
                found[(str(PurePosixPath(*parts[:index], "**", parts[-1])), *rest)].append(group)
    return [
        _candidate(folder, members, own_kind)
        for (folder, *_, own_kind), members in found.items()
        if "*" not in folder or len(members) > 1
    ]


def _candidate(folder: str, groups: Sequence[Group], own_kind: Kind) -> Candidate:
    files = tuple(file for group in groups for file in group.files)
    expression = re.compile(re.escape(folder).replace(r"\*\*", "(.*)").replace(r"\*", "([^/]*)"))
    place = {
        group.folder: "/".join(match.groups()) if (match := expression.fullmatch(str(group.folder))) else ""
        for group in groups
    }
    ends = tuple(_ends([file.stem for file in files]))
    return Candidate(folder, tuple(groups), own_kind, files, tuple(place[file.folder] for file in files), ends)


def _matched(images: Candidate, masks: Candidate) -> _Match:
    """The ends of names under which most images have a mask."""
    none = _Match(images, masks, ("", "", "", ""), 0, (0.0,))
    if _wildcards(images.folder) != _wildcards(masks.folder) or set(images.groups) & set(masks.groups):
        return none
    both_split = "{split}" in images.folder and "{split}" in masks.folder

    def named(candidate: Candidate, step: int = 1) -> list[tuple[tuple[str, str], str]]:
        pairs = zip(candidate.places[::step], candidate.files[::step], strict=True)
        return [((place, file.part if both_split else ""), file.stem) for place, file in pairs]

    where, there = named(images, -(-len(images.files) // SAMPLE)), named(masks)
    best = none
    for image_ends in images.ends:
        keys = {(place, _inner(stem, image_ends)) for place, stem in where}
        for mask_ends in masks.ends:
            same = images.folder == masks.folder and images.groups[0].suffix == masks.groups[0].suffix
            if same and image_ends == mask_ends:
                continue
            masked = Counter((place, _inner(stem, mask_ends)) for place, stem in there)
            pairs = sum(masked[key] == 1 for key in keys) if len(keys) == len(where) else 0
            orphans = max(0, len(there) - sum(masked.values()))
            length = sum(map(len, (*image_ends, *mask_ends)))
            score = (
                round(pairs / len(where), 2) * len(images.files),
                _liking(masks, MASK_WORDS, IMAGE_WORDS) + _liking(images, IMAGE_WORDS, MASK_WORDS),
                masks.kind == Kind.IDS,
                -images.folder.count("*") - masks.folder.count("*"),
                -orphans,
                -length,
            )
            if pairs and score > best.score:
                best = _Match(images, masks, (*image_ends, *mask_ends), pairs, score)
    return best


def _liking(candidate: Candidate, wanted: re.Pattern[str], other: re.Pattern[str]) -> int:
    name = f"{candidate.folder} {candidate.groups[0].before} {candidate.groups[0].after}"
    label_ids = 2 * name.lower().endswith("labelids") + ("instance" in name.lower()) * -4
    return label_ids + bool(wanted.search(name)) - bool(other.search(name) and not wanted.search(name))


def _wildcards(folder: str) -> list[str]:
    return re.findall(r"\*+", folder)


def _ends(stems: Sequence[str]) -> list[tuple[str, str]]:
    """What names may have around their key: the beginnings and ends that all share, cut at a separator."""
    start = _common(stems)
    end = _common([stem[::-1] for stem in stems])[::-1]
    if len(set(stems)) == 1:
        return [("", "")]
    befores = ["", *(start[: match.end()] for match in SEPARATOR.finditer(start))]
    afters = [*(end[match.start() :] for match in SEPARATOR.finditer(end)), ""]
    word = re.match(r"[A-Za-z]+", start)
    befores += [word[0]] if word and not SEPARATOR.match(start[len(word[0]) :]) else []
    tail = re.search(r"[A-Za-z]+$", end)
    afters += [tail[0]] if tail and not SEPARATOR.match(end[: tail.start()][-1:]) else []
    return list(product(befores, afters))


def _common(texts: Sequence[str]) -> str:
    """The longest beginning of all."""
    first, last = min(texts), max(texts)
    return next((first[:index] for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), first)


def _inner(stem: str, ends: tuple[str, str]) -> str:
    return stem.removeprefix(ends[0]).removesuffix(ends[1])


def _layout(
    root: Path,
    best: _Match,
    groups: Sequence[Group],
    kinds: Mapping[Group, Kind],
    names: Mapping[tuple[PurePosixPath, str], str],
) -> Layout:
    images, masks, ends = best.images, best.masks, best.ends
    image_suffixes = _suffixes(images, groups, kinds)
    mask_suffixes = _suffixes(masks, groups, kinds)
    image_pattern = _pattern(images.folder, ends[:2], image_suffixes)
    mask_pattern = _pattern(masks.folder, ends[2:], mask_suffixes)
    splits, notes = _parts(images, masks, names)
    used = {group.folder for group in (*images.groups, *masks.groups)}
    spare = sorted({f"{g.folder} ({len(g.files)} files)" for g in groups if g.folder not in used})
    if spare:
        notes.append(f"not used: {describe(spare)}")
    if not splits and "{split}" not in image_pattern + mask_pattern:
        splits = _lists(root)
    return Layout(image_pattern, mask_pattern, masks.kind, splits, tuple(notes))


def _suffixes(candidate: Candidate, groups: Sequence[Group], kinds: Mapping[Group, Kind]) -> list[str]:
    """Endings of the files of the same kind in the same folders."""
    folders = {group.folder for group in candidate.groups}
    first = candidate.groups[0]
    same = [
        group.suffix
        for group in groups
        if group.folder in folders
        and kinds[group] == candidate.kind
        and (group.before, group.after) == (first.before, first.after)
    ]
    return list(dict.fromkeys([first.suffix, *sorted(same)]))


def _pattern(folder: str, ends: Sequence[str], suffixes: Sequence[str]) -> str:
    ending = suffixes[0] if len(suffixes) == 1 else f".{{{','.join(suffix[1:] for suffix in suffixes)}}}"
    return f"{'' if folder == '.' else f'{folder}/'}{ends[0]}*{ends[1]}{ending}"


def _parts(
    images: Candidate, masks: Candidate, names: Mapping[tuple[PurePosixPath, str], str]
) -> tuple[dict[str, str], list[str]]:
    """Names of the parts where they differ from train, val and test."""
    patterns = [group.folder for c in (images, masks) for group in c.groups if "{split}" in str(group.folder)]
    found: dict[str, str] = {}
    for pattern, part in names:
        if pattern in patterns:
            found.setdefault(part, names[pattern, part])
    notes = []
    if found and "val" not in found:
        found["val"] = found["test"]
        notes.append("there is no val part: test serves as val, so that its scores are no longer those of unseen data")
    order: dict[str, str] = {part: found[part] for part in ("train", "val", "test") if part in found}
    return ({} if all(part == name for part, name in order.items()) else order), notes


def _lists(root: Path) -> dict[str, str]:
    """List files of parts, by their names."""
    found: dict[str, str] = {}
    for path in sorted(path for pattern in LISTS for path in root.glob(pattern)):
        match = PART.fullmatch(path.stem)
        if match and not match["before"] and not match["after"]:
            part = next(part for part in ("train", "val", "test") if match[part])
            found.setdefault(part, path.relative_to(root).as_posix())
    return found if "val" in found else {}
