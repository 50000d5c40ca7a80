"""Checkpoints of a run: ``last`` to resume from and ``best`` to evaluate, each replaced in one step."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from seglab.networks.tensor_files import is_state_dict, read_tensors
from seglab.runs.directory import BEST, LAST
from seglab.runs.preemption import Preemption
from seglab.runs.record import RunRecord
from seglab.types import SeglabError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames: a killed process leaves the old checkpoint whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        partial = target.with_name(f".{target.name}.partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise SeglabError(f"cannot write checkpoint {target} ({error.strerror}); the one before is kept") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        state = read_tensors(Path(path), "checkpoint")
        whole = isinstance(state, dict) and "pytorch-lightning_version" in state
        if not whole or not is_state_dict(state.get("state_dict")):
            raise SeglabError(f"{path} is no checkpoint of a run: give a run directory, or a file of its checkpoints/")
        return state


class Checkpoints(Checkpoint):
    """Saves ``last`` every few steps and at the end, and ``best`` (weights only) when the record says so.

    Args:
        record: of the same run; it decides what is best.
        preemption: asked after every optimiser step, and validation, whether to save because the run stops there.
        every_n_steps: optimiser steps between two saves; 0: a twentieth of the run, at most 500 steps.
    """

    def __init__(self, record: RunRecord, preemption: Preemption, every_n_steps: int = 0) -> None:
        self.record, self.preemption, self.every_n_steps = record, preemption, every_n_steps
        self._step = -1

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._step = trainer.global_step

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
            trainer.save_checkpoint(self.record.folder / LAST)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self.record.improved:
            trainer.save_checkpoint(self.record.folder / BEST, weights_only=True)
        if trainer.state.fn == TrainerFn.FITTING:
            self.preemption.asked()
            trainer.save_checkpoint(self.record.folder / LAST)
