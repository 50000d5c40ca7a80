"""What a run offers to loggers that keep more than numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from seglab.labels import LabelSpace


class Panel(NamedTuple):
    """One validation image and what the networks make of it, small enough to look at."""

    key: str
    image: np.ndarray  # H W 3 uint8
    truth: np.ndarray  # H W uint8 class indices, 255 = ignored
    predictions: dict[str, np.ndarray]  # name of the network -> H W uint8 class indices


class RunLogger:
    """A logger that lives in the run directory and is told what the run knows; only rank 0 tells it anything but where.

    A logger of the config that is none of these gets the numbers, as Lightning gives them.
    """

    def bind(self, folder: Path, identity: Mapping[str, Any], config: dict[str, Any]) -> None:
        """Tie it to a run directory, before it starts; on all ranks.

        Args:
            folder: run directory.
            identity: benchmark, method, split and seed.
            config: complete, nested as in its file.
        """

    def start(self, step: int, environment: dict[str, Any]) -> None:
        """Training starts or goes on at a step; code, packages and hardware of this session."""

    def show_scores(
        self,
        scores: Mapping[str, Any],
        best: Mapping[str, Any],
        confusion: Mapping[str, Tensor],
        classes: tuple[str, ...],
    ) -> None:
        """A validation whose scores were logged just now; called after ``show_panels``.

        Args:
            scores: such as ``val/IoU/road``.
            best: the same of the best validation so far.
            confusion: ``val``, ``val_teacher``, ... -> K x K int64, row = truth.
            classes: K names.
        """

    def show_panels(self, panels: list[Panel], space: LabelSpace) -> None:
        """Predictions of the validation whose scores were logged just now."""

    def close(self, status: str) -> None:
        """The run is over: ``finished``, ``stopped``, ``interrupted`` or ``failed``."""
