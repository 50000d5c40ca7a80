"""Domain adaptation: labels of one data set, images and perhaps a few labels of another."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from seglab.data.class_counts import ClassCounts
from seglab.data.decode import Reader
from seglab.data.files import Item
from seglab.data.module import LABELED, SegmentationData
from seglab.data.sampling import Pick
from seglab.data.streams import Stream
from seglab.types import SeglabError

TARGET_LABELED = 2  # stream tag, beside those of the data module


class DomainAdaptation(SegmentationData):
    """Labeled source, unlabeled target; evaluated on the target.

    With ``target_labeled_batch`` the target gives a few labels too (semi-supervised adaptation): its ``labeled``
    chooses them, and its ``unlabeled`` the unlabeled images, which are the rest unless it says otherwise.

    Args:
        source: its labeled images, crop, scale, ``rare_classes``, ``category_cap`` and ``labeled_batch`` are used.
        target: its unlabeled training images, crop, scale, ``pseudo_labels``, ``unlabeled_batch``, workers and
            evaluation parts are used; with ``target_labeled_batch`` its labeled images, ``rare_classes`` and
            ``category_cap`` too.
        target_labeled_batch: so many of the ``labeled_batch`` images of a step are labeled images of the target.
        seed: set by the run's seed.

    Raises:
        SeglabError: the two name their classes differently, a step cannot hold that many labeled target images, the
            target asks for a law of labeled crops that it does not give, or the source for pseudo-labels.
    """

    def __init__(
        self, source: SegmentationData, target: SegmentationData, target_labeled_batch: int = 0, seed: int = 0
    ) -> None:
        if source.space.names != target.space.names:
            raise SeglabError(
                f"source and target name different classes: {list(source.space.names)} and {list(target.space.names)}. "
                "A taxonomy converts one into the other: --data.source.taxonomy FILE, as those of experiments/taxonomy"
            )
        if not 0 <= target_labeled_batch < source.labeled_batch:
            raise SeglabError(
                f"target_labeled_batch {target_labeled_batch} of the source's labeled_batch {source.labeled_batch}: "
                "choose 0 or more, and leave the source at least one"
            )
        if target_labeled_batch and source.crop != target.crop:
            raise SeglabError(
                f"labeled images of source and target share a batch, but their crops are {source.crop} and "
                f"{target.crop}: choose one"
            )
        if not target_labeled_batch and (target.rare_classes or target.category_cap < 1):
            raise SeglabError("rare_classes and category_cap choose labeled crops: give them to the source")
        if source.pseudo_labels:
            raise SeglabError("pseudo_labels are of unlabeled images: give them to the target")
        super().__init__(
            root=str(target.root),
            labeled_batch=source.labeled_batch,
            unlabeled_batch=target.unlabeled_batch,
            workers=target.workers,
            rare_classes=source.rare_classes or target.rare_classes,
            seed=seed,
        )
        self.source, self.target = source, target
        self.target_labeled_batch = target_labeled_batch
        self.space, self.layout = target.space, target.layout

    @property
    def split(self) -> str:
        return self.target.split if self.target_labeled_batch else "none"

    def find(self, split: str) -> list[Item]:
        return self.target.items(split)

    _listing = find  # the target remembers

    def labeled_items(self) -> list[Item]:
        return self.source.labeled_items() + (self.target.labeled_items() if self.target_labeled_batch else [])

    def unlabeled_items(self) -> list[Item]:
        return self.target.unlabeled_items()

    def batches(self, streams: Sequence[str]) -> dict[str, int]:
        side = {"labeled_batch": "source", "unlabeled_batch": "target"}
        return {f"{side[key]}.{key}": batch for key, batch in super().batches(streams).items()}

    def class_counts(self) -> ClassCounts:
        source = self.source.class_counts()
        if not self.target_labeled_batch:
            return source
        target = self.target.class_counts()
        return ClassCounts(source.keys + target.keys, np.concatenate([source.pixels, target.pixels]))

    def reader(self, items: Sequence[Item], evaluation: bool = False) -> Reader:
        return self.target.reader(items, evaluation)

    def labeled_stream(self, seed: int, tag: int = LABELED) -> Stream:
        source = self.source.labeled_stream(seed, tag)
        if not self.target_labeled_batch:
            return source
        target = self.target.labeled_stream(seed, TARGET_LABELED)
        return SharedStream(source, target, self.labeled_batch, self.target_labeled_batch)

    def unlabeled_stream(self, seed: int) -> Stream:
        return self.target.unlabeled_stream(seed)

    def unlabeled_frames(self, items: Sequence[Item]) -> DataLoader:
        return self.target.unlabeled_frames(items)


class SharedStream(Stream):
    """Two streams in fixed shares of each batch: the sample at a position stays a function of the position alone.

    Args:
        source: gives the images of a batch from place ``share`` on.
        target: gives the first ``share`` images of each batch.
        batch: global batch size.
        share: images of the target in it.
    """

    def __init__(self, source: Stream, target: Stream, batch: int, share: int) -> None:
        self.source, self.target = source, target
        self.batch, self.share = batch, share
        self.order = self._pick

    def _pick(self, position: int) -> Pick:
        stream, position = self._at(position)
        return stream.order(position)

    def __getitem__(self, position: int) -> dict[str, Tensor | str]:
        stream, position = self._at(position)
        return stream[position]

    def _at(self, position: int) -> tuple[Stream, int]:
        step, place = divmod(position, self.batch)
        if place < self.share:
            return self.target, step * self.share + place
        return self.source, step * (self.batch - self.share) + place - self.share
