"""Whether training is still sound: losses, gradients and weights are finite."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm

from seglab.ops.ranks import gather_objects, total
from seglab.runs.directory import resumable
from seglab.training.record import RunRecord
from seglab.types import Batch, SeglabError


class CheckedStep(NamedTuple):
    """One optimiser step of this rank, kept until the next look at it.

    Attributes:
        number: counted from 1, as the lines of a run count.
        sound: bool, on the device: the loss is finite, the gradients of all parameters are.
        terms: the loss terms of each batch, on the device.
        samples: stream -> keys of the images.
    """

    number: int
    sound: tuple[Tensor, Tensor]
    terms: dict[str, list[Tensor]]
    samples: dict[str, list[str]]


class FiniteCheck(Callback):
    """Ends training when a loss, a gradient or a weight is NaN or infinite, before that can be saved.

    Each step leaves its verdict on the device. The host looks at all of them when it waits for the device anyway: when
    losses are logged, before a validation and before a checkpoint.

    Args:
        record: of the same run.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self._weights: list[Parameter] = []
        self._steps: list[CheckedStep] = []
        self._terms: dict[str, list[Tensor]] = {}
        self._samples: dict[str, list[str]] = {}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._weights = list(module.parameters())  # once: a walk through all modules takes a millisecond

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Batch, batch_idx: int) -> None:
        for name, sample in batch.items():
            self._samples.setdefault(name, []).extend(sample["key"])

    def on_after_backward(self, trainer: Trainer, module: LightningModule) -> None:
        for name, term in module.latest.items():  # type: ignore[union-attr, operator]
            self._terms.setdefault(name, []).append(term)

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        loss = torch.stack([term.float() for values in self._terms.values() for term in values]).isfinite().all()
        gradients = loss
        if trainer.scaler is None:  # a scaler tries scales whose gradients overflow, and skips such steps
            gradients = _finite([p.grad for p in self._weights if p.grad is not None])
        self._steps.append(CheckedStep(trainer.global_step + 1, (loss, gradients), self._terms, self._samples))
        self._terms, self._samples = {}, {}

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.check(trainer, module)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.check(trainer, module)

    def check(self, trainer: Trainer, module: LightningModule) -> None:
        """See that all steps since the last look were sound. Every rank calls this at the same steps.

        Raises:
            SeglabError: one was not; names it, its loss terms and its images.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return
        verdicts = [verdict for step in steps for verdict in step.sound]
        broken = (~torch.stack([*verdicts, _finite(self._weights)])).int()
        found = total(broken).tolist()  # over the ranks: all of them stop, whoever met it
        if not any(found):
            return
        place = next(place for place, count in enumerate(found) if count)
        step = steps[min(place // 2, len(steps) - 1)]
        what = "weights" if place == len(verdicts) else ("loss", "gradients")[place % 2]
        terms = {name: [float(value) for value in values] for name, values in step.terms.items()}
        told = "; ".join(_told(gather_objects((terms, step.samples))))
        kept = resumable(self.record.folder)
        error = SeglabError(
            f"step {step.number} of {trainer.max_steps}: {what} not finite. {told}. Nothing of it was saved: "
            + (f"{kept[0]} is of before. " if kept else "there was no checkpoint yet. ")
            + "Look at these images, lower --optimizer.lr, clip with --trainer.gradient_clip_val, or compute with "
            f"--trainer.precision 32-true; `seglab fit {self.record.folder}` with such a flag goes on"
        )
        if trainer.is_global_zero:
            self.record.on_exception(trainer, module, error)
        trainer.strategy.barrier()  # else rank 0 might see others end before it has said why
        if trainer.is_global_zero:
            raise error
        raise SystemExit(error.exit_code)


def _finite(tensors: Sequence[Tensor]) -> Tensor:
    """Bool scalar on the device of the tensors: whether all their values are finite. The host does not wait for it.

    A norm of 1e19 and more counts as infinite: such squares are, in AdamW and in clipping as here.
    """
    # The largest magnitude would do for all types, but takes a CPU ten times as long as the sum of squares.
    order = 2.0 if all(x.dtype == torch.float32 for x in tensors) else math.inf
    return get_total_norm([x.detach() for x in tensors], order).isfinite()


def _told(ranks: list[tuple[dict[str, list[float]], dict[str, list[str]]]]) -> list[str]:
    """Loss terms and images of each rank, or only of those whose losses are not finite if there are such."""
    texts = {}
    for rank, (terms, samples) in enumerate(ranks):
        losses = ", ".join(f"{name} {' '.join(f'{value:.4g}' for value in values)}" for name, values in terms.items())
        images = ", ".join(f"{name} {' '.join(keys)}" for name, keys in samples.items())
        head = f"rank {rank}: " if len(ranks) > 1 else ""
        texts[f"{head}loss terms: {losses}; images: {images}"] = all(
            math.isfinite(value) for values in terms.values() for value in values
        )
    return [text for text, sound in texts.items() if not sound] or list(texts)
