"""Runs as SLURM jobs: one batch script per submission, an array element per run of a sweep, a task per rank.

Each job runs ``seglab fit --run_dir RUN --ckpt_path last``. When its time is nearly over the ranks checkpoint and the
script requeues the job, so that the same command goes on in the same directory.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from seglab.files import write_whole
from seglab.runs.directory import LOG
from seglab.types import SeglabError

JOB = "job.json"  # in a run directory: which job it was submitted as
EXIT = ".exit_code"  # in a run directory: the job and how it ended, where its script came to its end
TIMES = (  # as sbatch reads --time
    r"(?P<m>\d+)(:(?P<s>\d+))?",
    r"(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)",
    r"(?P<d>\d+)-(?P<h>\d+)(:(?P<m>\d+)(:(?P<s>\d+))?)?",
)


@dataclass(frozen=True)
class Slurm:
    """What a job asks SLURM for; what is left out is the cluster's default.

    Args:
        partition: queue; several with commas.
        account: to charge.
        qos: quality of service.
        nodes: of each run.
        gpus_per_node: of each run; 0 trains on CPUs.
        tasks_per_node: ranks of each run on each node. Default: one per GPU, or 1.
        cpus_per_task: cores of each rank: its loader processes and 1.
        mem: memory per node, as in 64G.
        time: limit as in 4:00:00 or 2-0; a run that needs longer is requeued and continued.
        constraint: features that nodes must have.
        lead: seconds before the limit at which a run stops, checkpoints and is requeued.
        parallel: runs of a sweep at a time; 0: as many as there is room for.
        setup: shell lines before the run, such as ``module load cuda``.
        flags: further flags of sbatch, such as ``--exclude=node7``.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int = 0
    cpus_per_task: int = 0
    mem: str = ""
    time: str = ""
    constraint: str = ""
    lead: int = 90
    parallel: int = 0
    setup: Sequence[str] = ()
    flags: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise SeglabError(f"--slurm.nodes {self.nodes}: give 1 or more")
        for name in ("gpus_per_node", "tasks_per_node", "cpus_per_task", "parallel"):
            if getattr(self, name) < 0:
                raise SeglabError(f"--slurm.{name} {getattr(self, name)}: give 0 or more")
        if self.gpus_per_node and self.tasks_per_node not in (0, self.gpus_per_node):
            raise SeglabError(
                f"--slurm.tasks_per_node {self.tasks_per_node} with --slurm.gpus_per_node {self.gpus_per_node}: "
                "every GPU has one rank; leave tasks_per_node out"
            )
        if self.lead < 10:
            raise SeglabError(f"--slurm.lead {self.lead}: a checkpoint needs time; give 10 seconds or more")
        # SLURM signals up to a minute earlier than asked
        if self.time and (limit := seconds(self.time)) <= self.lead + 60:
            raise SeglabError(
                f"--slurm.time {self.time} ({limit} s) ends before anything is learned: runs stop --slurm.lead "
                f"{self.lead} s and up to a minute before it"
            )

    @property
    def ranks(self) -> int:
        """Of one node."""
        return self.tasks_per_node or max(1, self.gpus_per_node)

    def trainer_flags(self, trainer: Any) -> list[str]:
        """Flags that tell a run its ranks.

        Args:
            trainer: section ``trainer`` of its config, which may leave them open.

        Raises:
            SeglabError: it has others.
        """
        asked = {
            "devices": (trainer.devices, self.ranks, "tasks_per_node"),
            "num_nodes": (trainer.num_nodes, self.nodes, "nodes"),
        }
        for name, (value, here, option) in asked.items():
            if value not in ("auto", -1, "-1", here, str(here)) and not (name == "num_nodes" and value == 1):
                raise SeglabError(
                    f"trainer.{name} is {value} and SLURM gives {here} (--slurm.{option}): leave trainer.{name} out"
                )
        return [f"--trainer.{name}={here}" for name, (_, here, _) in asked.items()]


