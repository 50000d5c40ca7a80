"""Sweeps that a Weights & Biases server directs."""

import os
from pathlib import Path

from seglab.launch.sweep import COMMAND, read_file
from seglab.types import SeglabError


def register(path: Path) -> str:
    """Register a sweep file; a file without ``command`` gets ours, where W&B would put ``python`` before the program.

    Returns:
        ``ENTITY/PROJECT/ID``, what ``wandb agent`` takes.

    Raises:
        SeglabError: the package, a login or the server is missing, or the server refuses the file.
    """
    sweep = {"program": "seglab", "command": list(COMMAND), "project": "seglab"} | read_file(path)
    try:
        import wandb
    except ModuleNotFoundError:
        raise SeglabError('--launcher wandb needs the package wandb: pip install "seglab[wandb]"') from None
    from wandb.errors import AuthenticationError, Error, UsageError

    if os.environ.get("WANDB_MODE", "online") not in ("online", "shared"):
        raise SeglabError(
            f"WANDB_MODE is {os.environ['WANDB_MODE']}, but a W&B sweep is directed by its server: unset it, or use "
            "--launcher local"
        )
    try:
        name = wandb.sweep(sweep, entity=sweep.get("entity"), project=sweep["project"])
        entity = sweep.get("entity") or wandb.Api().default_entity
    except (AuthenticationError, UsageError) as error:
        raise SeglabError(
            f"W&B directs a sweep from its server, and the login failed ({error}): `wandb login` (with "
            "--host for a server of your own), or set WANDB_API_KEY; without a server use --launcher local"
        ) from error
    except (Error, OSError, ValueError) as error:
        raise SeglabError(f"W&B did not take {path}: {error}") from error
    return f"{entity}/{sweep['project']}/{name}"
