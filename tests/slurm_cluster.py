"""A real SLURM of two nodes on this machine: munged, slurmctld and two slurmd on loopback, in a folder of their own.

Every pytest worker starts its own, on ports that are free. The daemons are children of this process and end with it.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from probes import ROOT

CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=30
MaxArraySize=10
FirstJobId={first}
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1} CPUs=4
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2} CPUs=4
PartitionName=main Nodes=n1,n2 Default=YES State=UP
PartitionName=short Nodes=n1,n2 MaxTime=5 State=UP
"""


def missing() -> str:
    """Why no cluster can be started here; empty if one can."""
    if absent := [tool for tool in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if not shutil.which(tool)]:
        return f"no {', '.join(absent)} on PATH (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "slurmctld and slurmd need root here"


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        env: what processes need to use it, and jobs to find seglab and these tests.
        slow: the file that keeps ``slow_step.SlowStep`` slow.
    """

    env: dict[str, str]
    slow: Path

    def said(self, *command: str) -> str:
        return _said(os.environ | self.env, *command)

    def state(self, job: str) -> str:
        """As in RUNNING."""
        return self.said("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%T")

    def until(self, condition: Callable[[], bool], limit: float = 180.0) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(self.said("squeue", "--array", "--states=all"))
            time.sleep(0.3)

    def until_state(self, job: str, state: str) -> None:
        self.until(lambda: self.state(job) == state)

    def release(self, job: str) -> None:
        """Start a requeued job now; SLURM lets it rest for two minutes."""
        self.until_state(job, "PENDING")
        self.until(lambda: not self.said("squeue", "-h", "--states=completing"))
        time.sleep(3)  # the nodes clear the job away a little later than the controller believes
        self.said("scontrol", "update", f"jobid={job}", "starttime=now")


@contextmanager
def running() -> Iterator[Cluster]:
    """Start a cluster, and stop it with all its jobs."""
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("state", "n1", "n2"):
            (folder / part).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        conf = folder / "slurm.conf"
        # ranks meet at a port that follows from the job's id, on one machine with the jobs of other workers
        first = 1 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        ports = dict(zip(("controller", "n1", "n2"), _ports(3), strict=True))
        conf.write_text(CONF.format(folder=folder, first=first, **ports))
        env = os.environ | {"SLURM_CONF": str(conf)}
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{flag}={folder}/munge.{end}" for flag, end in files.items()]
        stack.enter_context(_daemon(["munged", "--foreground", "--force", *munge], env))
        _until(lambda: (folder / "munge.socket").exists(), folder)
        stack.enter_context(_daemon(["slurmctld", "-D"], env))
        for node in ("n1", "n2"):
            stack.enter_context(_daemon(["slurmd", "-D", "-N", node], env))
        _until(lambda: _said(env, "sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D") == "2", folder)
        try:
            paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
            slow = folder / "slow"
            variables = {"SLURM_CONF": str(conf), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "SLOW": str(slow)}
            yield Cluster(variables, slow)
        finally:
            _said(env, "scancel", "--user=root", "--full", "--signal=KILL")
            _until(lambda: not _said(env, "squeue", "-h", "-t", "running,completing"), folder)


def _said(env: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def _daemon(command: list[str], env: dict[str, str]) -> Iterator[None]:
    # setpriv: it ends with this process, however that ends
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _until(condition: Callable[[], bool], folder: Path, limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            logs = {log.name: log.read_text()[-2000:] for log in folder.glob("*.log")}
            raise TimeoutError(f"the test cluster does not come up: {logs}")
        time.sleep(0.2)


def _ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
