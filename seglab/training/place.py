"""Where a run is and from which checkpoint it goes on: settled by its config, before anything is built."""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seglab.runs import directory
from seglab.training.checkpoints import last_whole
from seglab.types import SeglabError

RUN_DIR = "SEGLAB_RUN_DIR"  # how rank 0 tells the run directory to the ranks that it starts


class Config(NamedTuple):
    """A command line that was read.

    Attributes:
        command: fit, validate, test or predict.
        options: the sections and keys, as a namespace.
        text: YAML that is saved in the run directory: complete, and without what belongs to this launch alone.
    """

    command: str
    options: Any
    text: str

    @property
    def parent(self) -> Path:
        """The folder in which new runs of this benchmark and method get a folder each."""
        return directory.folder_of(self.options.runs, self.options.benchmark, method_name(self.options))

    @property
    def identity(self) -> dict[str, Any]:
        options = self.options
        return {
            "benchmark": options.benchmark,
            "method": method_name(options),
            "seed": options.seed_everything,
        }


class Place(NamedTuple):
    """Where a session works.

    Attributes:
        folder: run directory; None for a new run that nobody named, and for an evaluation without one.
        checkpoint: file to resume from or to evaluate; None to begin.
        continues: the folder holds an earlier part of this run.
        falls_back: its last.ckpt is damaged, and the one before takes its place.
    """

    folder: Path | None
    checkpoint: str | None
    continues: bool = False
    falls_back: bool = False


def find_place(config: Config) -> Place:
    """The run directory and the checkpoint that a config means.

    Raises:
        SeglabError: there is no such run or checkpoint, or none that is whole.
    """
    options = config.options
    if config.command == "fit":
        return _resume_from(config)
    folder = Path(options.run_dir) if options.run_dir else None
    if options.ckpt_path not in (None, "last", "best"):
        return Place(folder, options.ckpt_path)
    if folder is None:
        raise SeglabError(f"which weights? `seglab {config.command} RUN_DIR`, or --ckpt_path with a file")
    best = options.ckpt_path == "best"
    return Place(folder, str(folder / directory.BEST) if best else whole_checkpoint(folder))


def _resume_from(config: Config) -> Place:
    options = config.options
    named = options.run_dir or (os.environ.get(RUN_DIR, "") if rank() else "")
    if not named and (rank() or "TORCHELASTIC_RUN_ID" in os.environ):
        raise SeglabError("processes that another program starts need a common run directory: give --run_dir FOLDER")
    folder = Path(named) if named else None
    if options.ckpt_path != "last":
        return Place(folder, options.ckpt_path)
    folder = folder or directory.find_last(config.parent, options.seed_everything, yaml.safe_load(config.text))
    resume = folder is not None and bool(directory.resumable(folder))
    if not rank():
        print(f"seglab: {f'resuming {folder}' if resume else 'no checkpoint to resume'}", file=sys.stderr)
    checkpoint = whole_checkpoint(folder) if folder and resume else None
    return Place(
        folder,
        checkpoint,
        continues=folder is not None and (folder / directory.CONFIG).is_file(),
        falls_back=checkpoint is not None and Path(checkpoint).name != Path(directory.LAST).name,
    )


def new_folder(config: Config) -> Path:
    """The run directory that a config of ``fit`` would get now."""
    return Path(config.options.run_dir or config.parent / directory.new_id(config.parent, config.identity["seed"]))


def initial_weights(start: str) -> str:
    """The checkpoint file that ``--init_from`` means.

    Raises:
        SeglabError: there is none.
    """
    path = Path(start)
    if path.is_dir() and directory.resumable(path):
        return whole_checkpoint(path)
    checkpoint = path / directory.LAST if path.is_dir() else path
    if not checkpoint.is_file():
        raise SeglabError(f"--init_from {path}: {checkpoint} does not exist; give a run directory or a checkpoint file")
    return str(checkpoint)


def whole_checkpoint(folder: Path) -> str:
    """The checkpoint of a run to go on from; says so if that is not its ``last.ckpt``."""
    checkpoint, told = last_whole(folder)
    if told and not rank():
        print(f"seglab: warning: {told}", file=sys.stderr)
    return str(checkpoint)


def method_name(options: Any) -> str:
    """The name of a method in run directories: its own, or that of its classes."""
    return options.method or "+".join(
        part.class_path.rpartition(".")[2] for part in (options.model, *options.additions)
    )


def rank() -> int:
    """Of this process among all of the run, as its launcher tells it before Lightning knows."""
    return next((int(os.environ[key]) for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if key in os.environ), 0)