def seconds(time: str) -> int:
    """A time limit as sbatch reads it.

    Raises:
        SeglabError: it is invalid.
    """
    for pattern in TIMES:
        if match := re.fullmatch(pattern, time):
            part = {"d": 0, "h": 0, "m": 0, "s": 0} | {k: int(v) for k, v in match.groupdict().items() if v}
            return ((part["d"] * 24 + part["h"]) * 60 + part["m"]) * 60 + part["s"]
    raise SeglabError(f"--slurm.time {time}: give minutes, hours:minutes:seconds or days-hours")


def check_cluster(slurm: Slurm, runs: int, array: bool) -> None:
    """Find out before anything is written or submitted whether the cluster takes it.

    Raises:
        SeglabError: there is no SLURM, it has no such partition, or it does not take so many runs at once.
    """
    if missing := [tool for tool in ("sbatch", "squeue", "scontrol") if not shutil.which(tool)]:
        raise SeglabError(f"no SLURM here: {missing[0]} is not on PATH. Use a login node, or --launcher local")
    limits = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", ask("scontrol", "show", "config"), re.MULTILINE))
    partitions = [
        dict(part.split("=", 1) for part in line.split() if "=" in part)
        for line in ask("scontrol", "show", "partition", "--all", "--oneliner").splitlines()
    ]
    known = {partition["PartitionName"]: partition for partition in partitions}
    defaults = [name for name, partition in known.items() if partition.get("Default") == "YES"]
    for name in slurm.partition.split(",") if slurm.partition else defaults:
        if name not in known:
            raise SeglabError(f"--slurm.partition {name}: this cluster has {', '.join(known)}")
        longest, nodes = known[name].get("MaxTime", "UNLIMITED"), int(known[name].get("TotalNodes", slurm.nodes))
        if slurm.time and longest != "UNLIMITED" and seconds(slurm.time) > seconds(longest):
            raise SeglabError(f"--slurm.time {slurm.time}: jobs of {name} run {longest} at most; longer runs go on")
        if slurm.nodes > nodes:  # without EnforcePartLimits SLURM takes such a job, which then waits for ever
            raise SeglabError(f"--slurm.nodes {slurm.nodes}: {name} has {nodes}")
    for key in ("MaxArraySize", "MaxJobCount"):
        if array and runs > int(limits.get(key, runs)):
            raise SeglabError(
                f"{runs} runs at once, and this cluster takes {limits[key]} ({key}): split the sweep file; the parts "
                "can share a --dir"
            )


def submit(folder: Path, name: str, runs: Mapping[Path, Sequence[str]], slurm: Slurm, array: bool) -> str:
    """Submit runs as one job; each run directory notes which.

    Args:
        folder: where the script is kept.
        name: of the job.
        runs: run directory -> command.
        slurm: what to ask for.
        array: an element per run; else there is one run.

    Returns:
        Job id.

    Raises:
        SeglabError: SLURM refuses.
    """
    script = folder / f"submitted-{datetime.now():%Y%m%d-%H%M%S}.sh"
    try:
        write_whole(script, batch_script(name, script.with_suffix(".out"), runs, slurm, array))
        for run in runs:
            run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeglabError(f"cannot write {script} ({error.strerror}): choose another folder") from error
    try:
        job = ask("sbatch", "--parsable", str(script)).strip().partition(";")[0]
    except SeglabError as error:
        script.unlink()
        limits = f"; are {len(runs)} runs at once more than your account may submit?" if "olicy" in str(error) else ""
        raise SeglabError(f"{error}{limits} Nothing was submitted") from error
    for index, run in enumerate(runs):
        note = {"job": f"{job}_{index}" if array else job, "script": script.name}
        write_whole(run / JOB, json.dumps(note) + "\n")
    return job


