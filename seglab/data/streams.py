"""Endless streams whose sample at position i is a pure function of (seed, i).

So the data that a run sees depends neither on the number of workers nor on the number of ranks, and a resumed run
starts at position ``steps x batch`` without stored state.
"""

import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from seglab.data.class_counts import ClassCounts
from seglab.data.decode import Reader, check_size, read_labels, scaled_size
from seglab.data.files import Item
from seglab.data.geometry import crop_place, planes, resize_mask
from seglab.data.points import Points
from seglab.data.sampling import Order, Pick
from seglab.data.tags import Tags
from seglab.labels import IGNORE, LabelSpace
from seglab.types import SeglabError

EVERY_SAMPLE = ("image", "valid", "key")  # keys that samples of any stream have
PLACE = ("box", "flip", "size", "domain")  # and those that they have where a method reads them
Masks = Callable[[Item, np.ndarray], np.ndarray]  # an item and its image H W 3 -> class indices H W


@dataclass(frozen=True)
class Truth:
    """The masks of the data set; an image without one, collated with others, has everything ignored."""

    reader: Reader

    def __call__(self, item: Item, image: np.ndarray) -> np.ndarray:
        """Class indices H W uint8."""
        if item.mask is None:
            return np.full(image.shape[:2], IGNORE, np.uint8)
        mask = self.reader.labels(item)
        check_size(item.mask, mask, item.image, image)
        return mask


@dataclass(frozen=True)
class Hidden(Truth):
    """The masks of unlabeled images, for diagnosis alone: one that cannot be read counts as none."""

    def __call__(self, item: Item, image: np.ndarray) -> np.ndarray:
        """Class indices H W uint8."""
        try:
            return super().__call__(item, image)
        except SeglabError as error:
            _warn_once(f"no hidden truth of {item.image}: {error}")
            return np.full(image.shape[:2], IGNORE, np.uint8)


