"""Domain adaptation: labels of one data set, images and perhaps a few labels of another."""

from collections.abc import Iterable, Mapping

import numpy as np

from seglab.data.dataset import DataSet
from seglab.data.module import SegmentationData
from seglab.data.streams import Feed
from seglab.labels import IGNORE, LabelSpace, Taxonomy
from seglab.types import SeglabError

REMEDY = "A taxonomy converts one into the other: --data.source.taxonomy FILE, as those of experiments/taxonomy"
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
        refines: source and target name their classes differently, or the source's mean more: class of the source ->
            classes of the target that it may be. Source labels become the first of them, those of a class that the
            target has by name are that, and others are ignored. ``{}``: by name alone. A class list that differs from
            the target's is for methods that are made for it (``Method.adapts_classes``). None: both have one list.
        seed: set by the run's seed.

    Raises:
        SeglabError: the two name their classes differently, ``refines`` does not fit them, a step cannot hold that many
            labeled target images, the target has ``rare_classes`` or ``category_cap`` without labeled images, or the
            source has pseudo-labels.
    """

    def __init__(
        self,
        source: DataSet,
        target: DataSet,
        target_labeled_batch: int = 0,
        refines: dict[str, list[str]] | None = None,
        seed: int = 0,
    ) -> None:
        self.differ = source.space.names != target.space.names
        self.lists = f"{list(source.space.names)} and {list(target.space.names)}"
        if self.differ and refines is None:
            raise SeglabError(
                f"source and target name different classes: {self.lists}. {REMEDY}, or, for a method that is made for "
                "it, --data.refines {} says that they differ"
            )
        self._may_become = possible_labels(source.space, target.space, refines or {})
        if self.differ:
            source.read_as(first_of_each(source.space, target.space, refines or {}))
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
        if source.pseudo_labels or target.pseudo_masks:
            raise SeglabError("pseudo_labels are of unlabeled images: give them to the target")
        super().__init__()
        self.source, self.target, self.target_labeled_batch = source, target, target_labeled_batch
        self.space, self.workers, self.seed = target.space, target.workers, seed

    def require(self, reads: Mapping[str, Iterable[str]], adapts_classes: bool = False) -> None:
        super().require(reads)
        if self.differ and not adapts_classes:
            raise SeglabError(
                f"source and target name different classes: {self.lists}, and the method needs one list. {REMEDY}, or "
                "choose a method that is made for different ones, such as tada"
            )

    @property
    def may_become(self) -> np.ndarray:
        return self._may_become

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
        tagged = Feed("source.labeled_batch", self.source.streams["tagged"].parts)
        return of_target | {"labeled": Feed("source.labeled_batch", labeled), "tagged": tagged}

    @property
    def split(self) -> str:
        return self.target.split if self.target_labeled_batch else "none"


def first_of_each(source: LabelSpace, target: LabelSpace, refines: Mapping[str, list[str]]) -> Taxonomy:
    """The source's classes as the target's: the first that ``refines`` names, or the one of the same name."""
    known = {name: refines[name][0] if name in refines else name for name in source.names}
    return Taxonomy(target.names, {old: new for old, new in known.items() if new in target.names})


def possible_labels(source: LabelSpace, target: LabelSpace, refines: Mapping[str, list[str]]) -> np.ndarray:
    """256 K bool: row s, column k is True if a source pixel that is labelled s may be of the target's class k.

    A pixel of a class always may be of that class. One without a label may be of those that no source class stands for.

    Raises:
        SeglabError: ``refines`` names a class that there is not, none for a class, or one class as two's first.
    """
    for old, parts in refines.items():
        if old not in source.names or not parts or not set(parts) <= set(target.names):
            raise SeglabError(
                f"data.refines: {old}: {parts}: give classes of the source {list(source.names)}, and for each one or "
                f"more of the target {list(target.names)}"
            )
    stored = [source.names[index] for index in sorted(set(source.decode[source.decode < source.num_classes].tolist()))]
    parts_of = {old: refines.get(old, [old] if old in target.names else []) for old in stored}
    firsts = [parts[0] for parts in parts_of.values() if parts]
    if repeated := sorted({name for name in firsts if firsts.count(name) > 1}):
        raise SeglabError(
            f"data.refines: two classes of the source become {', '.join(repeated)}: name another class first for one"
        )
    table = np.zeros((IGNORE + 1, target.num_classes), bool)
    for parts in filter(None, parts_of.values()):
        for part in parts:
            table[target.names.index(parts[0]), target.names.index(part)] = True
    table[IGNORE] = ~table.any(0)
    return table
