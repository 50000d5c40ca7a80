"""What every method shares, so that a method's file holds its algorithm alone."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from seglab.compat import is_logging_step
from seglab.data import SegmentationData
from seglab.data.class_counts import ClassCounts
from seglab.evaluation import Inference, PseudoLabelQuality, SegmentationMetric
from seglab.labels import LabelSpace
from seglab.methods.optim import OptimizerFactory, OwnOptimizers, Schedule, build_optimizer, follow_config
from seglab.methods.rank_state import RankState
from seglab.networks import Network, NetworkFactory
from seglab.networks.of_run import load_network
from seglab.ops.losses import Criterion, pixel_loss, supervised_loss
from seglab.ops.pseudo import hard_label
from seglab.ops.teacher import Teacher
from seglab.types import Batch, Output, Sample, SeglabError

Reads = Mapping[str, tuple[str, ...]]


class Addition(nn.Module, ABC):
    """Loss terms that any method can take in addition to its own; the config section ``additions`` lists them.

    Its trainable parameters, if it has any, join the method's.
    """

    reads: Reads = {}  # streams, and what it needs of their samples beside image, valid and key
    needs_pretrained: ClassVar[bool] = False  # as of a method

    def build(self, method: "Method") -> None:
        """Create what the terms need. Called once, after the method's own ``build``."""

    @abstractmethod
    def losses(self, method: "Method", batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of one step, computed after the method's own from the same batch.

        A sample has ``answer`` where the method's teacher has seen it in this step.
        """

    def answer(self, method: "Method", unlabeled: Sample, out: Output) -> Output:
        """Of the teacher, where it has seen these images already or there is one; else the student's."""
        if "answer" in unlabeled:
            return unlabeled["answer"]
        return method.teacher(unlabeled["image"]) if method.has_teacher else out


class Method(LightningModule, ABC):
    """A training algorithm for semantic segmentation.

    A subclass writes ``losses`` and, when it owns more than the student, ``build``. The arguments here are what a
    benchmark holds equal between methods; the CLI fills them from the config sections of the same names.

    Args:
        network: builds a newly initialised network for a label space.
        criterion: loss of labeled images.
        optimizer: builds the optimiser from parameter groups.
        schedule: learning rate over steps and parts.
        evaluation: how a whole image is predicted.
        space: label space, from the data.
        additions: further loss terms, such as masked image consistency.
        init_from: checkpoint whose student gives this student its initial weights, for methods of several stages.
        seed: of the run; with it, network initialisation and every random draw of a step are reproducible.
    """

    reads: Reads = {"labeled": ("mask",), "unlabeled": ()}  # streams -> what it needs beside image, valid and key
    needs_pretrained: ClassVar[bool] = False  # a resumed run too needs the published weights: a frozen copy has them
    adapts_classes: ClassVar[bool] = False  # made for a source and a target of different classes
    needs_class_counts: bool = False  # the data module counts the labeled classes before training starts

    student: Network
    teacher: Teacher

    def __init__(
        self,
        network: NetworkFactory,
        criterion: Criterion,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        evaluation: Inference,
        space: LabelSpace,
        additions: Sequence[Addition] = (),
        init_from: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.criterion = network, criterion
        self.optimizer, self.schedule = optimizer, schedule
        self.evaluation = evaluation
        self.space, self.num_classes, self.class_names = space, space.num_classes, list(space.names)
        self.additions = nn.ModuleList(additions)
        self.reads = joined(self.reads, *(part.reads for part in additions))
        self.init_from = init_from
        self.seed = seed
        self.latest: dict[str, Tensor] = {}  # of the latest batch, weighted and without gradient
        self._hidden: Tensor | None = None

    # The algorithm: what a method's file writes.

    def build(self) -> None:
        """Create the networks. Called once, outside config parsing, under the run's seed."""
        self.student = self.network(self.space)
        if self.init_from:
            load_network(self.student, self.init_from)

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss terms of one step; images are float in [0, 1]. Their sum is minimised."""

    def supervised(self, output: Output, mask: Tensor) -> Tensor:
        """The criterion on labeled images with labels B H W, over all maps of the output that labels supervise."""
        return supervised_loss(self.criterion, output, mask)

    def pixel_loss(self, output: Output, label: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
        """Mean of weight x cross-entropy with pseudo-labels over ``valid`` pixels, all B H W; 255 adds nothing."""
        return pixel_loss(output, label, weight, valid)

    def before_first_step(self) -> None:
        """Called once, on every rank, before step 0 of a run that is not resumed.

        For what a method learns in one pass over a stream (``one_pass``), such as initial prototypes. Keep it in
        buffers: checkpoints then have it. Ranks see images of their own: sum over them with ``ops.ranks.total``.
        """

    def one_pass(self, stream: str) -> Iterator[Sample]:
        """Each image of a stream once, whole and on this device, B of 1; this rank's share of them."""
        for sample in cast(Any, self.trainer).datamodule.one_pass(stream):
            yield self._floats({name: x.to(self.device) if isinstance(x, Tensor) else x for name, x in sample.items()})

    def own_optimizers(self) -> OwnOptimizers:
        """Modules (discriminators) that an optimiser of their own trains, with what builds it."""
        return ()

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        return self.global_step / self.trainer.max_steps

    def log_pseudo_quality(self, label: Tensor, selected: Tensor) -> None:
        """Compare pseudo-labels of the weak view with hidden ground truth, for the quality curves alone.

        Args:
            label: B H W class indices of the unlabeled batch, before any mixing; of the labeled one where there is no
                other, and the data make its masks wrong.
            selected: B H W bool, the pixels that the loss trusts.
        """
        if self._hidden is not None:
            self.pseudo_quality.update(label, selected, self._hidden)

    def log_curve(self, name: str, value: Tensor) -> None:
        """Write a number of this step beside its losses."""
        if self._trainer is not None and is_logging_step(self.trainer):
            self.log(f"train/{name}", value.detach())

    @property
    def class_counts(self) -> ClassCounts:
        """Pixels of each class in the labeled images, the same on all ranks; from ``on_fit_start`` on.

        A class that reads them sets ``needs_class_counts``. They are a function of the files, so what is derived from
        them in ``on_fit_start`` needs no place in the checkpoint.
        """
        return cast(SegmentationData, self.trainer.datamodule).class_counts()  # type: ignore[attr-defined]

    # Networks.

    def configure_model(self) -> None:
        if hasattr(self, "student"):
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.build()
            for part in self.additions:
                cast(Addition, part).build(self)
        self.metrics = nn.ModuleDict(
            {name: SegmentationMetric(self.class_names, self.space.subsets) for name in self.evaluated()}
        )
        self.pseudo_quality = PseudoLabelQuality(self.class_names)
        self.pseudo_quality.persistent(True)  # so that the curves of a resumed run have no dent
        self.rank_state = RankState(self, {"pseudo_quality": self.pseudo_quality})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["classes"] = self.class_names  # for later stages and NetworkOfRun
        self.rank_state.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        shapes = [
            {key: tuple(value.shape) for key, value in state.items()}
            for state in (self.state_dict(), checkpoint["state_dict"])
        ]
        if wrong := sorted(
            key for key in shapes[0].keys() | shapes[1].keys() if shapes[0].get(key) != shapes[1].get(key)
        ):
            raise SeglabError(
                f"the checkpoint is of another method, network or number of classes: {len(wrong)} of {len(shapes[0])} "
                f"tensors differ, {wrong[0]} among them"
            )
        self.rank_state.load(checkpoint)

    @property
    def has_teacher(self) -> bool:
        return "teacher" in dict(self.named_children())

    def evaluated(self) -> dict[str, nn.Module]:
        """The networks that validation scores, by name."""
        return {"student": self.student} | ({"teacher": self.teacher.network} if self.has_teacher else {})

    def forward(self, image: Tensor) -> Tensor:
        """Class probabilities B K H W float32 of the student for float images B 3 H W in [0, 1]."""
        return self.evaluation(self.evaluated()["student"], image)

    def label(self, sample: Sample, network: nn.Module) -> Tensor:
        """What ``seglab pseudo-label`` writes of a whole image: class probabilities B K H W float32.

        Args:
            sample: of the stream ``tagged`` where the method reads it, else of ``unlabeled``.
            network: one of ``evaluated``.
        """
        return self.evaluation(network, sample["image"])

    # One step.

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        for sample in batch.values() if self.trainer.training else [batch]:
            self._floats(sample)
        return batch

    def _floats(self, sample: Any) -> Any:
        """A sample as methods see it: images in [0, 1], labels int64."""
        sample.update({name: sample[name].float().div_(255) for name in ("image", "translated") if name in sample})
        sample.update({name: sample[name].long() for name in ("mask", "pseudo") if name in sample})
        return sample

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and augmentation repeat after a resume without any stored generator state.
        accumulate = self.trainer.accumulate_grad_batches
        position = self.trainer.global_step * accumulate + batch_idx % accumulate
        entropy = [self.seed, position, self.global_rank]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: it looks for every kind of device, each time
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        hidden = {name: cast(dict, sample).pop("hidden", None) for name, sample in batch.items()}
        self._hidden = hidden.get("unlabeled" if "unlabeled" in hidden else "labeled")
        terms = self.losses(batch)
        for part in self.additions:
            terms |= cast(Addition, part).losses(self, batch)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        self.latest = {name: term.detach() for name, term in terms.items()}
        if not is_logging_step(self.trainer):
            return total  # a value that no logger reads costs the host as much as one that is written
        self.log("train/loss", total.detach(), prog_bar=True)
        if len(terms) > 1:
            self.log_dict({f"train/loss/{name}": term for name, term in self.latest.items()})
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here and not in a batch-end hook: those run after the checkpoint callback, which would save a stale teacher.
        if self.has_teacher:
            self.teacher.update(self.student, self.trainer.global_step)

    def configure_optimizers(self) -> Any:
        steps = self.trainer.max_steps
        if steps < 1:
            raise SeglabError("trainer.max_steps is not set: schedules are in optimiser steps, so give their number")
        optimizer, scheduler = build_optimizer(
            self, self.optimizer, self.schedule, steps, self.own_optimizers(), self.learning_rate_scale
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        self.rank_state.restore()
        self.criterion.prepare(self.class_names, lambda: self.class_counts.frequency)
        if not self.global_step:
            self.eval()
            with torch.no_grad():
                self.before_first_step()
            self.train()
        if self.global_step:  # resumed
            scheduler = cast(LambdaLR, self.lr_schedulers())
            follow_config(
                self, self.optimizer, self.schedule, scheduler, self.own_optimizers(), self.learning_rate_scale
            )
        if self.schedule.scale_lr != "none" and self.trainer.is_global_zero:
            rates = sorted({group["initial_lr"] for group in cast(Optimizer, self.optimizers()).param_groups})
            print(
                f"seglab: schedule.scale_lr {self.schedule.scale_lr}: learning rates are those of the config times "
                f"{self.learning_rate_scale:.4g}: {', '.join(f'{rate:.4g}' for rate in rates)}",
                file=sys.stderr,
            )

    def on_train_end(self) -> None:
        self.rank_state.join()  # a last validation sets DDP up anew, which would give all ranks those of rank 0

    @property
    def learning_rate_scale(self) -> float:
        """Of the labeled images of an optimiser step, over all ranks and accumulated batches."""
        batch = cast(SegmentationData, self.trainer.datamodule).streams["labeled"].batch  # type: ignore[attr-defined]
        return self.schedule.scale(batch * self.trainer.accumulate_grad_batches)

    # Evaluation: the same in fit, validate and test.

    def on_validation_epoch_start(self) -> None:
        self.rank_state.join()  # apart since the last validation

    def validation_step(self, sample: Sample, batch_idx: int) -> dict[str, Tensor]:
        """Class indices 1 H W uint8 of each evaluated network, for the callbacks that write them."""
        predictions = {
            name: hard_label(self.evaluation(net, sample["image"])) for name, net in self.evaluated().items()
        }
        if "mask" in sample:  # absent only where predictions are written
            for name, prediction in predictions.items():
                self.metrics[name].update(prediction, sample["mask"])  # type: ignore[operator]
        return {name: prediction.to(torch.uint8) for name, prediction in predictions.items()}

    test_step = validation_step

    def predict_step(self, sample: Sample, batch_idx: int) -> Tensor:
        """Class indices 1 H W uint8 of the student; probabilities 1 K H W float32 where the data asks for them."""
        probabilities = self(sample["image"])
        if getattr(self.trainer.datamodule, "probabilities", False):  # type: ignore[attr-defined]
            return probabilities
        return hard_label(probabilities).to(torch.uint8)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")
        if self.pseudo_quality.update_called and not self.trainer.sanity_checking:
            self.log_dict({f"train/pseudo/{k}": v for k, v in self.pseudo_quality.compute().items()})
            self.pseudo_quality.reset()

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def scored(self, stage: str = "val") -> dict[str, SegmentationMetric]:
        """The metric of each evaluated network, by the prefix of its scores: ``val``, ``val_teacher``."""
        return {
            stage if name == "student" else f"{stage}_{name}": cast(SegmentationMetric, metric)
            for name, metric in self.metrics.items()
        }

    def _log_scores(self, stage: str) -> None:
        for prefix, metric in self.scored(stage).items():
            scores = metric.compute()
            if math.isnan(scores["mIoU"]):
                if getattr(self.trainer.datamodule, "exporting", False):  # type: ignore[attr-defined]
                    continue
                raise SeglabError(
                    f"no labeled pixel in {stage}: its masks are void, as those of a public test set are; "
                    "--export FOLDER writes predictions for its server"
                )
            for key, value in scores.items():
                self.log(f"{prefix}/{key}", value, prog_bar=key == "mIoU")
            metric.reset()


def joined(*reads: Reads) -> Reads:
    """What several read together."""
    streams = dict.fromkeys(stream for part in reads for stream in part)
    return {stream: tuple(dict.fromkeys(key for part in reads for key in part.get(stream, ()))) for stream in streams}
