"""Callbacks that tests put into a run to see inside it, and the small commands they run."""

import csv
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from warm_start import PATHS, Process

import seglab.methods
from seglab.cli import main
from seglab.labels import CAMVID
from seglab.methods import Method
from seglab.ops.norm import local_statistics
from seglab.types import SeglabError

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
COLD = ("-m", "seglab")  # copies of one process would share wandb's folder of media, and each removes it at its end
TWO_RANKS = ["-c", str(EXPERIMENTS / "trainer/ddp_sim.yaml")]
METHODS = sorted(path.stem for path in (EXPERIMENTS / "method").glob("*.yaml"))
TINY = json.dumps(yaml.safe_load((EXPERIMENTS / "network/tiny.yaml").read_text()))
TEACHERS = {"mgd": ["--model.deep", TINY, "--model.wide", TINY]}  # instead of those of earlier runs
AT_ONCE = {  # what waits in a real run would never start in a short test
    "barm": ["--data.class_steps.steps", "6-4", "--data.class_steps.background", "sky", "--data.class_steps.step", "1"],
    "bicl": ["--model.own_layers", '["model"]'],
    "camix": ["--model.warm_up", "0.4", "--model.passes", "2"],
    "adele": ["--model.epoch", "1", "--model.every", "1", "--model.threshold", "0.1"],
    "clan": ["--model.preheat", "1"],
    "proda": ["--model.reverse", "0.1", "--model.structure", "1"],  # labels of a warm-up that was none
    "stvm": ["--model.warm_up", "1"],
    "tada": ["--model.views", "4"],
    "u2pl": ["--model.sup_only_steps", "1"],
    "psmt": ["--model.sup_only_steps", "0", "--model.ramp_up", "1", "--model.period", "2"],
    "allspark": ["--model.memory_from", "3", "--model.strong", "NoView"],  # views of labels would hide that it learns
    "mgd": [*TEACHERS["mgd"], "--model.weight", "0.01", "--model.region_weight", "1"],  # as its teachers know nothing
}
FROM_SOURCE = ("stvm",)  # methods that go on from a supervised run
BEFORE = {  # methods that go on from a run -> its method and flags
    "barm": ["barm", "--data.class_steps.step", "0", "--trainer.max_steps", "30", "--optimizer.lr", "0.003"],
    **{name: ["supervised"] for name in FROM_SOURCE},
}


def fit_command(method: str, camvid: Path, runs: Path, steps: int = 4, *flags: str) -> list[str]:
    """``fit`` of a method file on a tiny CamVid with a tiny network, from an earlier run where the method needs one."""
    return [*_fit(method, camvid, runs, steps), *earlier_run(method, camvid), *flags]


def earlier_run(method: str, camvid: Path) -> list[str]:
    """``--init_from`` with what a method goes on from, trained once beside the data."""
    if method not in BEFORE:
        return []
    of, *flags = BEFORE[method]
    run = camvid.with_name(f"{camvid.name}-before-{method}")
    with run.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run / "summary.json").is_file():
            assert main([*_fit(of, camvid, run, 2), *flags, "--run_dir", str(run)]) == 0
    return ["--init_from", str(run)]


def _fit(method: str, camvid: Path, runs: Path, steps: int) -> list[str]:
    return [
        "fit",
        *("-c", str(EXPERIMENTS / "benchmark/camvid.yaml")),
        *("-c", str(EXPERIMENTS / f"method/{method}.yaml")),
        *("--network", str(EXPERIMENTS / "network/tiny.yaml")),
        *("--data.root", str(camvid), "--data.labeled", "1/2", "--data.workers", "0"),
        *("--data.crop", "[32,48]", "--data.labeled_batch", "2", "--data.unlabeled_batch", "2"),
        *("--trainer.max_steps", str(steps), "--trainer.val_check_interval", "2"),
        *("--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1", "--runs", str(runs)),
        *("--data.counts", str(camvid.with_name(f"{camvid.name}-counts"))),
        *AT_ONCE.get(method, []),
        *(["--data.outside", str(camvid / "val")] if "outside" in reads(method) else []),
        *(["--data.tags", str(_tags(camvid))] if "tagged" in reads(method) else []),
    ]


def _tags(camvid: Path) -> Path:
    """Tags of two images, each of every other class: all images show all classes, which no classifier could learn."""
    names = [camvid.with_name(f"{camvid.name}-tags.txt"), camvid.with_name(f"{camvid.name}-tags-{os.getpid()}")]
    lines = [f"train_{index:05d}: {', '.join(CAMVID.names[index::2])}" for index in range(2)]
    names[1].write_text("\n".join(lines))
    return names[1].replace(names[0])  # whole for every worker that reads it


