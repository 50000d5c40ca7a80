"""TensorBoard event files in the run directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from seglab.compat import purge_from
from seglab.labels import LabelSpace
from seglab.training.loggers import Panel, RunLogger
from seglab.types import SeglabError


class TensorBoardRun(RunLogger, TensorBoardLogger):
    """Writes ``tensorboard/`` of the run directory: scores, config and panels; a resumed run continues there.

    Raises:
        SeglabError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            super().__init__(".", name="", version="tensorboard")
        except ModuleNotFoundError as error:
            raise SeglabError(
                'TensorBoard logging needs the package tensorboard: pip install "seglab[tensorboard]"'
            ) from error
        self._step = 0  # of the scores logged last

    def bind(self, folder: Path, identity: Mapping[str, Any], config: dict[str, Any]) -> None:
        self._root_dir = str(folder)
        self._config = config

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """``start`` writes the config, nested as in the file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._step = self._step if step is None else step
        super().log_metrics(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()  # Lightning would write hparams.yaml; config.yaml is there

    def start(self, step: int, environment: dict[str, Any]) -> None:
        if step:  # events of this step and later are from a session that died after its checkpoint
            self.experiment.close()
            purge_from(self, step)
        for name, content in (("config", self._config), ("environment", environment)):
            self.experiment.add_text(name, f"```yaml\n{yaml.safe_dump(content, sort_keys=False)}```", step)

    def show_panels(self, panels: list[Panel], space: LabelSpace) -> None:
        for panel in panels:
            classes = [space.colours[mask] for mask in (panel.truth, *panel.predictions.values())]
            sheet = np.concatenate([panel.image, *classes], 1)
            title = "/".join(["image", "truth", *panel.predictions])
            self.experiment.add_image(f"{title}/{panel.key}", sheet, self._step, dataformats="HWC")
