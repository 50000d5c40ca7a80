"""Unsupervised domain adaptation: labels of one data set, images of another."""

from seglab.data.datamodule import SegmentationData
from seglab.data.files import Item
from seglab.data.streams import Stream
from seglab.types import SeglabError


class DomainAdaptation(SegmentationData):
    """Labeled source, unlabeled target; evaluated on the target.

    Args:
        source: its labeled images, crop, scale and ``labeled_batch`` are used.
        target: its unlabeled training images, crop, scale, ``unlabeled_batch``, workers and evaluation parts are used.
        seed: set by the run's seed.

    Raises:
        SeglabError: the two name their classes differently.
    """

    def __init__(self, source: SegmentationData, target: SegmentationData, seed: int = 0) -> None:
        if source.space.names != target.space.names:
            raise SeglabError(
                f"source and target name different classes: {list(source.space.names)} and {list(target.space.names)}"
            )
        super().__init__(
            root=str(target.root),
            labeled_batch=source.labeled_batch,
            unlabeled_batch=target.unlabeled_batch,
            workers=target.workers,
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

    def labeled_stream(self, seed: int) -> Stream:
        return self.source.labeled_stream(seed)

    def unlabeled_stream(self, seed: int) -> Stream:
        return self.target.unlabeled_stream(seed)
