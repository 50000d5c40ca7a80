"""``seglab chain``: the runs of a chain file one after the other, and what became of them."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console

from seglab.cli.commands.flags import FlagParser, split_flags
from seglab.files import held
from seglab.launch.chain import (
    LABELS,
    POINTS,
    Chain,
    conflict,
    in_turn,
    label_flags,
    note_taken,
    point_flags,
    read_chain,
    write_folder,
)
from seglab.launch.directory import as_json
from seglab.launch.local import Need, Pool, run_local
from seglab.launch.screen import table
from seglab.launch.slurm import EXIT, Slurm, check_cluster, submit
from seglab.launch.slurm_runs import jobs_of, state, states_of
from seglab.launch.sweep import SweepRun, launcher_command
from seglab.runs import recipes
from seglab.runs.arguments import files_first
from seglab.runs.chains import CHAIN, read_stages
from seglab.runs.directory import PLACE_DATA, folder_of, new_id
from seglab.runs.reading import Run
from seglab.types import SeglabError

OWN = ("--launcher", "--run_dir", "--ckpt_path")


def chain(flags: list[str]) -> None:
    """Run or continue a chain file; with ``status FOLDER``, show the state of its stages.

    Args:
        flags: command line after the command's name.

    Raises:
        SeglabError: the file or a stage is wrong, the folder holds another chain, or a stage did not finish.
    """
    match flags:
        case ["status", *rest]:
            _status(rest)
        case ["prepare", *words]:
            for name in [name for name in os.environ if name.startswith("SLURM_")]:
                del os.environ[name]  # this is one process, however many ranks the job has
            prepare(words)
        case ["stage", *words]:
            prepare(words)
            os.execv(sys.executable, [sys.executable, "-m", "seglab", "fit", *words])
        case _:
            _chain(flags)


def prepare(words: Sequence[str]) -> None:
    """Check and note what a stage takes of earlier ones, and write the pseudo-labels or the list of pixels it takes.

    Args:
        words: those of ``fit`` for this stage, ``--run_dir=FOLDER`` among them.

    Raises:
        SeglabError: an earlier stage lacks what it takes, or has changed since the stage began; or pixels that it asks
            for have no class yet.
    """
    run = Path(next(word for word in words if word.startswith("--run_dir=")).partition("=")[2])
    takes = read_stages(run.parent)[run.name]
    with held(run):
        note_taken(run, takes)
        labels = label_flags(takes, run.parent, run)
        if labels and not (run / LABELS).is_dir():
            from seglab.cli.commands.pseudo_label import pseudo_label

            pseudo_label([*labels, *(word for word in words if _says_where(word))])
        if points := point_flags(takes, run.parent, run, words):
            from seglab.cli.commands.pick import check_answers, pick

            if not (run / POINTS).is_file():
                pick([*points, *(word for word in words if _says_where(word))])
            check_answers(run / POINTS, (run / POINTS).with_suffix(".html"))


def _chain(flags: list[str]) -> None:
    parser = FlagParser("chain", "Run the stages of a chain file; all other flags are those of `seglab fit`.")
    parser.add_argument("file", type=str, help="Chain file.")
    parser.add_argument("--launcher", type=Literal["local", "slurm"], default="local", help="Who runs the stages.")
    parser.add_argument(
        "--run_dir", type=str, default="", help="Folder of the chain. Default: the last one of this seed, or a new one."
    )
    parser.add_class_arguments(Slurm, "slurm")
    parser.add_argument("--dry-run", action="store_true", help="Print the commands and start nothing.")
    own, rest = split_flags(flags, OWN)
    file = _words(rest)[1]  # the parser names what lacks
    options = parser.parse_args([*file, *own])
    slurm = Slurm(**vars(options.slurm.clone(with_meta=False)))
    if options.launcher != "slurm" and slurm != Slurm():
        raise SeglabError("--slurm.* needs --launcher slurm")
    planned = plan(rest, options.run_dir, absolute=options.launcher == "slurm")
    if options.dry_run:
        for stage, run in zip(planned.chain.stages, planned.runs, strict=True):
            if labels := label_flags(stage.takes, planned.folder, planned.folder / run.name):
                print(shlex.join(["seglab", "pseudo-label", *labels]))
            if points := point_flags(stage.takes, planned.folder, planned.folder / run.name, run.arguments[1:]):
                print(shlex.join(["seglab", "pick", *points]))
            print(shlex.join(launcher_command(run, planned.folder / run.name)))
    elif options.launcher == "slurm":
        submit_stages(planned, slurm)
    else:
        _local(planned)


@dataclass(frozen=True)
class Plan:
    """A chain with the flags of a command line.

    Attributes:
        chain: its file.
        folder: where it runs.
        runs: ``seglab fit`` of each stage.
        trainers: folder name of each stage -> section ``trainer`` of its config.
    """

    chain: Chain
    folder: Path
    runs: list[SweepRun]
    trainers: dict[str, Any]


def plan(words: Sequence[str], run_dir: str = "", absolute: bool = False) -> Plan:
    """What the command ``seglab chain`` with these words would run.

    Args:
        words: chain file, config files and flags for all stages.
        run_dir: folder of the chain; empty: the newest that can be continued, or a new one.
        absolute: name the folder, and what stages take, by absolute paths, as jobs may start anywhere.

    Raises:
        SeglabError: a file, flag or value of a stage is wrong, or no folder can be continued.
    """
    files, file, flags = _words(words)
    if not file:
        raise SeglabError("no chain file: name it after `chain`; in a sweep, give its name as parameter `chain`")
    read = read_chain(Path(file[0]) if Path(file[0]).suffix else recipes.find(file[0], ["chain"]))
    configs = _parse(read, files, flags, file[0])
    folder = _folder(read, configs, run_dir)
    folder = folder.resolve() if absolute else folder
    runs = []
    for stage in read.stages:
        config = configs[stage.folder][0]
        about = {"benchmark": config.benchmark, "method": stage.method, "seed_everything": config.seed_everything}
        runs.append(SweepRun(stage.folder, about, ("seglab", "fit", *stage.arguments(folder, files, flags))))
    return Plan(read, folder, runs, {name: config.trainer for name, (config, _) in configs.items()})


def _words(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Config files, the chain file, and the flags ``--KEY=VALUE``."""
    files, rest = files_first(list(words))
    flags = _joined(rest)
    at = 1 if flags and not flags[0].startswith("-") else 0
    return files, flags[:at], flags[at:]


