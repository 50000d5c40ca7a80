"""A data set on disk: where its files lie, which of them are labeled, and how they become streams of crops."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import albumentations as A
import numpy as np

from seglab.data.cache import Cache
from seglab.data.class_counts import ClassCounts, class_counts
from seglab.data.class_steps import ClassSteps
from seglab.data.decode import Files, Reader, check_sample
from seglab.data.files import Item, describe
from seglab.data.geometry import weak_view
from seglab.data.lists import is_list, leave_out
from seglab.data.module import SegmentationData
from seglab.data.noise import Noise, NoisyMasks
from seglab.data.notes import note, note_losses
from seglab.data.points import ASK, PointMasks, Points, points_of
from seglab.data.pseudo_labels import described, pseudo_label_files
from seglab.data.sampling import Balanced, Order, RareClasses, RareFirst, Shuffled
from seglab.data.selection import Selection
from seglab.data.streams import Feed, Hidden, Masks, Part, Stream, Truth
from seglab.data.tags import Tags, outside_items, read_tags
from seglab.data.translated import translations
from seglab.labels import LabelSpace, Taxonomy
from seglab.types import SeglabError, require

LABELED, UNLABELED, OUTSIDE = 0, 1, 7  # stream tags
SPLITS = ("train", "val", "test")


class DataSet(SegmentationData, ABC):
    """A data set that learns from few of its own labels; also the source or target of ``DomainAdaptation``.

    A class of its own says three things: ``space``, ``layout`` and ``find``.

    Args:
        root: folder of the data set.
        labeled: the labeled training images: ``all``, ``1/n`` (every n-th in file order; nested), how many of them (the
            number of such a fraction: 46 of 367 is 1/8) or a list file.
        unlabeled: the unlabeled ones: ``rest`` (all that are not labeled; everything when all are labeled), ``all``
            or a list file.
        crop: height and width of training crops, pixels.
        scale: range of the random scale factor of training crops.
        flip: probability that a training crop is mirrored horizontally.
        labeled_batch: labeled images per step, over all ranks.
        unlabeled_batch: unlabeled images per step, over all ranks.
        workers: loader processes per stream.
        hidden_masks: decode ground truth of unlabeled images where it exists, for pseudo-label quality curves only.
        rare_classes: prefer labeled images and crops that show rare classes; off by default.
        category_cap: labeled crops are drawn again, up to 10 times, until they show two classes or more and each has
            less than this share of the labeled pixels; 0.75 in mmsegmentation's recipes, 1 for none. Unlabeled crops
            stay as they are, as in the official code of DAFormer.
        pseudo_labels: folder that ``seglab pseudo-label`` wrote; unlabeled samples then have ``pseudo``.
        counts: folder for the class counts of data sets.
        cache: folder that ``seglab data cache`` wrote for this data set; empty: the files are decoded whenever they
            are seen. ``scale`` stays relative to the files, whatever the scale of the cache. Evaluation reads the cache
            where it is as large as the files, and the files where it is not.
        taxonomy: other classes than the data set's own; in YAML usually the path of a file of experiments/taxonomy.
        class_steps: classes arrive in steps (class-incremental segmentation), and this run is one of them.
        skip: list file of images to leave out of every part, such as those whose label has another size.
        points: list file of labeled pixels (``seglab pick``) in place of the masks of labeled images; all other pixels
            are ignored. Images of ``labeled`` without a labeled pixel are unlabeled.
        noise: makes the masks of labeled images wrong, for methods that learn from such; the true ones then feed the
            curves of label quality, and nothing else.
        translated: folder with a translation of each labeled image into the look of another domain, ``<key>.png`` of
            the image's size; labeled samples then have ``translated``, the same crop of it.
        tags: text file with a line ``KEY: class, class`` for each tagged training image. Empty: the classes in the
            masks of the labeled images. Methods that read tags never see the masks.
        outside: folder of images that show no class, ``unlabeled_batch`` of them per step (W-OoD).
        pseudo_masks: labeled images are the training images that ``pseudo_labels`` has, with those as their masks.
        seed: set by the run's seed.

    Attributes:
        layout: what ``root`` should contain, for messages.
        own_space: the label space before any taxonomy.
        taught_space: the label space of the masks to learn from, not ``space`` where classes arrive in steps.

    Raises:
        SeglabError: the taxonomy or the steps do not fit the classes of the data set.
    """

    layout: str

    def __init__(
        self,
        root: str,
        labeled: str = "all",
        unlabeled: str = "rest",
        crop: tuple[int, int] = (512, 512),
        scale: tuple[float, float] = (0.5, 2.0),
        flip: float = 0.5,
        labeled_batch: int = 4,
        unlabeled_batch: int = 4,
        workers: int = 2,
        hidden_masks: bool = True,
        rare_classes: RareClasses | None = None,
        category_cap: float = 1.0,
        pseudo_labels: str = "",
        counts: str = "runs/counts",
        cache: str = "",
        taxonomy: Taxonomy = Taxonomy(),
        class_steps: ClassSteps = ClassSteps(),
        skip: str = "",
        points: str = "",
        noise: Noise | None = None,
        translated: str = "",
        tags: str = "",
        outside: str = "",
        pseudo_masks: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require(0 <= flip <= 1, f"{type(self).__name__}.flip", flip, "give a probability in [0, 1]")
        if not 0 < category_cap <= 1:
            raise SeglabError(f"category_cap {category_cap} is a share of pixels: above 0, 1 for none")
        if rare_classes:  # not on its own construction: the config parser would bury the message
            rare_classes.check()
        if noise:
            noise.check()
            require(not points, "noise", noise, "it makes masks wrong, and points take their place: choose one")
        self.root = Path(root).expanduser()
        self.labeled, self.unlabeled = labeled, unlabeled
        self.crop, self.scale, self.flip = crop, scale, flip
        self.labeled_batch, self.unlabeled_batch = labeled_batch, unlabeled_batch
        self.workers, self.hidden_masks, self.seed = workers, hidden_masks, seed
        self.rare_classes, self.category_cap = rare_classes, category_cap
        self.pseudo_labels, self.counts = pseudo_labels, Path(counts).expanduser()
        self.translated = Path(translated).expanduser() if translated else None
        self.skip = Path(skip).expanduser() if skip else None
        self.cache = Path(cache).expanduser() if cache else None
        self.points = Path(points).expanduser() if points else None
        self.noise = noise
        self.tags, self.outside, self.pseudo_masks = tags, Path(outside).expanduser(), pseudo_masks
        if pseudo_masks:
            require(bool(pseudo_labels), "data.pseudo_masks", True, "it needs pseudo_labels, a folder of them")
            require(not (points or noise or cache or class_steps.steps), "data.pseudo_masks", True,
                    "leave out points, noise, cache and class_steps")  # fmt: skip
        self.own_space = self.space
        if taxonomy.classes:
            self.space = self.space.converted(taxonomy)
            note_losses(type(self).__name__, self.own_space, taxonomy)
        self.class_steps, self.every_class = class_steps, self.space
        self.taught_space = LabelSpace(self.space.names, self.space.palette) if pseudo_masks else self.space
        if class_steps.steps:
            require(
                not points, "class_steps with points", points, "classes in steps are told by masks, so leave one out"
            )
            self.space, self.taught_space = class_steps.spaces(self.space)
        if self.space.num_classes < 2:
            raise SeglabError(
                f"{type(self).__name__} has one class alone, {self.space.names[0]}: every pixel that counts would be "
                "of it, and the scores perfect. Add a class for the rest, such as classes: [background, "
                f"{self.space.names[0]}], and map its ids to it instead of listing them as void"
            )
        self._listings: dict[str, list[Item]] = {}  # by split, each listed once

    # What the data set is: the only part that its class writes.

    @abstractmethod
    def find(self, split: str) -> list[Item]:
        """Items of ``train``, ``val`` or ``test`` in file order; ``mask`` is None where there is none.

        Raises:
            SeglabError: the layout on disk is not that of the data set.
        """

    def candidates(self, items: list[Item]) -> list[Item]:
        """The training items that a fraction chooses from; a list may name any that has a mask."""
        return items

    def read_as(self, taxonomy: Taxonomy) -> None:
        """Read the masks as other classes than those so far, which the taxonomy maps.

        Raises:
            SeglabError: the taxonomy does not fit them.
        """
        self.space = self.taught_space = self.every_class = self.space.converted(taxonomy)

    # Which images.

    def items(self, split: str) -> list[Item]:
        """What ``find`` finds, without the images that ``skip`` lists.

        Raises:
            SeglabError: as ``find``; or the list is absent, empty, or names an image that no split has.
        """
        items = self._listing(split)
        if self.skip is None:
            return list(items)
        others = [item for other in SPLITS if other != split for item in self._found(other)]
        return leave_out(items, self.skip, others)

    @cached_property
    def selection(self) -> Selection:
        """The labeled and the unlabeled training images; a labeled one may lack its mask."""
        if self.pseudo_masks:
            return self._selection(described(Path(self.pseudo_labels).expanduser(), self.space))
        return self._selection(self.pointed)

    @property
    def askable(self) -> list[Item]:
        """The images that ``labeled`` chooses, for whose pixels somebody may be asked; they need no mask.

        Raises:
            SeglabError: the choice is malformed.
        """
        return self._selection(None).choose(need_masks=False)

    @cached_property
    def pointed(self) -> dict[str, Points] | None:
        """Key -> labeled pixels of each training image that has any; None where masks are the labels.

        Raises:
            SeglabError: the list is absent or wrong, or no pixel of it has a class.
        """
        if self.points is None:
            return None
        found = points_of(self.points, self.space, self.items("train"), lambda: self._found("val"))
        if not found:
            raise SeglabError(f"no pixel in {self.points} has a class: {ASK}")
        return found

    def _selection(self, pointed: Collection[str] | None) -> Selection:
        items = self.items("train")
        candidates = items if is_list(self.labeled) else self.candidates(items)
        if pointed is not None:
            masked = {item.key for item in candidates}
            candidates = [item for item in items if item.key in masked or item.key in pointed]
        return Selection(items, candidates, lambda: self._found("val"), self.labeled, self.unlabeled, pointed)

    def labeled_items(self) -> list[Item]:
        """The labeled training items.

        Raises:
            SeglabError: the choice is malformed or one of them has no mask.
        """
        chosen = self.selection.labeled
        if self.pseudo_masks:
            folder = Path(self.pseudo_labels).expanduser()
            return [item._replace(mask=folder / f"{item.key}.png") for item in chosen]
        if self.pointed is not None:
            if not chosen:
                raise SeglabError(f"labeled {self.labeled} chooses no image that has a labeled pixel in {self.points}")
            return list(chosen)
        if bare := [item.image for item in chosen if item.mask is None]:
            raise SeglabError(
                f"{len(bare)} labeled images have no mask: {describe(bare)}. Expected layout: {self.layout}"
            )
        if not chosen:
            raise SeglabError(f"no training image in {self.root} has a mask. Expected layout: {self.layout}")
        return self._of_step(chosen) if self.class_steps.steps else list(chosen)

    def _of_step(self, items: list[Item]) -> list[Item]:
        """Those that show a class of this run's step."""
        counts = class_counts(items, self.every_class, self.root, self.counts, type(self).__name__, self.noise)
        steps = self.class_steps
        shown = steps.shows(counts.pixels, self.every_class)
        if not shown.any():
            names = " or ".join(steps.classes(self.every_class)[steps.step])
            raise SeglabError(
                f"none of the {len(items)} labeled images belongs to step {steps.step}, that is, shows {names}"
                f"{' and no later class' * (steps.protocol == 'disjoint')}: choose other images or other class_steps"
            )
        return [item for item, chosen in zip(items, shown, strict=True) if chosen]

    def unlabeled_items(self) -> list[Item]:
        """The unlabeled training items; their masks, if any, need not exist.

        Raises:
            SeglabError: the choice is malformed or shares images with the labeled list.
        """
        return list(self.selection.unlabeled)

    def _listing(self, split: str) -> list[Item]:
        if split not in self._listings:
            self._listings[split] = self.find(split)
        return self._listings[split]

    def _found(self, split: str) -> list[Item]:
        try:
            return self._listing(split)
        except SeglabError:  # an absent split: only the wording of a message depends on it
            return []

    # Streams.

    @property
    def sides(self) -> dict[str, "DataSet"]:
        return {"": self}

    @property
    def streams(self) -> dict[str, Feed]:
        pseudo = ("pseudo",) if self.pseudo_labels else ()
        gives = ("mask", "translated") if self.translated else ("mask",)
        labeled = Part(self, self.labeled_batch, LABELED, self.labeled_items, self.labeled_stream, gives)
        unlabeled = Part(self, self.unlabeled_batch, UNLABELED, self.unlabeled_items, self.unlabeled_stream, pseudo)
        tagged = Part(self, self.labeled_batch, LABELED, self.tagged_items, self.tagged_stream, ("tags",))
        feeds = {"labeled": labeled, "unlabeled": unlabeled, "tagged": tagged}
        if self.outside != Path():
            outside = Part(self, self.unlabeled_batch, OUTSIDE, self.outside_items, self.outside_stream, ())
            feeds["outside"] = outside
        keys = {"labeled": "labeled_batch", "tagged": "labeled_batch"}
        return {name: Feed(keys.get(name, "unlabeled_batch"), (part,)) for name, part in feeds.items()}

    @property
    def split(self) -> str:
        return Path(self.labeled).stem if is_list(self.labeled) else self.labeled

    def labeled_stream(self, seed: int, tag: int = LABELED) -> Stream:
        """Weak views of labeled images with ``mask``.

        Raises:
            SeglabError: as ``labeled_items``; or a few of the masks show that all are misread.
        """
        items = self.labeled_items()
        if self.pointed is None:
            check_sample([item.mask for item in items if item.mask], self.taught_space)
        rules = (Balanced(self.category_cap),) if self.category_cap < 1 else ()
        order: Order = Shuffled(items, seed, tag, rules)
        if self.rare_classes:
            order = RareFirst(items, self.counted, self.rare_classes, seed, tag, rules)
        reader = self.reader(items)
        masks: dict[str, Masks] = {"mask": self.truth(reader)} if self.pointed is None else {}
        if self.noise and self.hidden_masks:
            masks["hidden"] = Truth(reader)
        translated = translations(self.translated, items, reader.scale) if self.translated else None
        return Stream(order, reader, masks, self._view(reader), seed, tag, self.pointed, translated)

    def unlabeled_stream(self, seed: int, tag: int = UNLABELED) -> Stream:
        """Weak views of unlabeled images, with ``hidden`` ground truth where it exists and is wanted, and ``pseudo``.

        Raises:
            SeglabError: an image has no pseudo-label, or they are of other classes.
        """
        items = self.unlabeled_items()
        reader = self.reader(items, scored=self.pseudo_masks)
        masks: dict[str, Masks] = {}
        if self.hidden_masks and any(item.mask for item in items):
            masks["hidden"] = Hidden(reader)
        if self.pseudo_labels:
            folder = Path(self.pseudo_labels).expanduser()
            masks["pseudo"] = pseudo_label_files(folder, self.space, items, reader.scale)
        return Stream(Shuffled(items, seed, tag), reader, masks, self._view(reader), seed, tag)

    @cached_property
    def tagged(self) -> Tags:
        """Key -> K bool of each tagged training image.

        Raises:
            SeglabError: as ``read_tags``; or, without a file, as ``counted``.
        """
        if self.tags:
            path = Path(self.tags).expanduser()
            return read_tags(path, self.space, self.items("train"), lambda: self._found("val"))
        return dict(zip(self.counted.keys, self.counted.pixels > 0, strict=True))

    def tagged_items(self) -> list[Item]:
        """All images of the file of tags; without one, the labeled images."""
        return [item for item in self.items("train") if item.key in self.tagged] if self.tags else self.labeled_items()

    def tagged_stream(self, seed: int, tag: int = LABELED) -> Stream:
        """Weak views of tagged images, with the tags of the whole image and without masks."""
        items = self.tagged_items()
        reader = self.reader(items)
        return Stream(Shuffled(items, seed, tag), reader, {}, self._view(reader), seed, tag, tags=self.tagged)

    def outside_items(self) -> list[Item]:
        return outside_items(self.outside)

    def outside_stream(self, seed: int, tag: int = OUTSIDE) -> Stream:
        """Weak views of images that show no class."""
        reader = Files(self.space)
        return Stream(Shuffled(self.outside_items(), seed, tag), reader, {}, self._view(reader), seed, tag)

    def reader(self, items: Sequence[Item], evaluation: bool = False, scored: bool = False) -> Reader:
        """Where the pixels of items come from; whole images for evaluation never come from a downscaled cache.

        Args:
            items: that will be read.
            evaluation: whole images.
            scored: masks are those of the scores, not those to learn from (``class_steps``).

        Raises:
            SeglabError: the cache is absent, damaged, of other classes, lacks an item or is older than one.
        """
        space = self.space if scored else self.taught_space
        if self.cache is None or (items and self.outside in items[0].image.parents and self.outside != Path()):
            return Files(space)
        cache = Cache(self.cache, self.root, space)
        if evaluation and cache.scale != 1:
            return Files(space)
        cache.check(items)
        return cache

    def truth(self, reader: Reader) -> Masks:
        """What labels whole images: the masks, with noise or without, or the labeled pixels."""
        if self.pointed is not None:
            return PointMasks(self.pointed)
        masks = Truth(reader)
        return NoisyMasks(masks, self.noise, self.space.num_classes, reader.scale) if self.noise else masks

    @property
    def counts_first(self) -> bool:
        """Whether classes are counted before labeled images can be chosen."""
        return bool(self.rare_classes or self.class_steps.steps)

    @cached_property
    def counted(self) -> ClassCounts:
        """Pixels of each class in the labeled training images; counted on first use, then read from a file.

        Raises:
            SeglabError: a mask cannot be read.
        """
        if self.pointed is not None:
            keys = tuple(item.key for item in self.labeled_items())
            counts = [self.pointed[key].counts(self.space.num_classes) for key in keys]
            return ClassCounts(keys, np.stack(counts).astype(np.uint32))
        return class_counts(
            self.labeled_items(), self.taught_space, self.root, self.counts, type(self).__name__, self.noise
        )

    def _view(self, reader: Reader) -> A.Compose:
        lowest, highest = self.scale
        if highest > reader.scale < 1:
            note(
                f"{self.cache} holds images at scale {reader.scale}: crops at scales up to {highest} are enlarged from "
                "it, and less sharp than from the files"
            )
        return weak_view(self.crop, (lowest / reader.scale, highest / reader.scale), self.flip)
