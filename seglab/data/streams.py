"""Endless streams whose sample at position i is a pure function of (seed, i).

So the data that a run sees depends neither on the number of workers nor on the number of ranks, and a resumed run
starts at position ``steps x batch`` without stored state.
"""

from collections.abc import Iterator, Sequence

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from seglab.data.files import Item, Reader
from seglab.types import SeglabError


class Stream(Dataset[dict[str, Tensor | str]]):
    """Samples by position: pass i // n, a permutation seeded by (seed, pass), a crop seeded by (seed, i).

    Args:
        items: the images it draws from.
        reader: gives their pixels.
        view: geometry with targets ``image``, ``valid`` and ``mask`` (``geometry.weak_view``).
        seed: of the run.
        tag: tells streams of one run apart, so that they are not in step.
        mask: under which name a sample carries the mask: ``mask`` (labeled stream), ``hidden`` (ground truth of
            unlabeled images that only pseudo-label quality curves read), or None to leave mask files alone.
    """

    def __init__(
        self,
        items: Sequence[Item],
        reader: Reader,
        view: A.Compose,
        seed: int,
        tag: int,
        mask: str | None = "mask",
    ) -> None:
        if not items:
            raise SeglabError("a stream needs at least one image: the labeled or unlabeled set is empty")
        self.items, self.reader, self.view = items, reader, view
        self.seed, self.tag, self.mask = seed, tag, mask
        self._order: tuple[int, np.ndarray] | None = None

    def item(self, position: int) -> Item:
        lap, offset = divmod(position, len(self.items))
        if self._order is None or self._order[0] != lap:
            self._order = lap, np.random.default_rng([self.seed, self.tag, lap]).permutation(len(self.items))
        return self.items[self._order[1][offset]]

    def __getitem__(self, position: int) -> dict[str, Tensor | str]:
        item = self.item(position)
        if self.mask is None or item.mask is None:
            arrays = {"image": self.reader.image(item)}
        else:
            image, mask = self.reader.pair(item)
            arrays = {"image": image, "mask": mask}
        arrays["valid"] = np.zeros(arrays["image"].shape[:2], np.uint8)
        self.view.set_random_seed(int(np.random.SeedSequence([self.seed, self.tag, position]).generate_state(1)[0]))
        arrays = self.view(**arrays)

        sample: dict[str, Tensor | str] = {
            "image": torch.from_numpy(np.ascontiguousarray(arrays["image"].transpose(2, 0, 1))),  # 3 H W uint8
            "valid": torch.from_numpy(arrays["valid"] == 0),  # H W bool
            "key": item.key,
        }
        if self.mask is not None:
            # an unlabeled image without ground truth still needs one to be collated: everything ignored
            mask = arrays.get("mask", np.full(arrays["image"].shape[:2], 255, np.uint8))
            sample[self.mask] = torch.from_numpy(np.ascontiguousarray(mask))  # H W uint8
        return sample


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


class Frames(Dataset[dict[str, Tensor | str]]):
    """Whole images in file order, for evaluation; every ``world``-th from ``rank`` on, so that none counts twice."""

    def __init__(self, items: Sequence[Item], reader: Reader, rank: int = 0, world: int = 1) -> None:
        self.items, self.reader = list(items)[rank::world], reader

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        item = self.items[index]
        if item.mask is None:
            image, mask = self.reader.image(item), None
        else:
            image, mask = self.reader.pair(item)
        sample: dict[str, Tensor | str] = {"image": torch.from_numpy(image).permute(2, 0, 1), "key": item.key}
        if mask is not None:
            sample["mask"] = torch.from_numpy(mask)
        return sample


def stream_loader(stream: Stream, positions: Positions, workers: int) -> DataLoader:
    """An endless loader over a stream."""
    return _loader(stream, workers, batch_sampler=positions)


def frame_loader(frames: Frames, workers: int) -> DataLoader:
    """A loader over whole images of any size, one at a time."""
    return _loader(frames, workers, batch_size=1)


def _loader(dataset: Dataset, workers: int, **options: object) -> DataLoader:
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread,
        generator=torch.Generator(),  # its own: creating the iterator draws from it
        **options,  # type: ignore[arg-type]
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
