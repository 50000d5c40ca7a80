"""Weights & Biases, online or offline; never needed."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from seglab.types import SeglabError


class WandbRun(WandbLogger):
    """Logs a run to W&B under its benchmark, method and seed; a resumed run continues the same W&B run.

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
            super().__init__(project=project, offline=offline, entity=entity or None, tags=list(tags))
        except ModuleNotFoundError as error:
            raise SeglabError('W&B logging needs the package wandb: pip install "seglab[wandb]"') from error

    def bind(self, folder: Path, identity: dict[str, Any], config: dict[str, Any]) -> None:
        """Tie the W&B run to a run directory before it starts."""
        benchmark, method, seed = (identity[key] for key in ("benchmark", "method", "seed"))
        self._save_dir = str(folder)
        self._id = f"{benchmark}-{method}-{folder.name}".lower()  # stable, so a requeued job finds its run again
        self._wandb_init |= {
            "dir": str(folder),
            "id": self._id,
            "name": f"{method} s{seed}",
            "group": f"{benchmark}/{method}",
            "job_type": method,
            "tags": [*self._wandb_init["tags"], benchmark, method],
            "resume": "allow",
            "config": config,
        }

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """``bind`` passes the config, nested as in the file; Lightning would add a flat copy."""
