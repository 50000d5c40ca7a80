"""The DataModule of one data set: labeled and unlabeled streams for training, whole images for evaluation."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from seglab.data.files import Item, choose_labeled, describe, find_images
from seglab.data.geometry import weak_view
from seglab.data.pseudo_labels import pseudo_label_files
from seglab.data.sampling import Balanced, Order, RareClasses, RareFirst, Shuffled
from seglab.data.statistics import ClassStatistics, class_statistics
from seglab.data.streams import Frames, MaskFiles, Positions, Stream, frame_loader, stream_loader
from seglab.labels import LabelSpace
from seglab.types import SeglabError

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
        seed: set by the run's seed.
    """

    space: LabelSpace
    layout: str  # what root should contain, for messages

    def __init__(
        self,
        root: str,
        labeled: str = "all",
        unlabeled: str = "rest",
        crop: tuple[int, int] = (512, 512),
        scale: tuple[float, float] = (0.5, 2.0),
        labeled_batch: int = 4,
        unlabeled_batch: int = 4,
        workers: int = 2,
        hidden_masks: bool = True,
        rare_classes: RareClasses | None = None,
        category_cap: float = 1.0,
        pseudo_labels: str = "",
        statistics: str = "runs/statistics",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < category_cap <= 1:
            raise SeglabError(f"category_cap {category_cap} is a share of pixels: above 0, 1 for none")
        if rare_classes:  # not on its own construction: the config parser would bury the message
            rare_classes.check()
        self.root = Path(root).expanduser()
        self.labeled, self.unlabeled = labeled, unlabeled
        self.crop, self.scale = crop, scale
        self.labeled_batch, self.unlabeled_batch = labeled_batch, unlabeled_batch
        self.workers, self.hidden_masks, self.seed = workers, hidden_masks, seed
        self.rare_classes, self.category_cap = rare_classes, category_cap
        self.pseudo_labels, self.statistics = pseudo_labels, Path(statistics).expanduser()
        self.predict_images: Path | None = None
        self._counted: ClassStatistics | None = None

    # What a data set is: the only part that its class writes.

    @abstractmethod
    def items(self, split: str) -> list[Item]:
        """Items of ``train``, ``val`` or ``test`` in file order; ``mask`` is None where there is none.

        Raises:
            SeglabError: the layout on disk is not that of the data set.
        """

    # Class metadata, known without touching the disk.

    @property
    def num_classes(self) -> int:
        return self.space.num_classes

    @property
    def class_names(self) -> list[str]:
        return list(self.space.names)

    @property
    def subsets(self) -> dict[str, list[int]]:
        return {name: list(indices) for name, indices in self.space.subsets.items()}

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
        chosen = choose_labeled(items, self.unlabeled, self._validation())
        if both := [item.key for item in chosen if item.key in labeled]:
            raise SeglabError(f"{len(both)} images are in the labeled and in the unlabeled list: {describe(both)}")
        return chosen

    def candidates(self, items: list[Item]) -> list[Item]:
        """The training items that ``labeled`` chooses from."""
        return items

    def _chosen(self, items: list[Item]) -> list[Item]:
        candidates = self.candidates(items)
        return choose_labeled(candidates, self.labeled, [*set(items).difference(candidates), *self._validation()])

    def _validation(self) -> list[Item]:
        try:
            return self.items("val")
        except SeglabError:  # no validation part: only the wording of a message depends on it
            return []

    # Loaders.

    def labeled_stream(self, seed: int) -> Stream:
        """Weak views of labeled images with ``mask``."""
        items = self.labeled_items()
        rules = (Balanced(self.category_cap),) if self.category_cap < 1 else ()
        order: Order = Shuffled(items, seed, LABELED, rules)
        if self.rare_classes:
            order = RareFirst(items, self.class_statistics(), self.rare_classes, seed, LABELED, rules)
        truth = MaskFiles(attrgetter("mask"), self.space)
        return Stream(order, {"mask": truth}, weak_view(self.crop, self.scale), seed, LABELED)

    def unlabeled_stream(self, seed: int) -> Stream:
        """Weak views of unlabeled images, with ``hidden`` ground truth where it exists and is wanted, and ``pseudo``.

        Raises:
            SeglabError: an image has no pseudo-label, or they are of other classes.
        """
        items, masks = self.unlabeled_items(), {}
        if self.hidden_masks and any(item.mask for item in items):
            masks["hidden"] = MaskFiles(attrgetter("mask"), self.space)
        if self.pseudo_labels:
            masks["pseudo"] = pseudo_label_files(Path(self.pseudo_labels).expanduser(), self.space, items)
        view = weak_view(self.crop, self.scale)
        return Stream(Shuffled(items, seed, UNLABELED), masks, view, seed, UNLABELED)

    def class_statistics(self) -> ClassStatistics:
        """Pixels of each class in the labeled training images; counted on first use, then read from a file.

        Raises:
            SeglabError: a mask cannot be read.
        """
        if self._counted is None:
            name = type(self).__name__
            self._counted = class_statistics(self.labeled_items(), self.space, self.root, self.statistics, name)
        return self._counted

    def prepare_data(self) -> None:
        # Lightning calls this on one rank per node, however long it takes; the other ranks then find the file.
        assert self.trainer is not None
        wanted = self.rare_classes or getattr(self.trainer.lightning_module, "needs_statistics", False)
        if self.trainer.training and wanted:
            self.class_statistics()

    def train_dataloader(self) -> CombinedLoader:
        assert self.trainer is not None
        # Endless streams start where the optimiser stands, so resuming needs no loader state.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        start = self.trainer.global_step * self.trainer.accumulate_grad_batches
        share = {"start": start, "rank": self.trainer.global_rank, "world": self.trainer.world_size}
        wanted: Sequence[str] = getattr(self.trainer.lightning_module, "streams", ("labeled", "unlabeled"))
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
        """Items of a split, all with masks.

        Raises:
            SeglabError: the split is absent or an item has no mask.
        """
        items = self.items(split)
        if bare := [item.image for item in items if item.mask is None]:
            raise SeglabError(
                f"{len(bare)} {split} images have no mask: {describe(bare)}. Expected layout: {self.layout}"
            )
        return items

    def unlabeled_frames(self, items: Sequence[Item]) -> DataLoader:
        """Whole unlabeled training images in the order given, with a mask where hidden ground truth is wanted."""
        shown = items if self.hidden_masks else [item._replace(mask=None) for item in items]
        return frame_loader(Frames(shown, self.space), self.workers)

    def predict_dataloader(self) -> DataLoader:
        if self.predict_images is None:
            raise SeglabError("nothing to predict: give --images FOLDER")
        paths = find_images(self.predict_images, "give --images a folder of images")
        return self._frames([Item(path.stem, path, None) for path in paths])

    def _frames(self, items: list[Item]) -> DataLoader:
        assert self.trainer is not None
        frames = Frames(items, self.space, self.trainer.global_rank, self.trainer.world_size)
        return frame_loader(frames, self.workers)
