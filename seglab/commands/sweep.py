"""``seglab sweep``: the runs of a sweep file, and what became of them."""

import os
import shlex
from pathlib import Path
from typing import Literal

from rich.console import Console

from seglab.commands.flags import FlagParser
from seglab.launch.local import run_local, table
from seglab.launch.slurm import Slurm
from seglab.launch.slurm_runs import run_slurm, states
from seglab.launch.sweep import launcher_command, read_sweep
from seglab.types import SeglabError


def sweep(flags: list[str]) -> None:
    """Start or continue the runs of a sweep file; with ``status FOLDER``, show their states.

    Args:
        flags: command line after the command's name.

    Raises:
        SeglabError: the file or a run in it is wrong, or runs are not finished.
    """
    if flags[:1] == ["status"] and len(flags) == 2:
        _status(Path(flags[1]))
        return
    parser = FlagParser("sweep", "Start the runs of a sweep file (the format of Weights & Biases).")
    parser.add_argument("file", type=str, help="Sweep file.")
    parser.add_argument("--dir", type=str, default="", help="Folder of the sweep. Default: runs/sweeps/<name of FILE>.")
    parser.add_argument("--jobs", type=int, default=0, help="Runs at a time. Default: one per GPU, or 1.")
    parser.add_argument("--gpus", type=str, default="", help="Device numbers, as in 0,1. Default: all.")
    parser.add_argument("--seed", type=int, default=0, help="Of the draws of `method: random`.")
    parser.add_argument("--launcher", type=Literal["local", "slurm"], default="local", help="Where the runs start.")
    parser.add_class_arguments(Slurm, "slurm")
    parser.add_argument("--dry_run", type=bool, default=False, help="Print the commands and start nothing.")
    options = parser.parse_args(flags)
    file = Path(options.file)
    runs = read_sweep(file, options.seed)
    folder = Path(options.dir or f"runs/sweeps/{file.stem}")
    if options.dry_run:
        for run in runs:
            print(shlex.join(launcher_command(run, folder / run.name)))
        return
    if options.jobs < 0:
        raise SeglabError(f"--jobs {options.jobs}: give 1 or more")

    from seglab.trainer_cli import check

    slurm = Slurm(**vars(options.slurm))
    if options.launcher == "local" and slurm != Slurm():
        raise SeglabError("--slurm.* needs --launcher slurm")
    ranks = {}
    for run in runs:  # a wrong parameter is named before the first run has cost anything
        try:
            config = check(run.arguments)
            ranks[run.name] = slurm.trainer_flags(config.trainer) if options.launcher == "slurm" else []
        except SeglabError as error:
            raise SeglabError(f"{file}: run {run.name}: {error}") from error
    if options.launcher == "slurm":
        run_slurm(folder, runs, slurm, ranks)
        return
    gpus = options.gpus.split(",") if options.gpus else _gpus()
    ended = run_local(folder, runs, options.jobs or len(gpus) or 1, gpus)
    Console().print(table(ended))
    if bad := [name for name, state in ended.items() if state.status != "finished"]:
        raise SeglabError(f"{len(bad)} of {len(ended)} runs are not finished; the same command continues them")


def _status(folder: Path) -> None:
    Console().print(table(states(folder)))


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
