"""``seglab sweep``: the runs of a sweep file, and what became of them."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from seglab.cli.commands.flags import FlagParser
from seglab.launch.directory import as_json, write_manifest
from seglab.launch.local import Need, Pool, run_local
from seglab.launch.screen import table
from seglab.launch.slurm import Slurm
from seglab.launch.slurm_runs import run_slurm, states_of
from seglab.launch.sweep import SweepRun, launcher_command, preview, read_file, read_sweep
from seglab.types import SeglabError


def sweep(flags: list[str]) -> None:
    """Start or continue the runs of a sweep file; with ``status FOLDER``, show their states.

    Args:
        flags: command line after the command's name.

    Raises:
        SeglabError: the file or a run in it is wrong, or runs are not finished.
    """
    if flags[:1] == ["status"]:
        _status(flags[1:])
        return
    parser = FlagParser("sweep", "Start the runs of a sweep file (the format of Weights & Biases), or continue them.")
    parser.add_argument("file", type=str, help="Sweep file.")
    parser.add_argument("--launcher", type=Literal["local", "slurm", "wandb"], default="local", help="Who runs them.")
    parser.add_argument("--dir", type=str, default="", help="Folder of the sweep. Default: runs/sweeps/<name of FILE>.")
    parser.add_argument("--jobs", type=int, default=0, help="Runs at a time. Default: one per GPU, or 1.")
    parser.add_argument("--gpus", type=str, default="", help="Device numbers, as in 0,1. Default: all.")
    parser.add_argument("--seed", type=int, default=0, help="Of the draws of `method: random` and `bayes`.")
    parser.add_class_arguments(Slurm, "slurm")
    parser.add_argument("--dry-run", action="store_true", help="Print the commands and start nothing.")
    options = parser.parse_args(flags)
    if options.jobs < 0:
        raise SeglabError(f"--jobs {options.jobs}: give 1 or more")
    slurm = Slurm(**vars(options.slurm.clone(with_meta=False)))
    if options.launcher != "slurm" and slurm != Slurm():
        raise SeglabError("--slurm.* needs --launcher slurm")
    why = {"slurm": "the cluster decides; --slurm.parallel bounds it", "wandb": "each agent runs one run after another"}
    elsewhere = [name for name in ("jobs", "gpus", *(["dir"] if options.launcher == "wandb" else [])) if options[name]]
    if options.launcher in why and elsewhere:
        raise SeglabError(f"--{elsewhere[0]} means nothing to --launcher {options.launcher}: {why[options.launcher]}")

    file = Path(options.file)
    if options.launcher == "wandb":
        _wandb(file, options.dry_run)
        return
    folder = Path(options.dir or f"runs/sweeps/{file.stem}")
    if options.dry_run:
        for run in read_sweep(file, options.seed):
            print(shlex.join(launcher_command(run, folder / run.name)))
    elif options.launcher == "slurm":
        _slurm(file, folder, slurm, options.seed)
    else:
        _local(file, folder, options.jobs, options.gpus.split(",") if options.gpus else _gpus(), options.seed)


class Check:
    """Parses runs before they start, as they will be when they do.

    A run is parsed if its files, flags or a value are new, so that a large grid costs about as much as its axes; all
    fractional numbers of a flag count as one value.

    Args:
        file: of the sweep, for messages.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._values: set[str] = set()
        self._trainers: dict[str, Any] = {}

    def __call__(self, run: SweepRun) -> Any:
        """The section ``trainer`` of the run's config; of a chain, that of the stage with most devices.

        Raises:
            SeglabError: a file, flag or value of it is wrong.
        """
        kinds = {name: "float" if isinstance(value, float) else value for name, value in run.parameters.items()}
        values = {json.dumps(pair) for pair in kinds.items()}
        said = {name: value for name, value in kinds.items() if name.startswith(("config", "trainer."))}
        key = json.dumps([said, sorted(kinds), [word for word in run.command if not word.startswith("--")]])
        if key not in self._trainers or not values <= self._values:
            with self.naming(run):
                self._trainers[key] = _trainer(run)
            self._values |= values
        return self._trainers[key]

    @contextmanager
    def naming(self, run: SweepRun) -> Iterator[None]:
        """Errors inside say which run of which file they are about."""
        try:
            yield
        except SeglabError as error:
            raise SeglabError(f"{self.file}: run {run.name}: {error}") from error


def _trainer(run: SweepRun) -> Any:
    if run.is_chain:
        from seglab.cli.commands.chain import plan

        # the folder is that of no chain: it need not be the one of the run to know what its flags say
        return max(plan(run.arguments[1:], "CHAIN").trainers.values(), key=lambda part: need(part, []).processes)
    from seglab.cli.config import check
    from seglab.launch.conflicts import refuse_conflicts

    refuse_conflicts(run)
    return check(run.arguments).trainer


