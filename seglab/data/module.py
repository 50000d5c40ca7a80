"""What a run reads: named streams for training, whole images for evaluation."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import ConcatDataset, DataLoader

from seglab.data.class_counts import ClassCounts, joined
from seglab.data.decode import Files
from seglab.data.files import Item, describe, find_images
from seglab.data.pseudo_labels import REMEDY
from seglab.data.streams import (
    EVERY_SAMPLE,
    PLACE,
    Feed,
    Frames,
    Hidden,
    Masks,
    Positions,
    SharedStream,
    Side,
    Stream,
    Truth,
    frame_loader,
    stream_loader,
)
from seglab.data.video import Video, is_video
from seglab.labels import IGNORE, LabelSpace
from seglab.types import SeglabError


class SegmentationData(LightningDataModule, ABC):
    """One data set (``DataSet``), or several that train together (``DomainAdaptation``).

    Attributes:
        space: label space of the labels, the predictions and the scores.
        workers: loader processes per stream.
        seed: of the run.
        predict_images: folder of the images that ``predict`` reads, or a video file.
        probabilities: ``predict`` gives the probabilities of all classes.
        exporting: predictions are written: evaluation images may lack masks.
    """

    space: LabelSpace
    workers: int
    seed: int
    predict_images: Path | None = None
    exporting = False
    probabilities = False

    # What a class says of itself.

    @property
    @abstractmethod
    def sides(self) -> Mapping[str, Side]:
        """The data sets by their key in the config (a single one: ``""``); the last one is evaluated."""

    @property
    @abstractmethod
    def streams(self) -> dict[str, Feed]:
        """Stream -> where its images come from. Files are not touched until the images are asked for."""

    @property
    @abstractmethod
    def split(self) -> str:
        """Which labels of the evaluated data set training sees: ``all``, ``1/8``, the stem of a list file, ``none``."""

    @property
    def evaluated(self) -> Side:
        """The data set whose val and test are scored."""
        return list(self.sides.values())[-1]

    # Streams.

    @property
    def may_become(self) -> np.ndarray:
        """256 K bool: which classes a source pixel may be of, by its label; all False where labels say it all."""
        return np.zeros((IGNORE + 1, self.space.num_classes), bool)

    def require(self, reads: Mapping[str, Iterable[str]], adapts_classes: bool = False) -> None:
        """Check that the streams give what a method reads.

        Args:
            reads: stream -> keys of its samples that are needed beside image, valid and key.
            adapts_classes: the method is made for a source and a target of different classes.

        Raises:
            SeglabError: a stream or a key is not given, or the classes are for other methods.
        """
        gives = {name: feed.gives for name, feed in self.streams.items()}
        for name, keys in reads.items():
            lacking = [key for key in keys if key not in (*EVERY_SAMPLE, *PLACE, *gives.get(name, ()))]
            if lacking or name not in gives:
                offer = " and ".join(f"{stream} ({', '.join(given)})" for stream, given in gives.items())
                remedy = "choose data that give it, or a method that does without"
                if name == "outside":
                    remedy = "set data.outside to a folder of images that show no class"
                if lacking == ["pseudo"]:
                    remedy = f"{REMEDY}, and set pseudo_labels to that folder"
                raise SeglabError(
                    f"the method reads {', '.join(lacking) or 'images'} of stream {name!r}: {type(self).__name__} "
                    f"gives {offer}: {remedy}"
                )

    def batches(self, reads: Mapping[str, Iterable[str]], adapts_classes: bool = False) -> dict[str, int]:
        """Images per step over all ranks by key of the config, of the streams that a method reads.

        Raises:
            SeglabError: as ``require``.
        """
        self.require(reads, adapts_classes)
        return {feed.key: feed.batch for name, feed in self.streams.items() if name in reads}

    def stream_items(self, name: str) -> list[Item]:
        """The images of a stream.

        Raises:
            SeglabError: the choice of images is malformed, or a labeled one has no mask.
        """
        return [item for part in self.streams[name].parts for item in part.items()]

    def stream(self, name: str, seed: int, reads: Collection[str] = ()) -> Stream:
        """The endless stream of training crops with this name, whose samples have those of ``PLACE`` that are read.

        Raises:
            SeglabError: as ``stream_items``; or as ``DataSet.labeled_stream`` and ``DataSet.unlabeled_stream``.
        """
        parts = self.streams[name].parts
        streams = [part.stream(seed, part.tag) for part in parts]
        for part, stream in zip(parts, streams, strict=True):
            stream.locate(reads, [side is part.owner for side in self.sides.values()].index(True))
        return streams[0] if len(parts) == 1 else SharedStream(streams, [part.batch for part in parts])

    def one_pass(self, name: str, only: Collection[Item] | None = None, hidden: bool = False) -> DataLoader:
        """Each image of a stream once: whole, in file order, one at a time, this rank's share of them.

        Args:
            name: of the stream.
            only: leave out the images that are not among these.
            hidden: for diagnosis: give the ground truth of unlabeled images as ``hidden``, where it exists and the data
                set has ``hidden_masks``.

        Raises:
            SeglabError: as ``stream_items``.
        """
        frames = []
        for part in self.streams[name].parts:
            items = [item for item in part.items() if only is None or item in only]
            reader = part.owner.reader(items, evaluation=True)
            masks: dict[str, Masks] = {}
            if "mask" in part.gives:
                masks["mask"] = part.owner.truth(reader)
            elif hidden and part.owner.hidden_masks:
                masks["hidden"] = Hidden(reader)
            tags = part.owner.tagged if "tags" in part.gives else None
            frames.append(Frames(items, reader, masks, *self._rank(), tags))
        return frame_loader(ConcatDataset(frames), self.workers)

    def class_counts(self) -> ClassCounts:
        """Pixels of each class in the labeled images; counted on first use, then read from a file.

        Raises:
            SeglabError: a mask cannot be read.
        """
        return joined([part.owner.counted for part in self.streams["labeled"].parts])

    # Loaders, as Lightning asks for them.

    def prepare_data(self) -> None:
        # Lightning calls this on one rank per node, however long it takes; the other ranks then find the file.
        assert self.trainer is not None
        rare = any(part.owner.counts_first for part in self.streams["labeled"].parts)
        module = self.trainer.lightning_module
        for part in self.streams["tagged"].parts if "tagged" in getattr(module, "reads", ()) else ():
            part.owner.tagged  # noqa: B018 - counts classes where no file has the tags
        readers = (module, getattr(module, "criterion", None))
        if self.trainer.training and (rare or any(getattr(part, "needs_class_counts", False) for part in readers)):
            self.class_counts()

    def train_dataloader(self) -> CombinedLoader:
        assert self.trainer is not None
        # Endless streams start where the optimiser stands, so resuming needs no loader state.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        module = self.trainer.lightning_module
        reads = getattr(module, "reads", dict.fromkeys(self.streams, ()))
        self.require(reads, getattr(module, "adapts_classes", False))
        start = self.trainer.global_step * self.trainer.accumulate_grad_batches
        loaders = {
            name: stream_loader(
                self.stream(name, self.seed, reads[name]), Positions(feed.batch, start, *self._rank()), self.workers
            )
            for name, feed in self.streams.items()
            if name in reads
        }
        return CombinedLoader(loaders, "min_size")

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader:
        video = self.video
        items, reader = (video.items, video) if video else (self.predicted_items(), Files(self.space))
        return frame_loader(Frames(items, reader, {}, *self._rank()), self.workers)

    def evaluation_items(self, split: str) -> list[Item]:
        """Items of a split, all with masks unless predictions are exported.

        Raises:
            SeglabError: the split is absent or an item has no mask.
        """
        items = self.evaluated.items(split)
        if (bare := [item.image for item in items if item.mask is None]) and not self.exporting:
            raise SeglabError(
                f"{len(bare)} {split} images have no mask: {describe(bare)}. Expected layout: {self.evaluated.layout}"
            )
        return items

    def predicted_items(self) -> list[Item]:
        """The images that ``predict`` was given.

        Raises:
            SeglabError: there is no such folder, or it holds no image.
        """
        if self.predict_images is None:
            raise SeglabError("nothing to predict: give --images FOLDER")
        if self.video:
            return self.video.items
        paths = find_images(self.predict_images, "give --images a folder of images")
        return [Item(path.stem, path, None) for path in paths]

    @cached_property
    def video(self) -> Video | None:
        """What ``predict`` was given, if it is a video file.

        Raises:
            SeglabError: it cannot be read.
        """
        path = self.predict_images
        return Video(path) if path and path.is_file() and is_video(path) else None

    def _evaluation_loader(self, split: str) -> DataLoader:
        items = self.evaluation_items(split)
        rank, world = self._rank()
        if len(items) < world:  # the others would wait for a rank
            raise SeglabError(
                f"{len(items)} images are too few to be scored by {world} ranks, of which each needs one: choose fewer "
                "--trainer.devices"
            )
        reader = self.evaluated.reader(items, evaluation=True, scored=True)
        return frame_loader(Frames(items, reader, {"mask": Truth(reader)}, rank, world), self.workers)

    def _rank(self) -> tuple[int, int]:
        """This process and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
