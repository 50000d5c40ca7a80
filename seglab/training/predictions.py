"""Writes predictions as they come, so that a folder of any size fits in memory."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seglab.evaluation.writer import Export
from seglab.ops.pseudo import hard_label
from seglab.types import Sample

THREADS = 4  # compressing a PNG takes as long as a fast network needs for the image
WAITING = 16  # images that may wait to be written


class PredictionWriter(Callback):
    """Writes what ``validate``, ``test`` or ``predict`` predicts; each rank the images that it has seen.

    Args:
        export: where predictions go and how.
    """

    def __init__(self, export: Export) -> None:
        self.export = export
        self.pool: ThreadPoolExecutor | None = None
        self.pending: deque[Future[None]] = deque()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Tensor,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.pool = self.pool or ThreadPoolExecutor(THREADS)
        probabilities: list[np.ndarray | None] = [None] * len(outputs)
        if outputs.is_floating_point():  # B K H W
            probabilities = list(outputs.half().cpu().numpy())
            outputs = hard_label(outputs).to(torch.uint8)
        predictions = outputs.cpu().numpy()
        images: list[np.ndarray | None] = [None] * len(predictions)
        if self.export.draws:
            images = list((batch["image"] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())  # B of H W 3
        for one in zip(batch["key"], predictions, images, probabilities, strict=True):
            self.pending.append(self.pool.submit(self.export.write, *one))
        while len(self.pending) > WAITING:
            self.pending.popleft().result()

    def on_predict_end(self, trainer: Trainer, module: LightningModule) -> None:
        while self.pending:
            self.pending.popleft().result()

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, *rest: Any) -> None:
        self.on_predict_batch_end(trainer, module, outputs["student"], *rest)

    def on_test_batch_end(self, *args: Any) -> None:
        self.on_validation_batch_end(*args)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.on_predict_end(trainer, module)

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.on_predict_end(trainer, module)

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