def reads(method: str) -> dict[str, tuple[str, ...]]:
    """The streams of a method, from its file."""
    content = yaml.safe_load((EXPERIMENTS / f"method/{method}.yaml").read_text())
    return getattr(seglab.methods, content["model"]["class_path"]).reads


def only_run(runs: Path) -> Path:
    """The one run directory below ``runs``."""
    (config,) = runs.glob("*/*/*/config.yaml")
    return config.parent


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(run: Path, name: str) -> list[float]:
    return [float(row[name]) for row in rows(run) if row.get(name)]


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first pytest worker to ask for it makes; the others wait, and none of them writes into it."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / f"shared-{name}", base / f"shared-{name}.done"
    with (base / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def run_seglab(*args: str, cwd: Path | None = None, launcher: Sequence[str] = ()) -> subprocess.CompletedProcess:
    """A real ``seglab`` process, one thread each, that can import these probes.

    Args:
        launcher: what starts it; without one it is a copy of a process that has imported everything.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}
    if not launcher:
        process = Process(args, cwd or ROOT, env)
        said = process.communicate(600)
        return subprocess.CompletedProcess(process.args, process.returncode or 0, *said)
    command = [sys.executable, *launcher, *args]
    return subprocess.run(command, cwd=cwd or ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)


def run_on_two_ranks(*args: str) -> None:
    """Run a command of ``seglab`` that names its run directory on two ranks, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
        **{"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "tests", "OMP_NUM_THREADS": "1"},
        "PYTHONPATH": PATHS,
    }
    ranks = [Process(args, ROOT, env | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    try:
        for rank in ranks:
            said = rank.communicate(300)[1]
            assert rank.returncode == 0, said
    finally:
        for rank in ranks:
            rank.kill()


def config(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


def on_two_ranks(function: Callable[[int, Path], None], folder: Path) -> list[dict[str, torch.Tensor]]:
    """What ``function(rank, folder)`` saves as ``<rank>.pt`` in two processes of one gloo group."""
    context: Any = multiprocessing.get_context("forkserver")  # whose processes start with the imports done
    context.set_forkserver_preload(["probes"])
    ranks = [context.Process(target=_on_rank, args=(function, rank, folder)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _on_rank(function: Callable[[int, Path], None], rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    function(rank, folder)
    torch.distributed.destroy_process_group()


def break_off(command: list[str], when: int | Callable[[Method], bool]) -> None:
    """Run ``seglab`` until it dies at the beginning of a step, as a killed process would.

    Args:
        when: the step; or what is asked before each step whether this is the one.
    """
    train = Method.training_step

    def train_or_die(self: Method, batch: Any, batch_idx: int) -> torch.Tensor:
        if when(self) if callable(when) else self.global_step == when:
            raise RuntimeError("killed")
        return train(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Method, "training_step", train_or_die)
        with pytest.raises(RuntimeError, match="killed"):
            main(command)


class SaveRankState(Callback):
    """Saves what every rank holds at the end of its last step, and the images and losses of all its steps.

    ``state`` is everything that must be equal on all ranks at any time; ``local`` are the running statistics that
    follow the images of one rank.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.keys: list[list[str]] = []
        self.loss: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.keys.append([key for name in sorted(batch) for key in batch[name]["key"]])

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.loss.append(outputs["loss"].detach())
        own = local_statistics(module)
        state: dict[str, dict[str, torch.Tensor]] = {"state": {}, "local": {}}
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            state["local" if name in own else "state"][name] = value.detach()
        torch.save({"keys": self.keys, "loss": self.loss} | state, self.folder / f"rank{trainer.global_rank}.pt")


class RaiseOnSync(Callback):
    """Steps on a GPU may not wait for it; the first two may, as they allocate and choose algorithms."""

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if batch_idx >= 2 else "default")

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        torch.cuda.set_sync_debug_mode("default")


class Die(Callback):
    """Ends rank 1 at the beginning of its second step.

    Args:
        how: ``raise``, while rank 0 goes on to a collective of gloo, which fails at once; or ``kill``, while rank 0
            does not move, as in a collective of NCCL.
    """

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx != 1:
            return
        if self.how == "kill":
            time.sleep(300 * (trainer.global_rank == 0))
            os.kill(os.getpid(), signal.SIGKILL)
        elif trainer.global_rank == 1:
            raise ValueError("rank 1 met something strange")


class KillAt(Callback):
    """Kills the process at the beginning of a step, as a cluster or a lack of memory would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class RaiseAt(Callback):
    """Ends training with an error at the beginning of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise SeglabError("broken on purpose")
