"""Breaks real ``seglab fit`` processes, and sees what they say and what is left of their runs."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from probes import ROOT, TWO_RANKS, fit_command, rows, same, weights
from warm_start import Process

from seglab.cli import main
from seglab.runs.directory import LAST

PATIENCE = 400  # seconds for what takes one
SLOW = "--trainer.callbacks+=slow_step.SlowStep"
STEPS = 8
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24


def command(
    root: Path, folder: Path, *flags: str, method: str = "supervised", ranks: int = 1, steps: int = STEPS
) -> list[str]:
    """``fit`` into ``folder`` with a checkpoint after each step, on any number of ranks."""
    batches = ("--data.labeled_batch", "4", "--data.unlabeled_batch", "4", "--data.workers", "1")
    often = ("--checkpoint_every", "1", "--trainer.val_check_interval", "4", "--run_dir", str(folder))
    where = TWO_RANKS if ranks == 2 else ()
    return fit_command(method, root, folder.parent, steps, *batches, *often, *where, *flags)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A new folder that is a file system of its own; ``size`` as mount takes it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def started(
    *args: str, env: Mapping[str, str] | None = None, powerless: bool = False
) -> Iterator[Process | subprocess.Popen]:
    """A ``seglab`` process in a session of its own, of which nothing is left afterwards.

    Args:
        powerless: read-only folders are so for it, although root may start it.
    """
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    whole = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | dict(env or {})
    process: Process | subprocess.Popen
    if powerless:  # which only a program that starts can be made
        command = [sys.executable, "-m", "seglab", *args]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(
            command, cwd=ROOT, env=whole, start_new_session=True, preexec_fn=_drop_power, **quiet
        )
    else:
        process = Process(args, ROOT, whole, subprocess.DEVNULL, new_session=True)
    try:
        yield process
    finally:
        end_session(process)


@contextmanager
def slowly(root: Path, folder: Path, *flags: str, **where: bool) -> Iterator[Process | subprocess.Popen]:
    """A run of ``command`` between its first checkpoint and its end; its steps take a second until ``hurry``."""
    slow = folder.with_suffix(".slow")
    slow.touch()
    with started(*command(root, folder, SLOW, *flags), env={"SLOW": str(slow)}, **where) as process:
        wait((folder / LAST).is_file, process)
        yield process


def hurry(folder: Path) -> None:
    folder.with_suffix(".slow").unlink()


def wait(
    condition: Callable[[], object], process: Process | subprocess.Popen | None = None, pause: float = 0.05
) -> None:
    """Wait until something is so, before a process ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(pause)


def last_words(process: Process | subprocess.Popen) -> tuple[int, str]:
    """Exit code and stderr of a process that is to end by itself."""
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def end_session(process: Process | subprocess.Popen) -> None:
    """Kill a process, its ranks and its loaders."""
    for member in session(process.pid):
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def session(leader: int) -> list[int]:
    """The processes of a session that are left, zombies aside."""
    return [pid for pid, (state, _, own) in _processes().items() if own == leader and state != "Z"]


def children(pid: int, rank: int = 0) -> list[int]:
    """Processes that a process started: those it is copied to (loaders), or its rank of that number."""
    found = [child for child, (state, parent, _) in _processes().items() if parent == pid and state != "Z"]
    mark = f"LOCAL_RANK={rank}".encode()
    ranks = [child for child in found if mark in _read(child, "environ").split(b"\0")] if rank else []
    return ranks if rank else [child for child in found if _read(child, "cmdline") == _read(pid, "cmdline")]


def goes_on_alike(folder: Path, whole: Path, *flags: str) -> None:
    """Continue a run and see that it ends as if nothing had happened."""
    assert main(["fit", str(folder), "--trainer.callbacks", "null", *flags]) == 0
    assert_alike(folder, whole)


def assert_alike(folder: Path, whole: Path) -> None:
    assert same(weights(folder), weights(whole))
    assert same(weights(folder, "best"), weights(whole, "best"))
    assert rows(folder) == rows(whole)
    assert not list((folder / LAST).parent.glob(".*"))


class Poison(Callback):
    """Makes the gradients of a step NaN on one rank, as a batch may.

    Args:
        step: counted from 1.
        rank: which.
        loss: whether the loss term is NaN, too.
    """

    def __init__(self, step: int, rank: int = 0, loss: bool = False) -> None:
        self.step, self.rank, self.loss = step, rank, loss

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        losses = module.losses

        def poisoned(batch: dict) -> dict[str, torch.Tensor]:
            terms = losses(batch)
            if trainer.global_step + 1 == self.step and trainer.global_rank == self.rank:
                (term, *_) = terms.values()
                term.register_hook(lambda gradient: gradient * torch.nan)
                if self.loss:
                    return {name: value * torch.nan for name, value in terms.items()}
            return terms

        module.losses = poisoned


def _processes() -> dict[int, tuple[str, int, int]]:
    """Process -> state, parent, session."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _read(int(folder.name), "stat").rpartition(b") ")[2].split()
            if fields:
                found[int(folder.name)] = fields[0].decode(), int(fields[1]), int(fields[3])
    return found


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it is gone
        return b""


def _drop_power() -> None:
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)  # only root has it, and may drop it
