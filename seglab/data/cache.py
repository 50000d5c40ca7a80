"""Decoded images and masks in memory-mapped files: every file is decoded once, and a crop reads its own pages only.

A cache is a folder of shards, each the bytes of images H W 3 and masks H W one after the other, and ``cache.json``,
which says where each lies. Masks hold the class indices of the data set's own label space, so that a taxonomy reads the
same cache. A shard is written beside its final name, read back, renamed and described by a part of the index;
``cache.json`` comes last. So a killed run leaves whole shards, and the next one goes on behind them.
"""

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image

from seglab.data.decode import read_image, read_pair, scaled_size
from seglab.data.files import Item, describe
from seglab.data.geometry import resize_image, resize_mask
from seglab.files import held, parallel_map, progress, remove_partial, write_whole
from seglab.labels import IGNORE, UNKNOWN, LabelSpace
from seglab.types import SeglabError

FORMAT = 2  # 1: images of a scale below 1 were resized otherwise; at scale 1 nothing changed
INDEX = "cache.json"
SHARD_BYTES = 1 << 30
SPARE_BYTES = 1 << 26  # of disk, for the index


class Entry(NamedTuple):
    """One image, perhaps with its mask, and the files that they were decoded from."""

    image: str  # below the root of the data set
    mask: str | None
    stamp: list[int]  # bytes and time of change, in whole seconds, of the image file, then of the mask file
    shard: str
    offset: int  # of the image; its mask follows
    height: int
    width: int
    checksums: list[int]  # CRC-32 of the image, then of the mask

    @property
    def bytes(self) -> int:
        return self.height * self.width * (3 if self.mask is None else 4)


class Index(NamedTuple):
    """What ``cache.json`` and the part beside each shard hold."""

    scale: float
    decode: list[int]  # stored id -> class index, of the label space that decoded the masks
    entries: list[Entry]
    colours: list[list[int]] = []  # of masks that store colours, by id


