"""Checkpoints of a run: ``last`` to resume from, ``previous`` to it, ``best`` to evaluate; replaced in one step."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from seglab.files import remove_partial, write_whole
from seglab.networks.tensor_files import DamagedFile, is_state_dict, read_tensors
from seglab.runs.directory import BEST, CONFIG, LAST, PREVIOUS
from seglab.training.failures import system_error
from seglab.training.finite_check import FiniteCheck
from seglab.training.preemption import Preemption
from seglab.training.record import RunRecord
from seglab.types import SeglabError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames: a killed process leaves the old checkpoint whole.

    ``last.ckpt`` becomes ``previous.ckpt`` before the new one takes its place. Whenever the process is killed, one of
    the two is there and whole.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        keep = target.with_name(Path(PREVIOUS).name) if target.name == Path(LAST).name else None
        try:
            write_whole(target, lambda file: torch.save(checkpoint, file), durable=True, keep=keep)
        except (OSError, RuntimeError) as error:  # torch turns the one that a write raises into the other
            cause = system_error(error)
            if cause is None:
                raise
            raise SeglabError(f"cannot write checkpoint {target} ({cause.strerror}); the one before is kept") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        state = read_tensors(Path(path), "checkpoint")
        whole = isinstance(state, dict) and "pytorch-lightning_version" in state
        if not whole or not is_state_dict(state.get("state_dict")):
            raise SeglabError(f"{path} is no checkpoint of a run: give a run directory, or a file of its checkpoints/")
        return state


def last_whole(folder: Path) -> tuple[Path, str]:
    """The checkpoint to go on from: ``last``, or the one before it where the file of ``last`` is damaged or gone.

    Returns:
        Its path, and what to tell about it; empty for ``last``.

    Raises:
        UnsafeFile: one that is not damaged asks for code: nobody goes on from an earlier file unasked.
        SeglabError: neither is whole; names both.
    """
    flaws: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            if path.is_file():
                read_tensors(path, "checkpoint")
                return path, "; ".join([*flaws, f"{path} takes its place"]) if flaws else ""
            flaws.append(f"checkpoint {path} does not exist")
        except DamagedFile as error:
            flaws.append(str(error))
    best = ", or evaluate its best weights with --ckpt_path best" if (folder / BEST).is_file() else ""
    raise SeglabError(f"{'; '.join(flaws)}: train anew with `seglab fit -c {folder / CONFIG}`{best}")


class Checkpoints(Checkpoint):
    """Saves ``last`` every few steps and at the end, and ``best`` (weights only) when the record says so.

    Args:
        record: of the same run; it decides what is best.
        preemption: asked after every optimiser step, and validation, whether to save because the run stops there.
        finite: asked before every save whether training is still sound; it raises otherwise.
        every_n_steps: optimiser steps between two saves; 0: a twentieth of the run, at most 500 steps.
    """

    def __init__(self, record: RunRecord, preemption: Preemption, finite: FiniteCheck, every_n_steps: int = 0) -> None:
        self.record, self.preemption, self.finite, self.every_n_steps = record, preemption, finite, every_n_steps
        self._step = -1

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._step = trainer.global_step
        if trainer.is_global_zero:
            remove_partial(self.record.folder, deep=True)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, period = trainer.global_step, self.every_n_steps or max(1, min(500, trainer.max_steps // 20))
        if step == self._step:
            return  # gradients accumulate
        self._step = step
        if trainer.val_check_batch and (batch_idx + 1) % trainer.val_check_batch == 0:
            return  # validation comes next and saves: a run killed in it would skip it when resumed from here
        stops = self.preemption.asked()
        if stops or step % period == 0 or step == trainer.max_steps:
            self.finite.check(trainer, module)
            trainer.save_checkpoint(self.record.folder / LAST)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self.record.improved:
            trainer.save_checkpoint(self.record.folder / BEST, weights_only=True)
        if trainer.state.fn == TrainerFn.FITTING:
            self.preemption.asked()
            trainer.save_checkpoint(self.record.folder / LAST)
