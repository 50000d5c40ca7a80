"""A sweep as a job array, and what became of its runs: SLURM's word where it still has one, else the run's folder."""

import contextlib
import itertools
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seglab.files import held, read_json
from seglab.launch.directory import write_manifest
from seglab.launch.slurm import EXIT, JOB, Slurm, ask, check_cluster, submit
from seglab.launch.sweep import SweepRun, launcher_command
from seglab.runs.chains import CHAIN, read_stages
from seglab.runs.directory import LOG, read_manifest
from seglab.runs.reading import Run, of_stages, read_run
from seglab.runs.status import ERROR, STATUSES
from seglab.types import SeglabError

WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
ENDED = {
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "DEADLINE"),
    *("NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "REVOKED"),
}


@dataclass(frozen=True)
class Job:
    """A job as SLURM tells it.

    Attributes:
        id: as in 12 or 12_3.
        state: SLURM's name, such as PENDING; empty where SLURM no longer knows it.
        reason: why it waits or ended, in SLURM's words.
    """

    id: str
    state: str = ""
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether it is waiting or running."""
        return bool(self.state) and self.state not in ENDED


def run_slurm(folder: Path, runs: Sequence[SweepRun], slurm: Slurm, flags: Mapping[str, Sequence[str]]) -> None:
    """Submit the runs of a sweep that are neither finished nor in the queue as one array, and say so.

    Args:
        folder: of the sweep.
        runs: all runs; those that died go on from their last checkpoint.
        slurm: what each run asks for.
        flags: by run name, what the command gets on top: its ranks.

    Raises:
        SeglabError: SLURM does not take them, or the folder cannot be written; no run has started then.
    """
    check_cluster(slurm, 0, array=True)
    folder = folder.resolve()
    jobs = jobs_of(folder / run.name for run in runs)
    queued = {run.name for run in runs if (job := jobs.get(folder / run.name)) and job.active}
    finished = {run.name for run in runs if read_run(folder / run.name).status == "finished"}
    left = [run for run in runs if run.name not in queued | finished]
    check_cluster(slurm, len(left), array=True)
    write_manifest(folder, runs)
    skipped = f"{len(finished)} finished and {len(queued - finished)} queued or running are left alone"
    if not left:
        print(f"seglab: nothing to submit: {skipped}")
        return
    with held(folder):
        commands = {folder / run.name: [*launcher_command(run, folder / run.name), *flags[run.name]] for run in left}
        array = submit(folder, folder.name, commands, slurm, array=True)
    print(f"seglab: {len(left)} runs are job array {array}; {skipped}")
    print(f"seglab: seglab sweep status {folder}")


def states_of(folder: Path) -> dict[str, Run]:
    """Run name -> state, of all runs that a sweep's folder knows: by state, then in the order of the sweep file.

    Raises:
        SeglabError: it is not a sweep, or its jobs are on a cluster that is not here.
    """
    runs = {name: folder.resolve() / name for name in read_manifest(folder)}
    stages = {run: [run / stage for stage in read_stages(run)] for run in runs.values() if (run / CHAIN).is_file()}
    jobs = jobs_of(itertools.chain(runs.values(), *stages.values()))
    states = {
        name: of_stages(run, [state(stage, jobs.get(stage)) for stage in stages[run]])
        if run in stages
        else state(run, jobs.get(run))
        for name, run in runs.items()
    }
    order = list(STATUSES)
    return dict(sorted(states.items(), key=lambda item: order.index(item[1].status)))


def jobs_of(runs: Iterable[Path]) -> dict[Path, Job]:
    """The jobs of those run directories that were submitted."""
    ids = {run: read_json(run / JOB)["job"] for run in runs if (run / JOB).is_file()}
    told = _squeue() if ids else {}
    if lost := [job for job in ids.values() if job not in told]:
        told |= _sacct(lost)
    return {run: told.get(job, Job(job)) for run, job in ids.items()}


def state(run: Path, job: Job | None) -> Run:
    """A run, with its status by its folder and its job.

    The job adds ``requeued``, ``cancelled``, and ``killed`` where no process was left to write how it ended.
    """
    told = read_run(run)
    if job is None or told.status == "finished":
        return told
    if job.state in WAITING:
        began = (run / LOG).is_file()
        return replace(told, status="requeued" if began else "waiting", reason=f"job {job.id}: {job.reason}")
    if job.active:
        return replace(told, status="running", reason="")
    if job.state == "CANCELLED":
        return replace(told, status="cancelled", reason=f"job {job.id}")
    code = _exit_code(run, job.id)
    if code is None and told.status in ("waiting", "running", "running or killed", "killed"):
        why = (
            job.state if job.state not in ("", "FAILED") else "SLURM no longer knows it: cancelled, or its node failed"
        )
        return replace(told, status="killed", reason=f"job {job.id}: {why}")
    if told.status in ("preempted", "interrupted", "stopped") or not code:
        return told
    if code > 128:
        return replace(told, status="killed", reason=f"job {job.id}: {_signal(code)}")
    return replace(told, status="failed", reason=_reason(run) or told.reason or f"job {job.id}: exit {code}")


def _squeue() -> dict[str, Job]:
    """All jobs of this user that SLURM has in memory: waiting, running, and ended a few minutes ago."""
    if not shutil.which("squeue"):
        raise SeglabError("these runs are SLURM jobs and squeue is not on PATH: ask on the cluster")
    lines = ask("squeue", "--me", "--all", "--array", "--noheader", "--states=all", "--format=%i|%T|%r").splitlines()
    return {line.split("|")[0]: Job(*line.strip().split("|", 2)) for line in lines}


def _sacct(ids: list[str]) -> dict[str, Job]:
    """Jobs that ended long ago, where the cluster keeps accounts."""
    if shutil.which("sacct"):
        with contextlib.suppress(SeglabError):  # it keeps no accounts
            told = ask("sacct", "-nPX", "-o", "JobID,State", "-j", ",".join(ids))
            return {job: Job(job, told.split()[0]) for job, told in (line.split("|") for line in told.splitlines())}
    return {}


def _exit_code(run: Path, job: str) -> int | None:
    """How the script of this job ended; None where it did not come to its end."""
    if not (run / EXIT).is_file():
        return None
    wrote, code = (run / EXIT).read_text().split()
    return int(code) if wrote == job else None


def _signal(code: int) -> str:
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"exit code {code}"


def _reason(run: Path) -> str:
    """The error in the log of the last start."""
    text = (run / LOG).read_text(errors="replace") if (run / LOG).is_file() else ""
    lines = [line for line in text.rpartition("seglab: job ")[2].splitlines() if not line.startswith(("srun", "slurm"))]
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return errors[-1] if errors else (lines[-1] if lines else "")
