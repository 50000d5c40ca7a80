"""One session of a run: fit, validate, test or predict what a config was built into."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from lightning.pytorch import Trainer
from rich.console import Console
from rich.table import Table

from seglab.data import SegmentationData
from seglab.data.files import Item
from seglab.data.video import write_video
from seglab.evaluation.writer import Export, file_name
from seglab.files import hold, write_whole
from seglab.methods import Method
from seglab.runs import directory
from seglab.training.checkpoints import AtomicCheckpointIO, Checkpoints
from seglab.training.finite_check import FiniteCheck
from seglab.training.loggers import RunLogger
from seglab.training.panels import Panels, PanelSettings
from seglab.training.place import RUN_DIR, Config, Place, rank
from seglab.training.predictions import PredictionWriter
from seglab.training.preemption import Preemption, cluster, signals_held
from seglab.training.ranks import SyncNorms, check_division, check_strategy, elastic_size
from seglab.training.record import MetricsLogger, RunRecord, progress_bar, write_json
from seglab.training.wandb import WandbRun
from seglab.types import Interrupted, SeglabError

TRAINER_DEFAULTS = {
    "max_epochs": -1,  # schedules are in steps
    "check_val_every_n_epoch": None,  # so is validation
    "use_distributed_sampler": False,  # streams shard themselves
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}

# Trainer arguments that a run settles itself; any other value would be ignored or would repeat data.
SETTLED = {
    **{key: TRAINER_DEFAULTS[key] for key in ("max_epochs", "check_val_every_n_epoch", "use_distributed_sampler")},
    **{"min_epochs": None, "limit_train_batches": None, "overfit_batches": 0.0, "fast_dev_run": False},
    "reload_dataloaders_every_n_epochs": 0,
}


class Parts(NamedTuple):
    """What a config was built into."""

    method: Method
    data: SegmentationData
    trainer: dict[str, Any]  # arguments of the Trainer
    panels: PanelSettings


class Session:
    """A trainer for a method and its data, and for ``fit`` a run directory.

    Args:
        config: the command line that the parts were built from.
        place: run directory and checkpoint.
        parts: what runs.

    Raises:
        SeglabError: a setting of the trainer has no meaning here, or the run directory cannot be written.
    """

    def __init__(self, config: Config, place: Place, parts: Parts) -> None:
        self.config, self.place, self.method, self.data = config, place, parts.method, parts.data
        trainer = parts.trainer
        check_strategy(trainer["strategy"])
        arguments = trainer | elastic_size(trainer["devices"], trainer["num_nodes"])
        arguments["callbacks"] = _as_list(trainer["callbacks"])
        arguments["plugins"] = [*_as_list(trainer["plugins"]), AtomicCheckpointIO(), *cluster()]
        if trainer["sync_batchnorm"]:
            arguments["plugins"].append(SyncNorms())
            arguments["sync_batchnorm"] = False  # Lightning would put its own conversion in the place of ours
        if config.command == "fit":
            self._train_with(arguments, parts.panels)
        else:
            arguments |= {"logger": False, "enable_checkpointing": False}
            self.trainer = make_trainer(arguments)

    def _train_with(self, arguments: dict[str, Any], panels: PanelSettings) -> None:
        """Make the trainer of ``fit``, its record and the run directory."""
        check_trainer(arguments)
        steps, every = arguments["max_steps"], arguments["accumulate_grad_batches"]
        arguments["val_check_interval"] = min(arguments["val_check_interval"], steps) * every  # Lightning's are batches
        options = self.config.options
        panels.check()
        folder = self.place.folder or self.config.parent / directory.new_id(self.config.parent, options.seed_everything)
        self.folder = folder
        self.record, self.preemption = RunRecord(folder, self.config.identity), Preemption(folder)
        finite = FiniteCheck(self.record)
        bar = progress_bar() if arguments["enable_progress_bar"] is not False else []
        arguments["enable_progress_bar"] = bool(bar)
        arguments["callbacks"] += [
            Panels(folder, panels),
            self.record,
            self.preemption,
            finite,
            Checkpoints(self.record, self.preemption, finite, options.checkpoint_every),
            *bar,
        ]
        arguments["logger"] = [MetricsLogger(folder), *_with_sweep(_as_list(arguments["logger"]))]
        self.trainer = make_trainer(arguments)
        batches = self.data.batches(self.method.reads, self.method.adapts_classes)
        batches = {f"data.{key}": batch for key, batch in batches.items()}
        check_division(batches, self.trainer.num_devices * self.trainer.num_nodes)
        self._open_folder()
        identity = self.config.identity | {"split": self.data.split}
        for logger in self.trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.bind(folder, identity, yaml.safe_load(self.config.text))

    def _open_folder(self) -> None:
        """Create or continue the run directory; rank 0 tells the ranks that it starts."""
        if not rank() and self.place.continues:
            hold(self.folder)
            directory.update_config(self.folder, self.config.text)
            if self.place.falls_back:  # else the next save would put the damaged file in the place of the good one
                (self.folder / directory.LAST).unlink(missing_ok=True)
        elif not rank():
            directory.create(self.folder)
            hold(self.folder)
            write_whole(self.folder / directory.CONFIG, self.config.text)
        os.environ[RUN_DIR] = str(self.folder)

    def run(self) -> None:
        """Do what the config's command says."""
        {"fit": self.fit, "validate": self.evaluate, "test": self.evaluate, "predict": self.predict}[
            self.config.command
        ]()

    def fit(self) -> None:
        """Train, validate the last step and close the record.

        Raises:
            Interrupted: a signal ended training; it can be continued.
        """
        trainer, record = self.trainer, self.record
        record.watch(trainer, self.method)
        try:
            with signals_held(self.preemption):
                trainer.fit(self.method, datamodule=self.data, ckpt_path=self.place.checkpoint)
        except Exception as error:
            if self.preemption.signal and not isinstance(error, Interrupted):
                # the signal ended other processes of the run first
                raise self.preemption.interruption(trainer) from error
            if record.lost.is_set():  # what this process met is a consequence, and the cause has been printed
                raise SystemExit(1) from error
            raise
        if record.status == "running" and record.scores["last"].get("step") != trainer.global_step:
            trainer.validate(self.method, datamodule=self.data, verbose=False)  # the interval missed the last step
        record.finish(trainer, self.method)
        if trainer.is_global_zero:
            print(f"seglab: {record.status}: {self.folder}")

    def evaluate(self) -> None:
        """Score the validation or the test part; print a table, and write the scores into the run directory."""
        options, command = self.config.options, self.config.command
        split = {"validate": "val", "test": "test"}[command]
        export = None
        if options.format and not options.export:
            raise SeglabError(f"--format {options.format} of what? Predictions are written with --export FOLDER")
        if options.export:
            self.data.exporting = True
            export = self._start_export(Path(options.export), self.data.evaluation_items(split))
        score = getattr(self.trainer, command)
        (scores,) = score(self.method, datamodule=self.data, ckpt_path=self.place.checkpoint, verbose=False)
        if not self.trainer.is_global_zero:
            return
        if export:
            print(f"seglab: {export}")
        if f"{split}/mIoU" not in scores:
            print(f"seglab: nothing could be scored: {split} has no labeled pixel")
            return
        Console().print(score_table(scores, split))
        if self.place.folder:
            checkpoint = Path(str(self.place.checkpoint))
            path = self.place.folder / f"{command}_{checkpoint.stem}.json"
            write_json(path, {"checkpoint": str(checkpoint), **self.config.identity, **scores})
            print(f"seglab: scores written to {path}")

    def predict(self) -> None:
        """Write predictions of a folder of images."""
        options = self.config.options
        self.data.predict_images = Path(options.images)
        self.data.probabilities = options.probabilities
        export = self._start_export(Path(options.output), self.data.predicted_items())
        self.trainer.predict(
            self.method, datamodule=self.data, ckpt_path=self.place.checkpoint, return_predictions=False
        )
        self.trainer.strategy.barrier()  # other ranks write overlays too
        if self.trainer.is_global_zero:
            if self.data.video and export.draws:
                film = export.folder / f"{self.data.video.path.stem}_overlay.mp4"
                write_video(film, export.overlays(), self.data.video.rate)
                print(f"seglab: {film}")
            print(f"seglab: {export}")

    def _start_export(self, folder: Path, items: Sequence[Item]) -> Export:
        """Have the trainer write what it predicts for ``items``; rank 0 creates the folder."""
        form = self.config.options.format or "ids"
        names = {item.key: file_name(item.key, item.image, form) for item in items}
        export = Export(folder, self.data.space, form, names)
        if not rank():
            export.open([names[item.key] for item in items])
            for warning in export.warnings():
                print(f"seglab: note: --format {form}: {warning}", file=sys.stderr)
        self.trainer.callbacks.append(PredictionWriter(export))  # type: ignore[attr-defined]
        return export


