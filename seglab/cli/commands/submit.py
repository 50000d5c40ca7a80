"""``seglab submit``: one run as a SLURM job."""

import sys
from pathlib import Path

from seglab.cli.commands.flags import FlagParser, split_flags
from seglab.launch.slurm import Slurm, batch_script, check_cluster
from seglab.launch.slurm import submit as submit_runs
from seglab.launch.slurm_runs import jobs_of
from seglab.runs.directory import writable
from seglab.types import SeglabError


def submit(flags: list[str]) -> None:
    """Submit what ``seglab fit`` would run here.

    Args:
        flags: those of ``fit``, or a run directory to continue, and ``--slurm.KEY VALUE``.

    Raises:
        SeglabError: the config is wrong, SLURM does not take the job, or the run is in its queue already.
    """
    parser = FlagParser("submit", "Run `seglab fit` with all other flags, or a run directory, as a SLURM job.")
    parser.add_class_arguments(Slurm, "slurm")
    parser.add_argument("--dry-run", action="store_true", help="Print the batch script and submit nothing.")
    own, rest = split_flags(flags, ())
    options = parser.parse_args(own)
    slurm = Slurm(**vars(options.slurm.clone(with_meta=False)))
    if not rest:
        raise SeglabError("submit what? Give the flags of `seglab fit`, or a run directory")
    if slurm.parallel:
        raise SeglabError("--slurm.parallel is the number of runs of a sweep at a time; this is one run")

    if not options.dry_run:
        check_cluster(slurm, 1, array=False)
        if not rest[0].startswith("-"):
            _refuse_queued(Path(rest[0]))  # a run that never started has no config yet

    from seglab.cli.config import parse
    from seglab.training.place import new_folder

    read = parse(["fit", *rest])
    config = read.options
    ranks = slurm.trainer_flags(config.trainer)
    folder = new_folder(read).resolve()
    if (folder / "config.yaml").is_file() and config.ckpt_path != "last":
        raise SeglabError(f"{folder} already holds a run: continue it with `seglab submit {folder}`")
    command = [sys.executable, "-m", "seglab", "fit", *rest, f"--run_dir={folder}", "--ckpt_path=last", *ranks]
    name = f"{config.benchmark.replace('/', '_')}-{folder.parent.name}-{folder.name}"
    if options.dry_run:
        print(batch_script(name, folder / "submitted.out", {folder: command}, slurm, array=False), end="")
        return
    _refuse_queued(folder)
    writable(folder, "choose another --runs or --run_dir")
    job = submit_runs(folder, name, {folder: command}, slurm, array=False)
    print(f"seglab: job {job} is {folder}")


def _refuse_queued(folder: Path) -> None:
    if (job := jobs_of([folder]).get(folder)) and job.active:
        raise SeglabError(f"{folder} is job {job.id} already ({job.state}): `scancel {job.id}` ends it")
