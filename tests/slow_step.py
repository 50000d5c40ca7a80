"""A callback that makes steps long enough for a signal to come between two of them."""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class SlowStep(Callback):
    """Sleeps for a second after each step as long as the file that ``$SLOW`` names exists."""

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if Path(os.environ["SLOW"]).exists():
            time.sleep(1)
