"""Weights & Biases, online or offline; never needed."""

import math
import os
import re
import secrets
from collections.abc import Mapping
from csv import DictReader
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from seglab.files import read_json
from seglab.labels import IGNORE, LabelSpace
from seglab.runs.directory import METRICS
from seglab.training.loggers import Panel, RunLogger
from seglab.training.record import write_json
from seglab.types import SeglabError

STATE = "wandb.json"  # of a run directory: the id of its W&B run and the last step that surely is in it
TAG = 64  # characters that the server takes
ROWS = 10_000  # that W&B keeps of a table


class WandbRun(RunLogger, WandbLogger):
    """Logs a run to W&B, grouped by benchmark and method; a resumed run continues the same W&B run.

    An agent of a W&B sweep says which run to join (WANDB_RUN_ID), with its project and team.

    Args:
        project: W&B project.
        offline: write into the run directory only; ``wandb sync`` uploads it later.
        entity: W&B team or user; empty for the default.
        tags: further tags.

    Raises:
        SeglabError: the package is not installed.
    """

    def __init__(self, project: str = "seglab", offline: bool = True, entity: str = "", tags: list[str] = []) -> None:  # noqa: B006
        try:
            super().__init__(project=project, entity=entity or None, tags=list(tags))
        except ModuleNotFoundError as error:
            raise SeglabError('W&B logging needs the package wandb: pip install "seglab[wandb]"') from error
        if offline:  # Lightning's own flag would set WANDB_MODE for whatever else runs in this process
            self._wandb_init["mode"] = "offline"
        self._step = 0  # of the scores logged last
        self._sure = -1  # step up to which everything is in W&B's files

    def bind(self, folder: Path, identity: Mapping[str, Any], config: dict[str, Any]) -> None:
        benchmark, method, split, seed = (identity[key] for key in ("benchmark", "method", "split", "seed"))
        self._folder, self._save_dir = folder, str(folder)
        self._wandb_init |= {
            "dir": str(folder),
            "name": f"{method} s{seed}",
            "group": f"{benchmark}/{method}",
            "job_type": method,
            "tags": [
                tag[:TAG] for tag in (*self._wandb_init["tags"], benchmark, method, f"labeled {split}", f"seed {seed}")
            ],
            "resume": None if self._wandb_init.get("mode") == "offline" else "allow",  # offline it would only warn
            "config": config | dict(identity),
        }
        if "WANDB_SWEEP_ID" in os.environ:  # W&B would drop them with a warning each
            self._wandb_init |= {"project": None, "entity": None}
        if not {"WANDB_RUN_ID", "WANDB_SWEEP_ID"} & os.environ.keys():
            self._bind_id(f"{benchmark.replace('/', '_')}-{method}-{folder.resolve().name}")

    @rank_zero_only
    def _bind_id(self, name: str) -> None:
        """The id kept in the run directory, so that a requeued job finds its run again, wherever the folder is then."""
        path = self._folder / STATE
        if path.is_file():
            state = read_json(path)
            self._id, self._sure = state["id"], state["logged"]
        else:
            self._id = re.sub(r"[^a-z0-9_.+-]", "-", name.lower())[:110] + f"-{secrets.token_hex(4)}"
            self._keep_state()
        self._wandb_init["id"] = self._id

    def _keep_state(self) -> None:
        write_json(self._folder / STATE, {"id": self._id, "logged": self._sure})

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """``bind`` passes the config, nested as in the file; Lightning would add a flat copy."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """W&B's own step is the run's too, so that the parts of an interrupted run fit together."""
        self._step = self._step if step is None else step
        self._log(metrics)

    def _log(self, row: Mapping[str, Any]) -> None:
        if self._step >= self.experiment.step:  # else an earlier session got further and has uploaded it
            self.experiment.log({**row, "trainer/global_step": self._step}, step=self._step)

    def start(self, step: int, environment: dict[str, Any]) -> None:
        self.experiment.config.update({"environment": environment}, allow_val_change=True)
        # W&B writes with delay, so what a killed session logged last is in metrics.csv alone.
        path, first = self._folder / METRICS, max(self.experiment.step, self._sure + 1)
        if step and path.is_file():
            with path.open(newline="") as file:
                for row in DictReader(file):
                    if int(row["step"]) >= first:
                        scores = {key: float(value) for key, value in row.items() if value and key != "step"}
                        self.log_metrics(scores, int(row["step"]))

    def show_scores(
        self,
        scores: Mapping[str, Any],
        best: Mapping[str, Any],
        confusion: Mapping[str, Tensor],
        classes: tuple[str, ...],
    ) -> None:
        import wandb

        rows = [[name, *(_number(scores[f"{prefix}/IoU/{name}"]) for prefix in confusion)] for name in classes]
        media: dict[str, Any] = {"val/classes": wandb.Table(["class", *(f"IoU {p}" for p in confusion)], rows)}
        for prefix, counts in confusion.items():
            cells = [
                [truth, predicted, count]
                for truth, row in zip(classes, counts.tolist(), strict=True)
                for predicted, count in zip(classes, row, strict=True)
            ]
            if len(cells) > ROWS:
                cells = sorted(cells, key=lambda cell: -cell[2])[:ROWS]
            fields = ("Actual", "Predicted", "nPredictions")  # as wandb.plot.confusion_matrix has them
            media[f"{prefix}/confusion"] = wandb.plot_table(
                "wandb/confusion_matrix/v1",
                wandb.Table([*fields], cells),
                dict(zip(fields, fields, strict=True)),
                {"title": f"{prefix}: pixels"},
            )
        self._log(media)  # after the panels: W&B sends the list of charts anew with every mask, without these
        self.experiment.summary.update({f"best/{key}": _number(value) for key, value in best.items()})

    def show_panels(self, panels: list[Panel], space: LabelSpace) -> None:
        import wandb

        labels = {**dict(enumerate(space.names)), IGNORE: "ignored"}

        def mask(classes: np.ndarray) -> dict[str, Any]:
            return {"mask_data": classes, "class_labels": labels}

        images = [
            wandb.Image(
                panel.image,
                caption=panel.key,
                masks={"ground_truth": mask(panel.truth)}
                | {"prediction" if n == "student" else n: mask(classes) for n, classes in panel.predictions.items()},
            )
            for panel in panels
        ]
        self._log({"panels": images})

    def close(self, status: str) -> None:
        self.experiment.summary["status"] = status
        self.experiment.finish(
            exit_code={"finished": 0, "stopped": 0, "interrupted": 255, "preempted": 255}.get(status, 1)
        )
        self._sure = self._step
        if self._id:
            self._keep_state()


def _number(value: float) -> float | None:
    """Tables and the summary are JSON, which has no NaN."""
    return None if math.isnan(value) else value
