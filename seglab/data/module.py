"""The DataModule of one data set: labeled and unlabeled streams for training, whole images for evaluation."""

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import albumentations as A
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader, rank_zero_only
from torch.utils.data import DataLoader

from seglab.data.cache import Cache
from seglab.data.checks.first_look import check_sample
from seglab.data.class_counts import ClassCounts, class_counts
from seglab.data.decode import Files, Reader
from seglab.data.files import Item, describe, find_images
from seglab.data.geometry import weak_view
from seglab.data.lists import choose_labeled, is_list, leave_out
from seglab.data.pseudo_labels import pseudo_label_files
from seglab.data.sampling import Balanced, Order, RareClasses, RareFirst, Shuffled
from seglab.data.streams import Frames, Hidden, Masks, Positions, Stream, Truth, frame_loader, stream_loader
from seglab.labels import LabelSpace, Taxonomy
from seglab.types import SeglabError, require

LABELED, UNLABELED = 0, 1  # stream tags


class SegmentationData(LightningDataModule, ABC):
    """A data set that learns from few of its own labels; also the source or target of ``DomainAdaptation``.

    Args:
        root: folder of the data set.
        labeled: the labeled training images: ``all``, ``1/n`` (every n-th in file order; nested) or a list file.
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
            stay as they are (the official code of DAFormer caps them too, by labels that it should not have).
        pseudo_labels: folder that ``seglab pseudo-label`` wrote; unlabeled samples then have ``pseudo``.
        statistics: folder for the class counts of data sets.
        cache: folder that ``seglab data cache`` wrote for this data set; empty: the files are decoded whenever they
            are seen. ``scale`` stays relative to the files, whatever the scale of the cache. Evaluation reads the cache
            where it is as large as the files, and the files where it is not.
        taxonomy: other classes than the data set's own; in YAML usually the path of a file of experiments/taxonomy.
        skip: list file of images to leave out of every part, such as those whose label has another size.
        seed: set by the run's seed.

    Raises:
        SeglabError: the taxonomy does not fit the classes of the data set.
    """

    space: LabelSpace
    layout: str  # what root should contain, for messages
    _remembered: dict[str, list[Item]]  # by split

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
        statistics: str = "runs/statistics",
        cache: str = "",
        taxonomy: Taxonomy = Taxonomy(),
        skip: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__()
        require(0 <= flip <= 1, f"{type(self).__name__}.flip", flip, "give a probability in [0, 1]")
        if not 0 < category_cap <= 1:
            raise SeglabError(f"category_cap {category_cap} is a share of pixels: above 0, 1 for none")
        if rare_classes:  # not on its own construction: the config parser would bury the message
            rare_classes.check()
        self.root = Path(root).expanduser()
        self.labeled, self.unlabeled = labeled, unlabeled
        self.crop, self.scale, self.flip = crop, scale, flip
        self.labeled_batch, self.unlabeled_batch = labeled_batch, unlabeled_batch
        self.workers, self.hidden_masks, self.seed = workers, hidden_masks, seed
        self.rare_classes, self.category_cap = rare_classes, category_cap
        self.pseudo_labels, self.statistics = pseudo_labels, Path(statistics).expanduser()
        self._counted: ClassCounts | None = None
        self.skip = Path(skip).expanduser() if skip else None
        self.cache = Path(cache).expanduser() if cache else None
        self.predict_images: Path | None = None
        self.exporting = False  # predictions are written: evaluation images may lack masks
        if taxonomy.classes:
            self._own, self.space = self.space, self.space.converted(taxonomy)
            _note_losses(type(self).__name__, self._own, taxonomy)

    # What a data set is: the only part that its class writes.

    @abstractmethod
    def find(self, split: str) -> list[Item]:
        """Items of ``train``, ``val`` or ``test`` in file order; ``mask`` is None where there is none.

        Raises:
            SeglabError: the layout on disk is not that of the data set.
        """

    def items(self, split: str) -> list[Item]:
        """What ``find`` finds, without the images that ``skip`` lists.

        Raises:
            SeglabError: as ``find``; or the list is absent, empty, or names an image that no split has.
        """
        items = self._listing(split)
        if self.skip is None:
            return list(items)
        others = [item for other in ("train", "val", "test") if other != split for item in self._found(other)]
        return leave_out(items, self.skip, others)

    def _listing(self, split: str) -> list[Item]:
        """As ``find``, which lists the disk; remembered until an argument is set to something else."""
        if split not in self._remembered:
            self._remembered[split] = self.find(split)
        return self._remembered[split]

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if not name.startswith("_"):
            self.__dict__["_remembered"] = {}

    def _found(self, split: str) -> list[Item]:
        try:
            return self._listing(split)
        except SeglabError:  # an absent split: only the wording of a message depends on it
            return []

    # Class metadata, known without touching the disk.

    @property
    def num_classes(self) -> int:
        return self.space.num_classes

    @property
    def split(self) -> str:
        """Which labels of the evaluated data set training sees: ``all``, ``1/8``, the stem of a list file, ``none``."""
        return Path(self.labeled).stem if is_list(self.labeled) else self.labeled

    @property
    def class_names(self) -> list[str]:
        return list(self.space.names)

    @property
    def subsets(self) -> dict[str, list[int]]:
        return {name: list(indices) for name, indices in self.space.subsets.items()}

    @property
    def own_space(self) -> LabelSpace:
        """The label space before any taxonomy."""
        return getattr(self, "_own", self.space)

    # The two training sets.

    def labeled_items(self) -> list[Item]:
        """The labeled training items.

        Raises:
            SeglabError: the choice is malformed or one of them has no mask.
        """
        chosen = self._chosen(self.items("train"))
        if bare := [item.image for item in chosen if item.mask is None]:
            raise SeglabError(
                f"{len(bare)} labeled images have no mask: {describe(bare)}. Expected layout: {self.layout}"
            )
        if not chosen:
            raise SeglabError(f"no training image in {self.root} has a mask. Expected layout: {self.layout}")
        return chosen

    def unlabeled_items(self) -> list[Item]:
        """The unlabeled training items; their masks, if any, need not exist.

        Raises:
            SeglabError: the choice is malformed or shares images with the labeled list.
        """
        items = self.items("train")
        if self.unlabeled == "all":
            return items
        labeled = {item.key for item in self._chosen(items)}
        if self.unlabeled == "rest":
            return [item for item in items if item.key not in labeled] or items
        chosen = choose_labeled(items, self.unlabeled, self._found("val"))
        if both := [item.key for item in chosen if item.key in labeled]:
            raise SeglabError(f"{len(both)} images are in the labeled and in the unlabeled list: {describe(both)}")
        return chosen

    def candidates(self, items: list[Item]) -> list[Item]:
        """The training items that a fraction chooses from; a list may name any that has a mask."""
        return items

    def _chosen(self, items: list[Item]) -> list[Item]:
        if not is_list(self.labeled):
            return choose_labeled(self.candidates(items), self.labeled)
        bare = [item for item in items if item.mask is None]
        return choose_labeled(
            [item for item in items if item.mask is not None], self.labeled, [*bare, *self._found("val")]
        )

    def batches(self, streams: Sequence[str]) -> dict[str, int]:
        """Images per step over all ranks by config key, of the streams named."""
        return {f"{name}_batch": getattr(self, f"{name}_batch") for name in ("labeled", "unlabeled") if name in streams}

    # Loaders.

    def labeled_stream(self, seed: int, tag: int = LABELED) -> Stream:
        """Weak views of labeled images with ``mask``.

        Raises:
            SeglabError: as ``labeled_items``; or a few of the masks show that all are misread.
        """
        items = self.labeled_items()
        check_sample([item.mask for item in items if item.mask], self.space)
        rules = (Balanced(self.category_cap),) if self.category_cap < 1 else ()
        order: Order = Shuffled(items, seed, tag, rules)
        if self.rare_classes:
            order = RareFirst(items, self.class_counts(), self.rare_classes, seed, tag, rules)
        reader = self.reader(items)
        return Stream(order, reader, {"mask": Truth(reader)}, self._view(reader), seed, tag)

    def unlabeled_stream(self, seed: int) -> Stream:
        """Weak views of unlabeled images, with ``hidden`` ground truth where it exists and is wanted, and ``pseudo``.

        Raises:
            SeglabError: an image has no pseudo-label, or they are of other classes.
        """
        items = self.unlabeled_items()
        reader = self.reader(items)
        masks: dict[str, Masks] = {}
        if self.hidden_masks and any(item.mask for item in items):
            masks["hidden"] = Hidden(reader)
        if self.pseudo_labels:
            folder = Path(self.pseudo_labels).expanduser()
            masks["pseudo"] = pseudo_label_files(folder, self.space, items, reader.scale)
        return Stream(Shuffled(items, seed, UNLABELED), reader, masks, self._view(reader), seed, UNLABELED)

    def reader(self, items: Sequence[Item], evaluation: bool = False) -> Reader:
        """Where the pixels of items come from; whole images for evaluation never come from a downscaled cache.

        Raises:
            SeglabError: the cache is absent, damaged, of other classes, lacks an item or is older than one.
        """
        if self.cache is None:
            return Files(self.space)
        cache = Cache(self.cache, self.root, self.space)
        if evaluation and cache.scale != 1:
            return Files(self.space)
        cache.check(items)
        return cache

    def _view(self, reader: Reader) -> A.Compose:
        lowest, highest = self.scale
        if highest > reader.scale < 1:
            _note(
                f"{self.cache} holds images at scale {reader.scale}: crops at scales up to {highest} are enlarged from "
                "it, and less sharp than from the files"
            )
        return weak_view(self.crop, (lowest / reader.scale, highest / reader.scale), self.flip)

    def class_counts(self) -> ClassCounts:
        """Pixels of each class in the labeled training images; counted on first use, then read from a file.

        Raises:
            SeglabError: a mask cannot be read.
        """
        if self._counted is None:
            name = type(self).__name__
            self._counted = class_counts(self.labeled_items(), self.space, self.root, self.statistics, name)
        return self._counted

    def prepare_data(self) -> None:
        # Lightning calls this on one rank per node, however long it takes; the other ranks then find the file.
        assert self.trainer is not None
        wanted = self.rare_classes or getattr(self.trainer.lightning_module, "needs_class_counts", False)
        if self.trainer.training and wanted:
            self.class_counts()

    def train_dataloader(self) -> CombinedLoader:
        assert self.trainer is not None
        # Endless streams start where the optimiser stands, so resuming needs no loader state.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        start = self.trainer.global_step * self.trainer.accumulate_grad_batches
        share = {"start": start, "rank": self.trainer.global_rank, "world": self.trainer.world_size}
        wanted: Sequence[str] = list(getattr(self.trainer.lightning_module, "reads", ("labeled", "unlabeled")))
        loaders: dict[str, DataLoader] = {}
        if "labeled" in wanted:
            stream = self.labeled_stream(self.seed)
            loaders["labeled"] = stream_loader(stream, Positions(self.labeled_batch, **share), self.workers)
        if "unlabeled" in wanted:
            stream = self.unlabeled_stream(self.seed)
            loaders["unlabeled"] = stream_loader(stream, Positions(self.unlabeled_batch, **share), self.workers)
        return CombinedLoader(loaders, "min_size")

    def val_dataloader(self) -> DataLoader:
        return self._frames(self.evaluation_items("val"))

    def test_dataloader(self) -> DataLoader:
        return self._frames(self.evaluation_items("test"))

    def evaluation_items(self, split: str) -> list[Item]:
        """Items of a split, all with masks unless predictions are exported.

        Raises:
            SeglabError: the split is absent or an item has no mask.
        """
        items = self.items(split)
        if (bare := [item.image for item in items if item.mask is None]) and not self.exporting:
            raise SeglabError(
                f"{len(bare)} {split} images have no mask: {describe(bare)}. Expected layout: {self.layout}"
            )
        return items

    def unlabeled_frames(self, items: Sequence[Item]) -> DataLoader:
        """Whole unlabeled training images in the order given, with a mask where hidden ground truth is wanted."""
        shown = items if self.hidden_masks else [item._replace(mask=None) for item in items]
        return frame_loader(Frames(shown, self.reader(shown, evaluation=True), truth=Hidden), self.workers)

    def predict_dataloader(self) -> DataLoader:
        return self._frames(self.predicted_items())

    def predicted_items(self) -> list[Item]:
        """The images that ``predict`` was given.

        Raises:
            SeglabError: there is no such folder, or it holds no image.
        """
        if self.predict_images is None:
            raise SeglabError("nothing to predict: give --images FOLDER")
        paths = find_images(self.predict_images, "give --images a folder of images")
        return [Item(path.stem, path, None) for path in paths]

    def _frames(self, items: list[Item]) -> DataLoader:
        assert self.trainer is not None
        if self.predict_images is None and len(items) < self.trainer.world_size:  # the others would wait for a rank
            raise SeglabError(
                f"{len(items)} images are too few to be scored by {self.trainer.world_size} ranks, of which each needs "
                "one: choose fewer --trainer.devices"
            )
        reader = self.reader(items, evaluation=True) if self.predict_images is None else Files(self.space)
        frames = Frames(items, reader, self.trainer.global_rank, self.trainer.world_size)
        return frame_loader(frames, self.workers)


def _note_losses(name: str, own: LabelSpace, taxonomy: Taxonomy) -> None:
    """Tell which classes a taxonomy loses, and which it cannot fill."""
    lost = [old for old in own.names if old not in taxonomy.mapping]
    empty = [new for new in taxonomy.classes if new not in taxonomy.mapping.values()]
    if lost:
        _note(f"the taxonomy ignores these classes of {name}: {', '.join(lost)}")
    if empty:
        _note(f"the taxonomy gives no class of {name} to: {', '.join(empty)}")


@lru_cache
@rank_zero_only
def _note(text: str) -> None:
    print(f"seglab: note: {text}", file=sys.stderr)
