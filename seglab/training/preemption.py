"""A signal (SLURM's time limit, a preemption, ``kill``) ends a run at a step from which it resumes bit for bit."""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seglab.compat import disable_signal_vote
from seglab.types import Interrupted

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)  # the time is nearly over; the job or the process is to end


class Preemption(Callback):
    """Ends training after the step in which a signal came, on all ranks after the same step.

    A signal reaches the ranks in different steps, or only one of them. So each optimiser step starts a vote of the
    ranks whose result is read one step later: nobody waits for it, and no GPU is involved.

    Args:
        folder: run directory, for the message.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signal = 0  # that some rank received; 0: none
        self._group: Any = None
        self._vote: tuple[Tensor, dist.Work] | None = None  # of the step before
        self._stops = False

    def asked(self) -> bool:
        """Whether to stop here. Every rank calls this at the same steps, once each, and gets the same answer."""
        if self._group is None:
            self._stops = bool(self.signal)
            return self._stops
        if self._vote is not None:
            told, work = self._vote
            work.wait()
            self._stops = bool(told)
            self.signal = int(told) or self.signal
        vote = torch.tensor(self.signal)
        self._vote = vote, dist.all_reduce(vote, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return self._stops

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")
            disable_signal_vote(trainer)
        for logger in trainer.loggers:
            logger.log_metrics = self._spared(logger.log_metrics)  # type: ignore[method-assign]
        if self.listen():  # in the place of Lightning's handlers, which use collectives
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # one that came since ``signals_held`` arrives now

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._stops:  # the checkpoint is saved and the metrics of its step are written
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            raise self.interruption(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self._vote is not None:
            self._vote[1].wait()

    def listen(self) -> dict[int, Any]:
        """Note signals from now on; the handlers of before. In another thread than the main one: none."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._receive) for number in SIGNALS}

    def interruption(self, trainer: Trainer) -> Interrupted:
        """What to raise when a signal ended training."""
        where = f"{signal.Signals(self.signal).name} after step {trainer.global_step} of {trainer.max_steps}"
        return Interrupted(f"interrupted by {where}: continue with `seglab fit {self.folder}`", self.signal)

    def _spared(self, log: Callable[..., None]) -> Callable[..., None]:
        """``log`` whose errors do not matter after a signal: W&B's process got it, too, and is gone."""

        def spared(*args: Any, **kwargs: Any) -> None:
            try:
                log(*args, **kwargs)
            except Exception:
                if not self.signal:
                    raise

        return spared

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.signal = number


@contextmanager
def signals_held(preemption: Preemption) -> Iterator[None]:
    """Let signals wait until training starts, and ignore them once it was interrupted.

    SLURM signals all processes of a job: loader processes that start meanwhile, and a run cannot end well without,
    inherit the mask. An interrupted rank finishes cleaning up, although ``srun`` ends all as soon as the first is gone.
    The mask is of this thread alone. A thread of a library would take the signal and end the process, so there is a
    handler as well: Lightning puts it back when training is over.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    atexit.register(_end_loaders)
    before = preemption.listen()
    try:
        yield
    finally:
        interrupted = isinstance(sys.exc_info()[1], Interrupted)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if interrupted else handler)
        if not interrupted:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _end_loaders() -> None:
    """End loader processes that are left at exit: they do not hear SIGTERM, with which Python would wait for them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler calls an ended loader an error
    for process in multiprocessing.active_children():
        process.kill()


def in_slurm() -> bool:
    """Whether SLURM started this process."""
    return "SLURM_JOB_ID" in os.environ


def cluster() -> list[SLURMEnvironment]:
    """Lightning's plugin for ranks that ``srun`` starts, without its own way to save and requeue."""
    return [SLURMEnvironment(auto_requeue=False)] if in_slurm() and SLURMEnvironment.detect() else []