@cache
def _warn_once(text: str) -> None:
    print(f"seglab: warning: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class MaskFiles:
    """Other masks, in files of the size of the images' files."""

    path: Callable[[Item], Path]
    space: LabelSpace
    scale: float = 1.0  # of the images that the masks go with

    def __call__(self, item: Item, image: np.ndarray) -> np.ndarray:
        """Class indices H W uint8, resized (nearest) where the image is."""
        path = self.path(item)
        mask = read_labels(path, self.space)
        if self.scale != 1 and scaled_size(mask.shape, self.scale) == image.shape[:2]:
            return resize_mask(mask, image.shape[:2])
        check_size(path, mask, item.image, image)
        return mask


class Stream(Dataset[dict[str, Tensor | str]]):
    """Samples by position: an order picks the image, a view seeded by (seed, tag, position) cuts it.

    Args:
        order: picks an image and the rules of its crop for a position (``sampling.Shuffled``, ``RareFirst``).
        reader: gives the pixels of images.
        masks: name in the sample -> masks: ``mask`` (labeled stream), ``hidden`` (ground truth of unlabeled images
            that only pseudo-label quality curves read), ``pseudo`` (pseudo-labels of an earlier run).
        view: geometry of the image, of ``valid`` and of the masks (``geometry.weak_view``).
        seed: of the run.
        tag: tells streams of one run apart, so that they are not in step.
        points: key of an image -> its labeled pixels, painted into a ``mask`` after all geometry.
        translated: gives the translation H W 3 of an image, which shares its geometry.
        tags: key of an image -> K bool, the classes that it shows.
    """

    place: tuple[str, ...] = ()  # those of PLACE that samples have
    domain = 0

    def __init__(
        self,
        order: Order,
        reader: Reader,
        masks: Mapping[str, Masks],
        view: A.Compose,
        seed: int,
        tag: int,
        points: Mapping[str, Points] | None = None,
        translated: Masks | None = None,
        tags: Tags | None = None,
    ) -> None:
        self.order, self.reader, self.masks, self.view = order, reader, masks, view
        self.seed, self.tag, self.points, self.translated, self.tags = seed, tag, points, translated, tags

    def __getitem__(self, position: int) -> dict[str, Tensor | str]:
        item, rules = self.order(position)
        image = self.reader.image(item)
        arrays: dict[str, Any] = {"image": image, "valid": np.zeros(image.shape[:2], np.uint8)}
        arrays |= {name: masks(item, image) for name, masks in self.masks.items()}
        if self.translated is not None:
            arrays["translated"] = self.translated(item, image)
        if self.points is not None:
            arrays["points"] = self.points[item.key]
        self.view.set_random_seed(int(np.random.SeedSequence([self.seed, self.tag, position]).generate_state(1)[0]))
        arrays = self.view(**arrays, rules=rules)

        sample: dict[str, Tensor | str] = {
            "image": torch.from_numpy(planes(arrays["image"])),  # 3 H W uint8
            "valid": torch.from_numpy(arrays["valid"] == 0),  # H W bool
            "key": item.key,
        }
        for name in self.masks:
            sample[name] = torch.from_numpy(np.ascontiguousarray(arrays[name]))  # H W uint8
        if self.translated is not None:
            sample["translated"] = torch.from_numpy(planes(arrays["translated"]))  # 3 H W uint8
        if self.place:
            known = crop_place(arrays["applied_transforms"], arrays["image"].shape[:2], self.reader.scale)
            known |= {"domain": self.domain}
            sample |= {name: torch.tensor(known[name]) for name in self.place}
        if self.points is not None:
            sample["mask"] = torch.from_numpy(arrays["points"].mask())
        if self.tags is not None:
            sample["tags"] = torch.from_numpy(self.tags[item.key])
        return sample

    def locate(self, keys: Collection[str], domain: int = 0) -> None:
        """Give samples those of ``PLACE`` that are among the keys; they are of this domain."""
        self.domain = domain
        self.place = tuple(key for key in PLACE if key in keys)
        self.view.save_applied_params = bool(self.place)


class Positions(Sampler[list[int]]):
    """The positions of this rank's share of each global batch, from a start on, without end.

    Args:
        batch: global batch size.
        start: first global batch.
        rank, world: this process and how many there are; rank r takes positions r, r + world, ... of each batch.

    Raises:
        SeglabError: the batch is empty or does not divide over the ranks.
    """

    def __init__(self, batch: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        if batch < 1:
            raise SeglabError(f"a global batch of {batch} images is empty: choose 1 or more")
        if batch % world:
            raise SeglabError(
                f"a global batch of {batch} does not divide over {world} ranks: choose a multiple of {world}"
            )
        self.batch, self.start, self.rank, self.world = batch, start, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start
        while True:
            yield list(range(step * self.batch + self.rank, (step + 1) * self.batch, self.world))
            step += 1


class SharedStream(Stream):
    """Streams in fixed shares of each batch: the sample at a position stays a function of the position alone.

    Args:
        streams: the first gives the first images of each batch, and so on.
        shares: images of each in a global batch.
    """

    def __init__(self, streams: Sequence[Stream], shares: Sequence[int]) -> None:
        self.streams, self.shares = streams, shares
        self.order = self._pick

    def _pick(self, position: int) -> Pick:
        stream, position = self._at(position)
        return stream.order(position)

    def __getitem__(self, position: int) -> dict[str, Tensor | str]:
        stream, position = self._at(position)
        sample = stream[position]
        if not all("hidden" in part.masks for part in self.streams):
            sample.pop("hidden", None)
        return sample

    def _at(self, position: int) -> tuple[Stream, int]:
        step, place = divmod(position, sum(self.shares))
        which = 0
        while place >= self.shares[which]:
            place -= self.shares[which]
            which += 1
        return self.streams[which], step * self.shares[which] + place


class Side(Protocol):
    """What streams and evaluation ask of a data set, alone or as one side of an adaptation."""

    layout: str
    hidden_masks: bool

    def items(self, split: str) -> list[Item]: ...

    def reader(self, items: Sequence[Item], evaluation: bool = False, scored: bool = False) -> Reader: ...

    @property
    def counts_first(self) -> bool: ...

    def truth(self, reader: Reader) -> Masks: ...

    @property
    def pointed(self) -> Mapping[str, Points] | None: ...

    @property
    def counted(self) -> ClassCounts: ...

    @property
    def tagged(self) -> Tags: ...


class Part(NamedTuple):
    """A share of a stream: images of one data set.

    Attributes:
        owner: the data set.
        batch: images of a step, over all ranks.
        tag: tells streams of one run apart, so that they are not in step.
        items: lists the images.
        stream: seed and tag -> the stream of these images.
        gives: keys of the samples beside those of every sample.
    """

    owner: Side
    batch: int
    tag: int
    items: Callable[[], list[Item]]
    stream: Callable[[int, int], Stream]
    gives: tuple[str, ...]


class Feed(NamedTuple):
    """Where the images of a stream come from.

    Attributes:
        key: of the batch size, in the data section of the config.
        parts: in the order in which they fill a batch.
    """

    key: str
    parts: tuple[Part, ...]

    @property
    def batch(self) -> int:
        """Images of a step, over all ranks."""
        return sum(part.batch for part in self.parts)

    @property
    def gives(self) -> tuple[str, ...]:
        """Keys of the samples beside those of every sample: what all parts give."""
        return tuple(key for key in self.parts[0].gives if all(key in part.gives for part in self.parts))


class Frames(Dataset[dict[str, Tensor | str]]):
    """Whole images in file order; every ``world``-th from ``rank`` on, so that none counts twice.

    Args:
        items: images of any size.
        reader: gives their pixels.
        masks: name in the sample -> masks, for the items that have one.
        rank, world: this process and how many there are.
        tags: key of an image -> K bool, the classes that it shows.
    """

    def __init__(
        self,
        items: Sequence[Item],
        reader: Reader,
        masks: Mapping[str, Masks],
        rank: int = 0,
        world: int = 1,
        tags: Tags | None = None,
    ) -> None:
        self.items, self.reader, self.masks, self.tags = list(items)[rank::world], reader, masks, tags

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        item = self.items[index]
        image = self.reader.image(item)
        sample: dict[str, Tensor | str] = {
            "image": torch.from_numpy(image).permute(2, 0, 1),  # 3 H W uint8
            "valid": torch.ones(image.shape[:2], dtype=torch.bool),
            "key": item.key,
        }
        if item.mask is not None:
            sample |= {name: torch.from_numpy(masks(item, image)) for name, masks in self.masks.items()}  # H W uint8
        if self.tags is not None:
            sample["tags"] = torch.from_numpy(self.tags[item.key])
        return sample


def stream_loader(stream: Stream, positions: Positions, workers: int) -> DataLoader:
    """An endless loader over a stream."""
    return _loader(stream, workers, batch_sampler=positions)


def frame_loader(frames: Dataset[dict[str, Tensor | str]], workers: int) -> DataLoader:
    """A loader over whole images of any size, one at a time."""
    return _loader(frames, workers, batch_size=1)


def _loader(dataset: Dataset, workers: int, **options: object) -> DataLoader:
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_init_worker,
        generator=torch.Generator(),  # its own: creating the iterator draws from it
        **options,  # type: ignore[arg-type]
    )


def _init_worker(_: int) -> None:
    cv2.setNumThreads(0)
    for number in (signal.SIGTERM, signal.SIGUSR1):  # SLURM signals them too: the run ends its step first
        signal.signal(number, signal.SIG_IGN)