def loaded(method: Method, checkpoint: str) -> Method:
    """A built method with the weights of a checkpoint, in evaluation mode.

    Raises:
        SeglabError: the file is missing, damaged or of another method.
    """
    method.configure_model()
    state = AtomicCheckpointIO().load_checkpoint(checkpoint)
    method.on_load_checkpoint(state)
    method.load_state_dict(state["state_dict"])
    return method.eval()


def make_trainer(arguments: dict[str, Any]) -> Trainer:
    """Lightning's Trainer.

    Raises:
        SeglabError: an argument is not what Lightning takes.
    """
    try:
        return Trainer(**arguments)
    except (ValueError, TypeError, ImportError) as error:  # MisconfigurationException is told by the caller
        raise SeglabError(f"trainer: {error}") from error


def check_trainer(arguments: Mapping[str, Any]) -> None:
    """Refuse settings of the trainer that ``fit`` settles itself or cannot do without.

    Raises:
        SeglabError: names the setting.
    """
    for key, value in SETTLED.items():
        if arguments[key] != value:
            raise SeglabError(
                f"trainer.{key} has no meaning here: streams are endless and everything is counted in optimiser "
                "steps. Use trainer.max_steps and trainer.val_check_interval"
            )
    steps, interval = arguments["max_steps"], arguments["val_check_interval"]
    if steps < 1:
        raise SeglabError(f"trainer.max_steps is {steps}: schedules are in optimiser steps, so give their number")
    if not isinstance(interval, int):
        raise SeglabError(f"trainer.val_check_interval is {interval}: give optimiser steps between validations")