def ask(*command: str) -> str:
    """What a command of SLURM prints.

    Raises:
        SeglabError: it fails; says what it said.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = [re.sub(r"^\w+: (error: )?", "", line) for line in result.stderr.strip().splitlines()]
        raise SeglabError(f"SLURM's {command[0]} says: {'; '.join(said) or f'exit code {result.returncode}'}")
    return result.stdout


def batch_script(name: str, output: Path, runs: Mapping[Path, Sequence[str]], slurm: Slurm, array: bool) -> str:
    """The script of a job, complete and readable: it can be submitted again by hand."""
    asked = {
        "job-name": name,
        "output": f"{output}",
        "open-mode": "append",
        "chdir": str(Path.cwd()),
        "array": (f"0-{len(runs) - 1}" + (f"%{slurm.parallel}" if slurm.parallel else "")) if array else "",
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "nodes": slurm.nodes,
        "ntasks-per-node": slurm.ranks,
        "gpus-per-node": slurm.gpus_per_node or "",
        "cpus-per-task": slurm.cpus_per_task or "",
        "mem": slurm.mem,
        "time": slurm.time,
        "constraint": slurm.constraint,
        "signal": f"B:USR1@{slurm.lead}",
    }
    lines = [f"#SBATCH --{key}={shlex.quote(str(value))}" for key, value in asked.items() if value != ""]
    lines += ["#SBATCH --requeue", *(f"#SBATCH {flag}" for flag in slurm.flags)]
    cases = [
        f"{index}) run={shlex.quote(str(run))}; command=({shlex.join(command)}) ;;"
        for index, (run, command) in enumerate(runs.items())
    ]
    return _SCRIPT.format(
        sbatch="\n".join(lines),
        cases="\n".join(cases),
        setup="\n".join(slurm.setup),
        log=LOG,
        exit=EXIT,
        grace=slurm.lead * 2 // 3,
        srun=f"--cpus-per-task={slurm.cpus_per_task}" if slurm.cpus_per_task else "",
        threads=slurm.cpus_per_task or 1,
    )


_SCRIPT = r"""#!/bin/bash
{sbatch}

case ${{SLURM_ARRAY_TASK_ID:-0}} in
{cases}
esac
cd "$SLURM_SUBMIT_DIR" || exit
exec >>"$run/{log}" 2>&1
# the id of this element alone: the plain id of an array's last element means the whole array
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}${{SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}}
echo "seglab: job $job on $SLURM_JOB_NODELIST, start $((${{SLURM_RESTART_COUNT:-0}} + 1))"
rm -f "$run/{exit}"
touch "$run/.started"
{setup}
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{threads}}}
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then  # the ranks meet at the first node, by the address that SLURM has of it
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    MASTER_ADDR=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
else
    MASTER_ADDR=127.0.0.1
fi
export MASTER_ADDR

# USR1: the time is nearly over. TERM: SLURM ends the job, and has told the ranks. They stop at a step and checkpoint.
trap 'left={grace}; scancel --signal=USR1 "$job"' USR1
trap : TERM
srun --kill-on-bad-exit=1 {srun} "${{command[@]}}" &
step=$!
wait $step
while kill -0 $step 2>/dev/null; do  # a signal ended the wait
    if [ "$left" = 0 ]; then break; fi
    left=${{left:+$((left - 1))}}
    sleep 1
done
if [ "$left" = 0 ]; then
    echo "seglab: the run did not stop in {grace} s, perhaps in a validation: it goes on from its last checkpoint"
    code=138
else
    wait $step
    code=$?
fi
if [ $code = 138 ]; then  # 128 + USR1
    if [ "$run/checkpoints/last.ckpt" -nt "$run/.started" ]; then
        rm -f "$run/.no_progress"
    elif [ -e "$run/.no_progress" ]; then
        echo "seglab: error: two jobs in a row ended before a checkpoint: give more --slurm.time"
        rm -f "$run/.no_progress"
        code=1
    else
        touch "$run/.no_progress"
    fi
fi
if [ $code = 138 ]; then
    echo "seglab: requeued"
    if scontrol requeue "$job"; then exit; fi
    echo "seglab: error: SLURM does not requeue this job; the same command continues the run"
fi
echo "$job $code" >"$run/{exit}"
exit $code
"""