def _parse(read: Chain, files: Sequence[str], flags: Sequence[str], file: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Folder of each stage -> its config, also as it would stand in ``config.yaml``.

    Raises:
        SeglabError: a file, flag or value of a stage is wrong.
    """
    from seglab.cli.commands.pick import parse as parse_points
    from seglab.cli.commands.pseudo_label import parse as parse_labels
    from seglab.cli.config import parse

    configs, folder = {}, Path("CHAIN")  # the folder is chosen by the configs
    for stage in read.stages:
        try:
            config = parse(["fit", *stage.arguments(folder, files, flags)])
            configs[stage.folder] = config.options, yaml.safe_load(config.text)
            if labels := label_flags(stage.takes, folder, folder / stage.folder):
                parse_labels(labels)
            if points := point_flags(stage.takes, folder, folder / stage.folder, ["BENCHMARK"]):
                parse_points(points)
        except SeglabError as error:
            raise SeglabError(f"{file}: stage {stage.folder.partition('_')[2]}: {error}") from error
    return configs


def _folder(read: Chain, configs: Mapping[str, tuple[Any, dict[str, Any]]], run_dir: str) -> Path:
    """The folder to run the chain in: the one that is named, the newest that can be continued, or a new one.

    Raises:
        SeglabError: there are such folders and none can be continued.
    """
    config = configs[read.stages[-1].folder][0]
    parent = folder_of(config.runs, config.benchmark, read.name)
    if run_dir:
        folders = [Path(run_dir)] if (Path(run_dir) / CHAIN).is_file() else []
    else:
        folders = [path.parent for path in parent.glob(f"s{config.seed_everything}-*/{CHAIN}")]
        folders.sort(key=lambda folder: (folder / CHAIN).stat().st_mtime, reverse=True)
    problems = []
    for folder in folders:
        problem = conflict(folder, read, {name: nested for name, (_, nested) in configs.items()})
        if not problem:
            return folder
        problems.append(f"{folder} cannot be continued: {problem}")
    if problems:
        raise SeglabError(
            f"{problems[0]}\nTo train that stage and all after it again, remove their folders; to start another chain, "
            "give --run_dir and a new folder"
        )
    return Path(run_dir or parent / new_id(parent, config.seed_everything))


def _local(planned: Plan) -> None:
    folder = planned.folder
    prepared = [replace(run, command=("seglab", "chain", "stage", *run.arguments[1:])) for run in planned.runs]
    write_folder(folder, planned.chain, prepared)
    # a stage sees all GPUs, as `seglab fit` does
    pool = Pool(1, [], lambda run: Need(_processes(planned.trainers[run.name].devices)))
    states = run_local(folder, in_turn(folder, prepared), prepared, len(prepared), pool)
    Console().print(table(states, f"{folder}/"))
    for name, told in states.items():
        if told.status != "finished":
            raise SeglabError(f"{folder / name} is not finished ({told.status}); the same command continues the chain")


def _joined(flags: Sequence[str]) -> list[str]:
    """``--KEY VALUE`` -> ``--KEY=VALUE``."""
    words: list[str] = []
    for flag in flags:
        if words and words[-1].startswith("--") and "=" not in words[-1] and not flag.startswith("--"):
            words[-1] += f"={flag}"
        else:
            words.append(flag)
    return words


def _says_where(word: str) -> bool:
    """Whether a flag says where labels are written, not what: the earlier stage may have run elsewhere."""
    key = word.partition("=")[0].removeprefix("--")
    return key == "trainer.accelerator" or (key.startswith("data.") and key.rpartition(".")[2] in PLACE_DATA)


def _processes(devices: Any) -> int:
    return int(devices) if str(devices).isdigit() and int(devices) else 1


def submit_stages(planned: Plan, slurm: Slurm) -> None:
    """Submit each stage that is neither finished nor in the queue, to start when the one before it has finished.

    Args:
        planned: with absolute paths.
        slurm: what each stage asks for.

    Raises:
        SeglabError: SLURM does not take them, or the folder cannot be written.
    """
    ranks = {run.name: slurm.trainer_flags(planned.trainers[run.name]) for run in planned.runs}
    check_cluster(slurm, 0, array=False)
    folder = planned.folder
    write_folder(folder, planned.chain, planned.runs)
    jobs = jobs_of(folder / run.name for run in planned.runs)
    before, submitted = "", []
    for run in planned.runs:
        place = folder / run.name
        job = jobs.get(place)
        if job and job.active:
            before = job.id
        elif state(place, job).status != "finished":
            place.mkdir(exist_ok=True)
            command = {place: [*launcher_command(run, place), *ranks[run.name]]}
            waiting = _after(slurm, run.arguments[1:], place, before)
            before = submit(place, f"{planned.chain.name}-{run.name}", command, waiting, array=False)
            submitted.append(f"{run.name} is job {before}")
    print(f"seglab: {'; '.join(submitted) or 'nothing to submit: all stages are finished or in the queue'}")
    print(f"seglab: seglab chain status {folder}")


def _after(slurm: Slurm, words: Sequence[str], place: Path, before: str) -> Slurm:
    """A job that waits for the one before it, and prepares its stage on its first node before the ranks start.

    The labels of an interrupted job are kept, so a job that nears its time limit while it writes them is requeued.
    """
    prepare = shlex.join([sys.executable, "-m", "seglab", "chain", "prepare", *words, f"--run_dir={place}"])
    setup = [
        """trap 'kill $!; scontrol requeue "$job"; exit' USR1""",
        f'{prepare} & wait $! || {{ code=$?; echo "$job $code" >"$run/{EXIT}"; exit $code; }}',
    ]
    after = [f"--dependency=afterok:{before}", "--kill-on-invalid-dep=yes"] if before else []
    return replace(slurm, setup=[*slurm.setup, *setup], flags=[*slurm.flags, *after])


def _status(flags: list[str]) -> None:
    parser = FlagParser("chain status", "What became of the stages of a chain.")
    parser.add_argument("dir", type=str, help="Folder of the chain.")
    parser.add_argument("--format", type=Literal["table", "json"], default="table", help="Of what is printed.")
    options = parser.parse_args(flags)
    folder = Path(options.dir)
    order, found = read_stages(folder), states_of(folder)
    states: dict[str, Run] = {name: found[name] for name in order if name in found}
    if options.format == "json":
        print(as_json(states, folder))
    else:
        Console().print(table(states, f"{folder}/"))
