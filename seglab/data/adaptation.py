"""Unsupervised domain adaptation: labels of one data set, images of another."""

from collections.abc import Sequence

from torch.utils.data import DataLoader

from seglab.data.datamodule import SegmentationData
from seglab.data.files import Item
from seglab.data.statistics import ClassStatistics
from seglab.data.streams import Stream
from seglab.types import SeglabError


class DomainAdaptation(SegmentationData):
    """Labeled source, unlabeled target; evaluated on the target.

    Args:
        source: its labeled images, crop, scale, ``rare_classes``, ``category_cap`` and ``labeled_batch`` are used.
        target: its unlabeled training images, crop, scale, ``pseudo_labels``, ``unlabeled_batch``, workers and
            evaluation parts are used.
        seed: set by the run's seed.

    Raises:
        SeglabError: the two name their classes differently, or the target asks for a law of labeled crops, or the
            source for pseudo-labels.
    """

    def __init__(self, source: SegmentationData, target: SegmentationData, seed: int = 0) -> None:
        if source.space.names != target.space.names:
            raise SeglabError(
                f"source and target name different classes: {list(source.space.names)} and {list(target.space.names)}"
            )
        if target.rare_classes or target.category_cap < 1:
            raise SeglabError("rare_classes and category_cap choose labeled crops: give them to the source")
        if source.pseudo_labels:
            raise SeglabError("pseudo_labels are of unlabeled images: give them to the target")
        super().__init__(
            root=str(target.root),
            labeled_batch=source.labeled_batch,
            unlabeled_batch=target.unlabeled_batch,
            workers=target.workers,
            rare_classes=source.rare_classes,
            seed=seed,
        )
        self.source, self.target = source, target
        self.space, self.layout = target.space, target.layout

    def items(self, split: str) -> list[Item]:
        return self.target.items(split)

    def labeled_items(self) -> list[Item]:
        return self.source.labeled_items()

    def unlabeled_items(self) -> list[Item]:
        return self.target.unlabeled_items()

    def class_statistics(self) -> ClassStatistics:
        return self.source.class_statistics()

    def labeled_stream(self, seed: int) -> Stream:
        return self.source.labeled_stream(seed)

    def unlabeled_stream(self, seed: int) -> Stream:
        return self.target.unlabeled_stream(seed)

    def unlabeled_frames(self, items: Sequence[Item]) -> DataLoader:
        return self.target.unlabeled_frames(items)
