"""Writes predictions as they come, so that a folder of any size fits in memory."""

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seglab.evaluation.writer import write_prediction
from seglab.labels import LabelSpace
from seglab.types import Sample


class PredictionWriter(Callback):
    """For every image a PNG of label ids and a colour overlay, named after it.

    Args:
        folder: where they go.
        space: how class indices are stored and coloured.
    """

    def __init__(self, folder: Path, space: LabelSpace) -> None:
        self.folder, self.space = folder, space

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Tensor,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        images = (batch["image"] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # B H W 3
        for name, classes, image in zip(batch["key"], outputs.cpu().numpy(), images, strict=True):
            write_prediction(self.folder, name, classes, image, self.space)