def need(trainer: Any, gpus: Sequence[str]) -> Need:
    """What a run with this section ``trainer`` takes of the GPUs that runs may use.

    Raises:
        SeglabError: it asks for more than there are, or for certain ones.
    """
    devices, on_gpus = trainer.devices, bool(gpus) and str(trainer.accelerator) in ("auto", "gpu", "cuda")
    text = str(devices).strip("[] ").replace(" ", "")
    if text in ("-1", "auto"):
        count = len(gpus) if text == "-1" and on_gpus else 1
    elif isinstance(devices, list) or "," in text:
        count = len(text.rstrip(",").split(","))
        if on_gpus and text.rstrip(",") != ",".join(map(str, range(count))):
            raise SeglabError(f"trainer.devices {devices}: the sweep chooses the GPUs; give their number, {count}")
    else:
        count = int(text)
    if on_gpus and count > len(gpus):
        raise SeglabError(f"trainer.devices {devices}: there are {len(gpus)} GPUs ({', '.join(gpus)})")
    return Need(count, count if on_gpus else 0)


def _local(file: Path, folder: Path, jobs: int, gpus: Sequence[str], seed: int) -> None:
    check = Check(file)

    def takes(run: SweepRun) -> Need:
        with check.naming(run):
            return need(check(run), gpus)

    bayes = read_file(file)["method"] == "bayes"
    for run in preview(file, seed) if bayes else read_sweep(file, seed):
        takes(run)  # a wrong parameter is named before the first run has cost anything
    pool = Pool(jobs or len(gpus) or 1, gpus, takes)
    if bayes:
        from seglab.launch.bayes import Search

        search = Search(file, folder, seed)
        states = run_local(folder, search.runs(), [], search.total, pool, search.ended)
    else:
        runs = read_sweep(file, seed)
        states = run_local(folder, iter(runs), runs, len(runs), pool)
    Console().print(table(states, str(folder)))
    if bad := [name for name, state in states.items() if state.status != "finished"]:
        raise SeglabError(f"{len(bad)} of {len(states)} runs are not finished; the same command continues them")


def _slurm(file: Path, folder: Path, slurm: Slurm, seed: int) -> None:
    check, runs = Check(file), read_sweep(file, seed)
    if any(run.is_chain for run in runs):
        _slurm_chains(folder, runs, slurm, check)
        return
    ranks: dict[str, list[str]] = {}
    for run in runs:
        trainer = check(run)
        with check.naming(run):
            ranks[run.name] = slurm.trainer_flags(trainer)
    run_slurm(folder, runs, slurm, ranks)


def _slurm_chains(folder: Path, runs: Sequence[SweepRun], slurm: Slurm, check: Check) -> None:
    """Submit each chain as jobs of which each waits for the one before it."""
    from seglab.cli.commands.chain import plan, submit_stages

    if slurm.parallel:
        raise SeglabError("--slurm.parallel bounds an array; chains are jobs of their own: leave it out")
    for run in runs:
        check(run)
    write_manifest(folder, runs)
    for run in runs:
        with check.naming(run):
            submit_stages(plan(run.arguments[1:], str(folder / run.name), absolute=True), slurm)
    print(f"seglab: seglab sweep status {folder}")


def _wandb(file: Path, dry_run: bool) -> None:
    runs = preview(file)
    if dry_run:
        if read_file(file)["method"] != "grid":
            raise SeglabError(f"{file}: the values are drawn by W&B's server, so there is no list of commands to print")
        for run in runs:
            print(shlex.join(run.command))
        return
    if runs[0].is_chain:
        raise SeglabError(
            f"{file}: an agent of W&B runs one run, not the stages of a chain: use --launcher local or slurm"
        )
    check = Check(file)
    for run in runs:
        check(run)
    from seglab.launch.wandb_server import register

    name = register(file)
    print("seglab: start agents from this folder, on any machine that has it, one per GPU:")
    for gpu in _gpus() or [""]:
        print(f"{f'CUDA_VISIBLE_DEVICES={gpu} ' if gpu else ''}wandb agent {name}")


def _status(flags: list[str]) -> None:
    parser = FlagParser("sweep status", "What became of the runs of a sweep.")
    parser.add_argument("dir", type=str, help="Folder of the sweep.")
    parser.add_argument("--format", type=Literal["table", "json"], default="table", help="Of what is printed.")
    options = parser.parse_args(flags)
    folder = Path(options.dir)
    states = states_of(folder)
    if options.format == "json":
        print(as_json(states, folder))
    else:
        Console().print(table(states, f"{folder}/"))


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