class Cache:
    """Reads a cache as ``files.Files`` reads files, and opens its shards in each process when it needs them.

    Args:
        folder: that ``seglab data cache`` wrote.
        root: of the data set.
        space: the label space of the masks that ``labels`` gives.

    Raises:
        SeglabError: there is no whole cache, or its masks were decoded by a label space that cannot become this one.
    """

    def __init__(self, folder: Path, root: Path, space: LabelSpace) -> None:
        index = load_index(folder)
        self.folder, self.root, self.scale = folder, root, index.scale
        if index.colours != _colours(space):
            raise SeglabError(f"{folder} was written with other colours of the classes: write another cache")
        self._table = _conversion(folder, np.array(index.decode, np.uint8), space.decode)
        self._entries = {root / entry.image: entry for entry in index.entries}
        self._shards: dict[str, np.ndarray] = {}

    def check(self, items: Iterable[Item]) -> None:
        """Compare the cache with the files that it stands for.

        Raises:
            SeglabError: an item is not in the cache, or one of its files changed since.
        """
        again = "run `seglab data cache` again with the same --output, which decodes what is new or has changed"
        items = list(items)
        if missing := [item.image for item in items if item.image not in self._entries]:
            raise SeglabError(
                f"{self.folder} lacks {len(missing)} of {len(items)} images: {describe(missing)}. If this is the cache "
                f"of the data set, {again}"
            )
        if stale := [item.image for item in items if not _is_current(self._entries[item.image], item, self.root)]:
            raise SeglabError(
                f"{len(stale)} images or their masks have changed since {self.folder} was written: {describe(stale)}. "
                f"To train on what they are now, {again}"
            )

    def image(self, item: Item) -> np.ndarray:
        """H W 3 uint8 RGB, mapped from the cache: pages are read when they are touched."""
        entry = self._entries[item.image]
        size = 3 * entry.height * entry.width
        return self._shard(entry.shard)[entry.offset :][:size].reshape(entry.height, entry.width, 3)

    def labels(self, item: Item) -> np.ndarray:
        """Class indices H W uint8, mapped too unless a taxonomy converts them."""
        entry = self._entries[item.image]
        size = entry.height * entry.width
        mask = self._shard(entry.shard)[entry.offset + 3 * size :][:size].reshape(entry.height, entry.width)
        return mask if self._table is None else cv2.LUT(mask, self._table)

    def _shard(self, name: str) -> np.ndarray:
        if name not in self._shards:
            # "c": arrays may be written to, as those of files may, and the file stays as it is
            self._shards[name] = np.asarray(np.memmap(self.folder / name, np.uint8, "c"))
        return self._shards[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": {}}  # a mapping would be pickled as its content


def write_cache(
    items: Iterable[Item],
    root: Path,
    space: LabelSpace,
    folder: Path,
    scale: float = 1.0,
    workers: int = 0,
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Decode what a cache does not hold yet; files that changed are decoded again.

    Args:
        items: of all parts; one image may come twice.
        root: of the data set.
        space: decodes the masks.
        folder: of the cache; created.
        scale: images and masks are resized by it (``geometry.resize_image``, ``resize_mask``).
        workers: decoding threads, as ``parallel_map`` takes them.
        shard_bytes: a shard ends with the image that reaches it.

    Returns:
        Number of images decoded.

    Raises:
        SeglabError: the folder holds another cache or is being written to, the disk is too small, or a file cannot be
            decoded.
    """
    if not 0 < scale <= 1:
        raise SeglabError(f"--scale {scale}: give a factor above 0, and 1 for the images as they are")
    unique = {item.image: item for item in sorted(items, key=lambda item: item.mask is not None)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder):
            remove_partial(folder)
            index = Index(scale, [int(index) for index in space.decode], [], _colours(space))
            kept = _whole_entries(folder, index)
            wanted = [item for _, item in sorted(unique.items())]
            known = {root / entry.image: entry for entry in kept}
            todo = [i for i in wanted if i.image not in known or not _is_current(known[i.image], i, root)]
            sizes = list(parallel_map(lambda item: _bytes(item, scale), todo, "sizes", workers))
            _check_disk(folder, sum(sizes), len(todo))
            redone = {item.image for item in todo}
            entries = [known[item.image] for item in wanted if item.image not in redone]
            decoded = parallel_map(_decoder(root, space, scale), todo, "decoding", workers)
            for count in _shares(sizes, shard_bytes):
                entries += _write_shard(folder, index, decoded, count)
            _finish(folder, index._replace(entries=entries))
    except OSError as error:
        raise SeglabError(f"{folder} cannot be written ({error}): choose another --output") from error
    return len(todo)


def verify_cache(folder: Path) -> int:
    """Compare every entry with its checksums; returns how many there are.

    Raises:
        SeglabError: one differs.
    """
    index = load_index(folder)
    spoiled = [
        entry.image
        for entry in progress(index.entries, "verifying")
        if not _is_sound(np.memmap(folder / entry.shard, np.uint8, "r"), entry)
    ]
    if spoiled:
        raise SeglabError(
            f"{len(spoiled)} of {len(index.entries)} entries of {folder} are damaged: {describe(spoiled)}. Remove the "
            "folder and run `seglab data cache` again"
        )
    return len(index.entries)


def load_index(folder: Path) -> Index:
    """The index of a finished cache whose shards have the size that they should.

    Raises:
        SeglabError: the cache is absent, unfinished, truncated or of another version.
    """
    again = "run `seglab data cache`, with --output as that folder"
    if not (folder / INDEX).is_file():
        state = "is unfinished" if any(folder.glob("shard_*")) else "holds no cache"
        raise SeglabError(f"{folder} {state} ({INDEX} is not there): {again}")
    index = _read_index(folder / INDEX)
    if short := [name for name, size in _shard_sizes(index).items() if _size(folder / name) < size]:
        raise SeglabError(f"{folder} is truncated: {describe(short)}. Remove the folder and {again}")
    return index


def _conversion(folder: Path, stored: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Look-up table from the classes that a cache holds to those of another label space; None where they are equal."""
    table = np.arange(256, dtype=np.uint8)
    for index in set(stored.tolist()) - {UNKNOWN}:
        becomes = set(wanted[stored == index].tolist())
        if len(becomes) > 1 or UNKNOWN in becomes or (index == IGNORE and becomes != {IGNORE}):
            ids = np.flatnonzero(stored == index).tolist()
            raise SeglabError(
                f"{folder} was written with another label space, which makes one class of the ids {ids}; this one does "
                "not: write another cache with `seglab data cache` and the config that trains"
            )
        table[index] = becomes.pop()
    return None if (table == np.arange(256)).all() else table


def _colours(space: LabelSpace) -> list[list[int]]:
    return [list(colour) for colour in space.stored_colours]


def _stamp(item: Item) -> list[int]:
    stamp = []
    for path in (item.image, item.mask):
        if path is not None:
            try:
                status = path.stat()
            except OSError as error:
                raise SeglabError(f"{path} cannot be read ({error.strerror}): restore it or leave it out") from error
            stamp += [status.st_size, int(status.st_mtime)]  # archives and copies keep whole seconds
    return stamp


def _is_current(entry: Entry, item: Item, root: Path) -> bool:
    if item.mask is None:  # whatever mask the cache holds, nobody asks for it
        return entry.stamp[:2] == _stamp(item)
    return entry.mask == _name(item.mask, root) and entry.stamp == _stamp(item)


def _name(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _bytes(item: Item, scale: float) -> int:
    """What an item will take, from the header of its image."""
    try:
        with Image.open(item.image) as image:
            width, height = image.size
    except Exception:  # reading it whole says what is wrong
        height, width = read_image(item.image).shape[:2]
    height, width = scaled_size((height, width), scale)
    return height * width * (3 if item.mask is None else 4)


def _check_disk(folder: Path, needed: int, count: int) -> None:
    free = shutil.disk_usage(folder).free
    print(f"seglab: {folder}: {count} images to decode, {needed / 1e9:.2f} GB; {free / 1e9:.2f} GB are free")
    if needed + SPARE_BYTES > free:
        raise SeglabError(
            f"{folder} needs {needed / 1e9:.2f} GB, but its disk has {free / 1e9:.2f} GB left: choose another "
            "--output, or a --scale below 1"
        )


def _shares(sizes: Sequence[int], most: int) -> list[int]:
    """How many images each shard takes."""
    counts, room = [], 0
    for size in sizes:
        if room <= 0:
            counts.append(0)
            room = most
        counts[-1] += 1
        room -= size
    return counts


def _decoder(root: Path, space: LabelSpace, scale: float) -> Callable[[Item], tuple[Entry, np.ndarray, np.ndarray]]:
    def decode(item: Item) -> tuple[Entry, np.ndarray, np.ndarray]:
        stamp = _stamp(item)  # before reading: a file that changes meanwhile is stale
        mask = np.zeros((0, 0), np.uint8)
        if item.mask is None:
            image = read_image(item.image)
        else:
            image, mask = read_pair(item, space)
        if scale < 1:
            height, width = scaled_size(image.shape, scale)
            image = resize_image(image, (height, width))
            if mask.size:
                mask = resize_mask(mask, (height, width))
        image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
        name = None if item.mask is None else _name(item.mask, root)
        sums = [zlib.crc32(part.data) for part in (image, mask) if part.size]
        entry = Entry(_name(item.image, root), name, stamp, "", 0, image.shape[0], image.shape[1], sums)
        return entry, image, mask

    return decode


def _write_shard(
    folder: Path, index: Index, decoded: Iterator[tuple[Entry, np.ndarray, np.ndarray]], count: int
) -> list[Entry]:
    """Write the next ``count`` images to a new shard, and what they are beside it."""
    taken = [int(path.stem.removeprefix("shard_")) for path in folder.glob("shard_*.bin")]
    shard = folder / f"shard_{max(taken, default=-1) + 1:05d}.bin"
    entries = []

    def write(file: BinaryIO) -> None:
        for _ in range(count):
            entry, image, mask = next(decoded)
            entries.append(entry._replace(shard=shard.name, offset=file.tell()))
            file.write(image.data)
            file.write(mask.data)
        file.flush()
        written = np.memmap(file.name, np.uint8, "r")
        if not all(_is_sound(written, entry) for entry in entries):
            raise SeglabError(f"{shard} does not read back as it was written: check the disk, or choose another one")

    write_whole(shard, write, durable=True)
    _write_index(shard.with_suffix(".json"), index._replace(entries=entries))
    return entries


def _is_sound(shard: np.ndarray, entry: Entry) -> bool:
    pixels = entry.height * entry.width
    parts = [(entry.offset, 3 * pixels), (entry.offset + 3 * pixels, pixels)]
    sums = [zlib.crc32(shard[start : start + size].data) for start, size in parts[: len(entry.checksums)]]
    return sums == entry.checksums


def _whole_entries(folder: Path, wanted: Index) -> list[Entry]:
    """What earlier runs, finished or killed, left whole."""
    found: dict[str, Entry] = {}
    parts = [folder / INDEX, *sorted(folder.glob("shard_*.json"))]
    for path in parts:
        if not path.is_file():
            continue
        index = _read_index(path)
        if index._replace(entries=[]) != wanted:
            what = f"scale {index.scale}" if index.scale != wanted.scale else "another label space"
            raise SeglabError(f"{folder} holds a cache of {what}: choose another --output, or remove it")
        sizes = _shard_sizes(index)
        found |= {entry.image: entry for entry in index.entries if _size(folder / entry.shard) >= sizes[entry.shard]}
    return list(found.values())


def _finish(folder: Path, index: Index) -> None:
    _write_index(folder / INDEX, index)
    used = _shard_sizes(index)
    for path in folder.glob("shard_*"):
        if path.name not in used:  # parts of the index, what a killed run left, shards whose files all changed
            path.unlink()


def _shard_sizes(index: Index) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for entry in index.entries:
        sizes[entry.shard] = max(sizes.get(entry.shard, 0), entry.offset + entry.bytes)
    return sizes


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _read_index(path: Path) -> Index:
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT and (content["format"], content["scale"]) != (1, 1):
            raise SeglabError(f"{path} is of another version: remove its folder and run `seglab data cache` again")
        index = Index(float(content["scale"]), content["decode"], [Entry(*entry) for entry in content["entries"]])
        index = index._replace(colours=[[int(part) for part in colour] for colour in content.get("colours", [])])
        np.array(index.decode, np.uint8).reshape(256)
        if not all(map(_is_possible, index.entries)):
            raise ValueError("an entry")
        return index
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise SeglabError(f"{path} is damaged: remove its folder and run `seglab data cache` again") from error


def _is_possible(entry: Entry) -> bool:
    """Whether it has the types of one, and lies in a shard beside the index: the file may come from anywhere."""
    numbers = (entry.offset, entry.height, entry.width, *entry.stamp, *entry.checksums)
    return (
        re.fullmatch(r"shard_\d+\.bin", entry.shard) is not None
        and isinstance(entry.image, str)
        and isinstance(entry.mask, str | None)
        and all(type(number) is int for number in numbers)
        and min(entry.offset, entry.height - 1, entry.width - 1) >= 0
        and len(entry.checksums) == (1 if entry.mask is None else 2)
    )


def _write_index(path: Path, index: Index) -> None:
    write_whole(path, json.dumps({"format": FORMAT, **index._asdict()}), durable=True)