def score_table(scores: Mapping[str, float], split: str) -> Table:
    """Classes and means in percent; the networks of a method beside each other.

    Args:
        scores: such as ``val/IoU/road`` and ``val_teacher/mIoU``, in [0, 1].
        split: val or test.
    """
    prefixes = sorted({key.partition("/")[0] for key in scores if key.endswith("/mIoU")}, key=len)
    table = Table("IoU in %", *(prefix.removeprefix(split).strip("_") or "student" for prefix in prefixes))
    for column in table.columns[1:]:
        column.justify = "right"
    names = [key.partition("/")[2] for key in scores if key.startswith(f"{split}/")]
    for name in sorted(names, key=lambda name: not name.startswith("IoU/")):  # classes first, then means
        values = [scores.get(f"{prefix}/{name}") for prefix in prefixes]
        if name == next(name for name in names if not name.startswith("IoU/")):
            table.add_section()
        shown = ["-" if value is None or value != value else f"{100 * value:.2f}" for value in values]
        table.add_row(name.removeprefix("IoU/"), *shown)
    return table


def _with_sweep(loggers: list[Any]) -> list[Any]:
    """Under an agent of Weights & Biases a run reports to its sweep, without being told to in the config."""
    if "WANDB_SWEEP_ID" not in os.environ or any(isinstance(logger, WandbRun) for logger in loggers):
        return loggers
    return [*loggers, WandbRun(offline=False)]


def _as_list(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
