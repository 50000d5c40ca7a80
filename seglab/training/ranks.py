"""Several processes in one run: how they are started, and how the run learns that one of them died."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from inspect import signature
from typing import Any, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy, StrategyRegistry
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from seglab.ops.norm import synchronised
from seglab.training.preemption import in_slurm
from seglab.types import SeglabError

# Lightning's own choice for several processes is "ddp", so its settings belong there. Buffers are not broadcast: banks
# and queues are equal by construction, and sending them in every forward would cost more than the gradients.
FORWARD_SYNC = "forward_sync_buffers"
if FORWARD_SYNC not in signature(DistributedDataParallel).parameters:
    FORWARD_SYNC = "broadcast_buffers"  # its name in earlier versions of torch
StrategyRegistry.register("ddp", DDPStrategy, override=True, **{FORWARD_SYNC: False})  # type: ignore[arg-type]

FIRST = "SEGLAB_FIRST_RANK"  # process of rank 0, told to the ranks that it starts
ALLOWED = ("auto", "ddp")
GRACE = 10.0  # seconds that rank 0 has to end by itself when another one died; it may hang in a collective


def check_strategy(strategy: str | Strategy) -> None:
    """Refuse what does not keep whole networks on every rank.

    Raises:
        SeglabError: the strategy is not plain DDP or that of one process.
    """
    if strategy in ALLOWED or type(strategy) in (DDPStrategy, SingleDeviceStrategy):
        return
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    raise SeglabError(
        f"trainer.strategy {name} is not supported: teachers follow students parameter by parameter, and resuming and "
        "scoring read one file with all weights, so every process must hold whole networks, and all their parameters "
        "learn in every step. Use ddp, which is also what several devices get by default"
    )


def check_division(batches: dict[str, int], world: int) -> None:
    """Refuse global batches that the ranks cannot share.

    Args:
        batches: config key -> images per step.
        world: number of ranks.

    Raises:
        SeglabError: one does not divide.
    """
    for key, batch in batches.items():
        if batch % world:
            raise SeglabError(
                f"{key} is {batch}, the images of a step over all ranks, and does not divide over {world} ranks: "
                f"choose a multiple of {world}, or other --trainer.devices"
            )


def elastic_size(devices: Any, num_nodes: int) -> dict[str, int]:
    """``devices`` and ``num_nodes`` of a run that torchrun starts; empty where something else does.

    Raises:
        SeglabError: the config names other numbers.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    started = {"devices": int(os.environ["LOCAL_WORLD_SIZE"]), "num_nodes": int(os.environ["GROUP_WORLD_SIZE"])}
    wanted = {"devices": devices, "num_nodes": num_nodes}
    defaults = {"devices": "auto", "num_nodes": 1}
    for key, number in started.items():
        if str(wanted[key]) not in (str(number), str(defaults[key])):
            raise SeglabError(
                f"torchrun started {number} {key.replace('devices', 'processes per node')}, but trainer.{key} is "
                f"{wanted[key]}: leave it out"
            )
    return started


class SyncNorms(TorchSyncBatchNorm):
    """``trainer.sync_batchnorm`` by seglab's conversion: of all networks of the method alike."""

    def apply(self, model: nn.Module) -> nn.Module:
        trainer = cast(LightningModule, model).trainer
        return synchronised(model, trainer.strategy.root_device) if trainer.world_size > 1 else model


def end_with_first() -> None:
    """Have a rank that rank 0 started end when rank 0 is gone, for whose answer it would wait half an hour."""
    first = int(os.environ.get(FIRST, "0"))

    def follow() -> None:
        while os.getppid() == first:
            time.sleep(1)
        os._exit(1)

    if first and "TORCHELASTIC_RUN_ID" not in os.environ and not in_slurm():  # which start and end all ranks themselves
        threading.Thread(target=follow, daemon=True).start()


def watch(launcher: Any, report: Callable[[str], bool]) -> None:
    """Report the first of the ranks that ``launcher`` will start that ends badly, and see that this one ends too.

    Args:
        launcher: of a trainer that has not begun; nothing happens if it starts no process.
        report: takes what happened to which rank; False if this process knows, and ends, without.
    """

    def wait(rank: int, process: subprocess.Popen) -> None:
        code = process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if code and report(f"rank {rank} {how}"):
            time.sleep(GRACE)
            for other in processes:
                other.kill()
            os._exit(1)

    launch = launcher.launch
    processes: list[subprocess.Popen] = []

    def launch_watched(function: Callable, *args: Any, **kwargs: Any) -> Any:
        def begin(*args: Any, **kwargs: Any) -> Any:
            # Lightning's own observer looks at this very list. It would kill rank 0 before it could say what happened.
            watched = getattr(launcher, "procs", [])
            processes.extend(watched)
            launcher.procs = processes
            watched.clear()
            for rank, process in enumerate(processes, 1):
                threading.Thread(target=wait, args=(rank, process), daemon=True).start()
            return function(*args, **kwargs)

        launcher.launch = launch  # what is launched later runs in the same processes
        return launch(begin, *args, **kwargs)

    launcher.launch = launch_watched
