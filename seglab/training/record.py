"""What a run writes about itself: metrics.csv, summary.json, one line per validation, a progress bar."""

import json
import math
import platform
import resource
import subprocess
import sys
import threading
import time
from contextlib import suppress
from csv import DictReader, DictWriter
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from seglab.compat import ExperimentWriter, is_logging_step, logged_step, logged_values
from seglab.files import write_whole
from seglab.methods import Method
from seglab.runs.directory import CONFUSION, METRICS, SUMMARY
from seglab.training.failures import explained
from seglab.training.loggers import RunLogger
from seglab.training.preemption import Preemption, in_slurm
from seglab.training.ranks import watch

MONITOR = "val/mIoU"  # higher is better; decides which checkpoint is the best one
PATIENCE = 5.0  # seconds between the loss of a connection and the end of the process behind it
PACKAGES = ("torch", "lightning", "torchmetrics", "timm", "segmentation-models-pytorch", "albumentations", "numpy")


class MetricsLogger(CSVLogger):
    """``metrics.csv`` of a run directory; a resumed run appends to it where Lightning's logger would delete it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.parent, name=folder.name, version="", flush_logs_every_n_steps=1)
        self.folder = folder

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _AppendingWriter(str(self.folder))
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """config.yaml has them."""

    @rank_zero_only
    def keep_before(self, step: int, due: dict[str, Any]) -> None:
        """Drop rows of ``step`` and later: a resumed run writes them again.

        Args:
            step: from which the run goes on.
            due: the row that was due when its checkpoint was written; empty for none.
        """
        path = self.folder / METRICS
        kept = []
        if path.is_file():
            kept = [row for row in _rows(path) if int(row["step"]) < step]
            self.experiment.replace(kept)  # always: what a killed process left of a row is in the file still
        if due and due["step"] not in {int(row["step"]) for row in kept}:
            self.experiment.log_metrics(*_split(due))
            self.experiment.save()


class _AppendingWriter(ExperimentWriter):
    """Lightning's writer, but for a file that exists: it is continued, and rewritten in one step."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = list(DictReader(file).fieldnames or [])

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self.replace(_rows(Path(self.metrics_file_path)))

    def replace(self, rows: list[dict[str, str]]) -> None:
        text = StringIO(newline="")
        writer = DictWriter(text, self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(Path(self.metrics_file_path), text.getvalue())


def _split(row: dict[str, Any]) -> tuple[dict[str, Any], int]:
    return {name: value for name, value in row.items() if name != "step"}, row["step"]


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, without a last line that a killed process, or a full disk, left unfinished."""
    whole, end, _ = path.read_bytes().decode().rpartition("\n")
    return list(DictReader(StringIO(whole + end, newline="")))


class RunRecord(Callback):
    """Keeps ``summary.json`` up to date: status, final scores of last and best, cost, code and package versions.

    Args:
        folder: run directory.
        identity: benchmark, method, seed and whatever else the launcher knows; copied into the summary.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder, self.identity = folder, identity
        self.scores: dict[str, dict[str, Any]] = {"last": {}, "best": {}}
        self.train_seconds = self.wall_seconds = 0.0  # over all sessions of the run
        self.images = 0
        self.status = "running"
        self.improved = False  # whether the validation just done is the best so far
        self.lost = threading.Event()  # another rank died, and the summary says so
        self._due: dict[str, Any] = {}  # the row of metrics that its checkpoint was written before
        self._exception: BaseException | None = None
        self._writing = threading.RLock()
        self._tick: float | None = None
        self._start = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        wall = self.wall_seconds + time.monotonic() - self._start
        return {"train": self.train_seconds, "wall": wall, "images": self.images, "scores": self.scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.train_seconds, self.wall_seconds = state["train"], state["wall"]
        self.images, self.scores = state["images"], state["scores"]

    @property
    def images_per_second(self) -> float:
        return self.images / self.train_seconds if self.train_seconds else float("nan")

    def watch(self, trainer: Trainer, module: LightningModule) -> None:
        """Learn of the death of other ranks from the moment on that they are started."""
        if trainer.strategy.launcher is not None:
            watch(trainer.strategy.launcher, lambda news: self._lose(trainer, module, news))

    def _lose(self, trainer: Trainer, module: LightningModule, news: str) -> bool:
        """Note that another rank died, unless the run is over anyway."""
        with self._writing:
            if self.status != "running" or _signalled(trainer):
                return False
            print(f"seglab: error: {news}", file=sys.stderr, flush=True)
            self._fail(trainer, module, news)
            self.lost.set()
            return True

    def _fail(self, trainer: Trainer, module: LightningModule, error: str, status: str = "failed") -> None:
        self.status, self.identity["error"] = status, error
        with suppress(OSError):  # of a disk that is full or gone, which then is the error, or comes after it
            self._close(trainer, module)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Lightning logs a step after the hooks in which its checkpoint is written; a process may be killed in between.
        if trainer.training and is_logging_step(trainer):
            values = convert_tensors_to_scalars(logged_values(trainer))
            checkpoint["due"] = {"epoch": trainer.current_epoch, "step": logged_step(trainer), **values}

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._due = checkpoint.get("due", {})

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._tick = time.monotonic()
        for logger in trainer.loggers:
            if isinstance(logger, MetricsLogger):
                logger.keep_before(trainer.global_step, self._due)
        self._write(trainer, module)
        for run_logger in run_loggers(trainer):
            run_logger.start(trainer.global_step, _environment(trainer, module))

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self._tick is not None:  # None after a validation, whose time is not training's
            self.train_seconds += now - self._tick
            self.images += sum(len(sample["image"]) for sample in batch.values()) * trainer.world_size
        self._tick = now

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._tick = None
        if trainer.sanity_checking:
            return
        scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val")}
        best = self.scores["best"].get(MONITOR, -math.inf)
        self.improved = scores.get(MONITOR, math.nan) > best
        self.scores["last"] = {"step": trainer.global_step, **scores}
        if self.improved:
            self.scores["best"] = self.scores["last"]
        self._write(trainer, module)
        if trainer.is_global_zero:
            self._show(trainer, cast(Method, module))
            print(self._line(trainer, scores), flush=True)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        if exception is self._exception:
            return  # noted before it was raised
        self._exception = exception
        signalled = _signalled(trainer)
        if _is_lost_connection(exception) and not signalled:
            self.lost.wait(PATIENCE if trainer.is_global_zero else 0)  # for the name of the rank that died
        with self._writing:
            interrupted = signalled or isinstance(exception, KeyboardInterrupt)
            status = "failed" if not interrupted else "preempted" if in_slurm() else "interrupted"
            if not self.lost.is_set() or interrupted:
                told = explained(exception)
                self._fail(trainer, module, f"{type(told).__name__}: {told}", status)

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Called when training and the last validation are over."""
        if self.status == "running":
            self.status = "finished" if trainer.global_step >= trainer.max_steps else "stopped"
        self._close(trainer, module)

    def _close(self, trainer: Trainer, module: LightningModule) -> None:
        self._write(trainer, module)
        for logger in run_loggers(trainer):
            logger.close(self.status)

    def _show(self, trainer: Trainer, method: Method) -> None:
        counts = {prefix: metric.counted for prefix, metric in method.scored().items()}
        head = {"step": trainer.global_step, "classes": list(method.class_names)}
        write_json(self.folder / CONFUSION, head | {key: n.tolist() for key, n in counts.items()}, indent=None)
        for logger in run_loggers(trainer):
            logger.show_scores(self.scores["last"], self.scores["best"], counts, tuple(method.class_names))

    def _line(self, trainer: Trainer, scores: dict[str, float]) -> str:
        parts = [f"step {trainer.global_step}/{trainer.max_steps}"]
        if latest := cast(Method, trainer.lightning_module).latest:
            parts.append(f"loss {float(sum(latest.values())):.3f}")
        parts += [f"{key} {100 * value:.2f}" for key, value in scores.items() if key.endswith("/mIoU")]
        return "  ".join([*parts, f"{self.images_per_second:.1f} images/s"])

    @rank_zero_only
    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        summary = {
            "status": self.status,
            **self.identity,
            "step": trainer.global_step,
            "steps": trainer.max_steps,
            **self.scores,
            "images_per_second": self.images_per_second,
            "train_seconds": self.train_seconds,
            "wall_seconds": self.wall_seconds + time.monotonic() - self._start,
            "peak_memory_bytes": torch.cuda.max_memory_allocated()
            if torch.cuda.is_available()
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            **_environment(trainer, module),
        }
        with self._writing:
            write_json(self.folder / SUMMARY, summary)


def _signalled(trainer: Trainer) -> bool:
    """Whether a signal is what ends the run."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(callback, Preemption) and callback.signal for callback in callbacks)


def _is_lost_connection(exception: BaseException) -> bool:
    """Whether a collective failed, for which another rank is to blame: gloo's errors have no class of their own."""
    return isinstance(exception, torch.distributed.DistError) or (
        isinstance(exception, RuntimeError) and "gloo" in str(exception)
    )


def _environment(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({torch.get_num_threads()} threads)",
        "world_size": trainer.world_size,
        "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def run_loggers(trainer: Trainer) -> list[RunLogger]:
    """Those to tell what numbers do not say, on the rank that logs."""
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)] if trainer.is_global_zero else []


class ProgressBar(RichProgressBar):
    """Lightning's rich bar with the throughput, in steps."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "step"

    def get_metrics(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, module)
        metrics.pop("v_num", None)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        record = next((callback for callback in callbacks if isinstance(callback, RunRecord)), None)
        if record is not None and not math.isnan(record.images_per_second):
            metrics["images/s"] = f"{record.images_per_second:.1f}"
        return metrics


def progress_bar() -> list[Callback]:
    """A bar on a terminal, nothing elsewhere: the line per validation is enough for a log file."""
    return [ProgressBar(refresh_rate=10)] if Console().is_terminal else []


def write_json(path: Path, content: dict[str, Any], indent: int | None = 2) -> None:
    """Replace a JSON file in one step; NaN becomes null, as JSON has none."""
    write_whole(path, json.dumps(_plain(content), indent=indent) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def git_revision() -> str | None:
    """Commit of the seglab checkout in use, with ``+`` when it has local changes; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
