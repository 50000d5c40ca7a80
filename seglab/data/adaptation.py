"""Domain adaptation: labels of one data set, images and perhaps a few labels of another."""

from seglab.data.dataset import DataSet
from seglab.data.module import SegmentationData
from seglab.data.streams import Feed
from seglab.types import SeglabError

TARGET_LABELED = 2  # stream tag, beside those of a data set


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
            target has ``rare_classes`` or ``category_cap`` without labeled images, or the source for pseudo-labels.
    """

    def __init__(self, source: DataSet, target: DataSet, target_labeled_batch: int = 0, seed: int = 0) -> None:
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
        super().__init__()
        self.source, self.target, self.target_labeled_batch = source, target, target_labeled_batch
        self.space, self.workers, self.seed = target.space, target.workers, seed

    @property
    def sides(self) -> dict[str, DataSet]:
        return {"source": self.source, "target": self.target}

    @property
    def streams(self) -> dict[str, Feed]:
        of_target = {name: Feed(f"target.{feed.key}", feed.parts) for name, feed in self.target.streams.items()}
        labeled = self.source.streams["labeled"].parts
        if few := self.target_labeled_batch:
            (of_few,), (of_source,) = of_target["labeled"].parts, labeled
            of_source = of_source._replace(batch=of_source.batch - few)
            labeled = (of_few._replace(batch=few, tag=TARGET_LABELED), of_source)
        return of_target | {"labeled": Feed("source.labeled_batch", labeled)}

    @property
    def split(self) -> str:
        return self.target.split if self.target_labeled_batch else "none"
