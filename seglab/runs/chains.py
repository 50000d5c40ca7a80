"""A chain on disk: a folder with a run directory per stage, ``<n>_<stage>``, and a ``chain.json`` that orders them."""

from pathlib import Path
from typing import Any

from seglab.files import read_json
from seglab.types import SeglabError

CHAIN = "chain.json"
Reference = dict[str, Any]  # run: folder of an earlier stage; ckpt_path: last or best; flags of a command


def read_stages(folder: Path) -> dict[str, dict[str, Reference]]:
    """Folder name of each stage, in order -> flag -> what the flag takes of which earlier stage.

    Raises:
        SeglabError: the folder is not that of a chain, or its ``chain.json`` is damaged.
    """
    path = folder / CHAIN
    if not path.is_file():
        raise SeglabError(f"{folder} is not the folder of a chain: it has no {CHAIN}")
    stages = read_json(path).get("stages")
    if not isinstance(stages, dict) or not stages:
        raise SeglabError(f"{path} names no stages: remove it, and `seglab chain` writes it again")
    return stages


def stages_before(run: Path) -> list[Path] | None:
    """The run directories that come before the last stage of a chain; None where ``run`` is not a last stage."""
    names = list(_stages(run))
    return [run.parent / name for name in names[:-1]] if names[-1:] == [run.name] else None


def is_earlier_stage(run: Path) -> bool:
    """Whether a run directory is a stage of a chain and not its last one, which stands for the method."""
    return run.name in list(_stages(run))[:-1]


def _stages(run: Path) -> dict[str, Any]:
    try:
        return read_stages(run.parent)
    except SeglabError:
        return {}
