"""``seglab fit|validate|test|predict`` through LightningCLI: from config sections to a run directory."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from jsonargparse import lazy_instance
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim import Optimizer

import seglab.data
import seglab.methods  # noqa: F401 - short class names in YAML are found among imported classes
from seglab.cli.parser import Parser, check_files, check_sections, config_logger
from seglab.data import SegmentationData
from seglab.data.files import Item
from seglab.evaluation.inference import Inference
from seglab.evaluation.writer import FORMATS, Export, file_name
from seglab.files import hold, release, write_whole
from seglab.methods import Addition, Method, Schedule
from seglab.networks import NetworkFactory
from seglab.ops.losses import Criterion, CrossEntropy
from seglab.runs import directory
from seglab.runs.arguments import expand_run
from seglab.training.checkpoints import AtomicCheckpointIO, Checkpoints, last_whole
from seglab.training.failures import explained
from seglab.training.finite_check import FiniteCheck
from seglab.training.loggers import RunLogger
from seglab.training.panels import Panels, PanelSettings
from seglab.training.predictions import PredictionWriter
from seglab.training.preemption import Preemption, cluster, signals_held
from seglab.training.ranks import FIRST, SyncNorms, check_division, check_strategy, elastic_size, end_with_first
from seglab.training.record import MetricsLogger, RunRecord, progress_bar, write_json
from seglab.training.tensorboard import TensorBoardRun  # noqa: F401 - found by its short name
from seglab.training.wandb import WandbRun
from seglab.types import Interrupted, SeglabError

# Config sections that fill Method's arguments.
SHARED = ("network", "criterion", "optimizer", "schedule", "evaluation", "additions", "init_from")

TRAINER_DEFAULTS = {
    "max_epochs": -1,  # schedules are in steps
    "check_val_every_n_epoch": None,  # so is validation
    "use_distributed_sampler": False,  # streams shard themselves
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}


# Lightning's advertisements and notes about choices that are ours.
NOISE = (
    ".*weights_only` was not set.*",
    ".*treespec, LeafSpec.*",
    ".*have overridden `on_after_batch_transfer`.*",
    ".*does not have many workers.*",
    ".*found .* module.* in eval mode.*",
    ".*`srun` command is available on your system but is not used.*",
    ".*smaller than the logging interval.*",
    ".*callbacks used to create the checkpoint need to be provided.*",
    ".*instantiate_classes`` was deprecated.*",
    ".*`srun` command is available.*",  # a machine that has SLURM, and a run without it
    ".*method of metric SegmentationMetric was called before the.*",  # this rank saw no labeled image, others did
)


# Trainer arguments that a run settles itself; any other value would be ignored or would repeat data.
SETTLED = {
    **{key: TRAINER_DEFAULTS[key] for key in ("max_epochs", "check_val_every_n_epoch", "use_distributed_sampler")},
    **{"min_epochs": None, "limit_train_batches": None, "overfit_batches": 0.0, "fast_dev_run": False},
    "reload_dataloaders_every_n_epochs": 0,
}
RUN_DIR = "SEGLAB_RUN_DIR"  # how rank 0 tells the run directory to the ranks that it starts


class SeglabCLI(LightningCLI):
    """Builds method, data and trainer from the config and gives every fit a run directory.

    Args:
        args: command line without the program's name.
    """

    run_folder: Path | None = None
    continues = False  # the run directory holds an earlier part of this run
    falls_back = False  # its last.ckpt is damaged

    def __init__(self, args: list[str]) -> None:
        super().__init__(
            Method,
            SegmentationData,
            parser_class=Parser,
            parser_kwargs={"logger": config_logger(), "allow_abbrev": False},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=None,
            load_from_checkpoint_support=False,
            trainer_defaults=TRAINER_DEFAULTS,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        # arguments of the Trainer's methods that the command line does not offer, because they are settled here
        common = {"model", "datamodule", "weights_only"}
        return {
            "fit": common | {"train_dataloaders", "val_dataloaders"},
            "validate": common | {"dataloaders"},
            "test": common | {"dataloaders"},
            "predict": common | {"dataloaders", "return_predictions"},
        }

    # The config tree.

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seed_everything", type=NonNegativeInt, default=0, help="Seed of the run, 0 or more.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--benchmark", type=str, default="custom", help="Name of the benchmark in run directories.")
        parser.add_argument("--method", type=str, default="", help="Its name in run directories. Default: its class.")
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all run directories.")
        parser.add_argument("--run_dir", type=str, default="", help="Folder of this run. Default: a new one in --runs.")
        parser.add_argument("--checkpoint_every", type=int, default=0, help="Steps between checkpoints; 0: run / 20.")
        parser.add_argument("--panels", type=PanelSettings, default=PanelSettings())
        parser.add_argument("--network", type=NetworkFactory, required=True, sub_configs=True)
        parser.add_argument("--criterion", type=Criterion, default=lazy_instance(CrossEntropy), sub_configs=True)
        parser.add_argument("--optimizer", type=Callable[[Iterable], Optimizer], required=True, sub_configs=True)
        parser.add_argument("--schedule", type=Schedule, default=Schedule())
        parser.add_argument("--evaluation", type=Inference, required=True, sub_configs=True)
        parser.add_argument("--additions", type=list[Addition], default=[], sub_configs=True)
        parser.add_argument(
            "--init_from", type=str, default="", help="Run or checkpoint whose student this one begins as."
        )
        for section in SHARED:
            parser.link_arguments(section, f"model.init_args.{section}")
        parser.link_arguments("data.space", "model.init_args.space", apply_on="instantiate")
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument("--images", type=str, required=True, help="Folder of images of any size.")
            parser.add_argument("--output", type=str, required=True, help="Folder for the predictions.")
        elif subcommand != "fit":
            parser.add_argument("--export", type=str, default="", help="Folder for predictions; scores need no labels.")
        if subcommand != "fit":
            parser.add_argument("--format", type=str, default="", help=f"Of predictions: {', '.join(FORMATS)}.")
        return parser

    def _parse_ckpt_path(self) -> None:
        """Lightning lets hyper-parameters in a checkpoint override the command line; here the config is the truth."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        check_files(args)
        self.config = parser.parse_args(args)
        check_sections(self.config[self.config.subcommand])

    # The run directory.

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        name, seed = method_name(config), config.seed_everything
        self.identity = {"benchmark": config.benchmark, "method": name, "seed": seed}
        self.text = self._config_text()
        arguments = config.model.init_args
        config.ckpt_path = self._resume_from() if self.subcommand == "fit" else self._find_checkpoint()
        if config.ckpt_path:  # the checkpoint brings all weights: the files that they once came from need not be here
            arguments.init_from = ""
            trains = self.subcommand == "fit" and resolve_name(config.model.class_path).needs_pretrained
            if "weights" in arguments.network.init_args and not trains:
                arguments.network.init_args.weights = "none"
        elif arguments.init_from:
            arguments.init_from = _checkpoint_of(Path(arguments.init_from))

    def _resume_from(self) -> str | None:
        """The checkpoint to resume from, if any; settles ``run_folder`` unless the run is new and unnamed."""
        config = self.config.fit
        named = config.run_dir or (os.environ.get(RUN_DIR, "") if rank() else "")
        if not named and (rank() or "TORCHELASTIC_RUN_ID" in os.environ):
            raise SeglabError(
                "processes that another program starts need a common run directory: give --run_dir FOLDER"
            )
        self.run_folder = Path(named) if named else None
        if config.ckpt_path != "last":
            return config.ckpt_path
        self.run_folder = self.run_folder or directory.find_last(
            self._parent(), config.seed_everything, yaml.safe_load(self.text)
        )
        self.continues = self.run_folder is not None and (self.run_folder / directory.CONFIG).is_file()
        resume = self.run_folder is not None and bool(directory.resumable(self.run_folder))
        if not rank():
            print(f"seglab: {f'resuming {self.run_folder}' if resume else 'no checkpoint to resume'}", file=sys.stderr)
        checkpoint = _last_whole(self.run_folder) if self.run_folder and resume else None
        self.falls_back = checkpoint is not None and Path(checkpoint).name != Path(directory.LAST).name
        return checkpoint

    def _open_run(self, folder: Path) -> None:
        """Create or continue the run directory; rank 0 tells the ranks that it starts."""
        if not rank() and self.continues:
            hold(folder)
            directory.update_config(folder, self.text)
            if self.falls_back:  # else the next save would put the damaged file in the place of the good one
                (folder / directory.LAST).unlink(missing_ok=True)
        elif not rank():
            directory.create(folder)
            hold(folder)
            write_whole(folder / directory.CONFIG, self.text)
        os.environ[RUN_DIR] = str(folder)

    def _parent(self) -> Path:
        return directory.folder_of(self.config.fit.runs, self.identity["benchmark"], self.identity["method"])

    def _find_checkpoint(self) -> str:
        """The checkpoint file to evaluate."""
        config = self.config[self.subcommand]
        if config.ckpt_path not in (None, "last", "best"):
            return config.ckpt_path
        if not config.run_dir:
            raise SeglabError(f"which weights? `seglab {self.subcommand} RUN_DIR`, or --ckpt_path with a file")
        folder = Path(config.run_dir)
        return str(folder / directory.BEST) if config.ckpt_path == "best" else _last_whole(folder)

    def _config_text(self) -> str:
        """The config as it is saved: complete, and free of what belongs to this launch alone."""
        config = self.config[self.subcommand].clone()
        config.run_dir, config.ckpt_path = "", None
        config.pop("config", None)
        return self._parser(self.subcommand).dump(config, skip_unset=False, skip_link_targets=True)

    # The trainer.

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self._get(self.config_init, "trainer")
        kwargs["callbacks"] = list(trainer.callbacks or [])
        kwargs["plugins"] = [*_as_list(trainer.plugins), AtomicCheckpointIO(), *cluster()]
        kwargs |= elastic_size(trainer.devices, trainer.num_nodes)
        check_strategy(trainer.strategy)
        if trainer.sync_batchnorm:
            kwargs["plugins"].append(SyncNorms())
            kwargs["sync_batchnorm"] = False  # Lightning would put its own conversion in the place of ours
        if self.subcommand != "fit":
            return super().instantiate_trainer(**kwargs, logger=False, enable_checkpointing=False)

        for key, value in SETTLED.items():
            if trainer[key] != value:
                raise SeglabError(
                    f"trainer.{key} has no meaning here: streams are endless and everything is counted in optimiser "
                    "steps. Use trainer.max_steps and trainer.val_check_interval"
                )
        steps, interval = trainer.max_steps, trainer.val_check_interval
        if steps < 1:
            raise SeglabError(f"trainer.max_steps is {steps}: schedules are in optimiser steps, so give their number")
        if not isinstance(interval, int):
            raise SeglabError(f"trainer.val_check_interval is {interval}: give optimiser steps between validations")
        kwargs["val_check_interval"] = (
            min(interval, steps) * trainer.accumulate_grad_batches
        )  # Lightning counts batches
        panels: PanelSettings = self._get(self.config_init, "panels")
        panels.check()
        seed = self.config.fit.seed_everything
        self.run_folder = self.run_folder or self._parent() / directory.new_id(self._parent(), seed)
        folder = self.run_folder
        self.record = RunRecord(folder, self.identity)
        bar = progress_bar() if trainer.enable_progress_bar is not False else []
        kwargs["enable_progress_bar"] = bool(bar)
        self.preemption, numbers = Preemption(folder), FiniteCheck(self.record)
        kwargs["callbacks"] += [
            Panels(folder, panels),
            self.record,
            self.preemption,
            numbers,
            Checkpoints(self.record, self.preemption, numbers, self._get(self.config, "checkpoint_every")),
            *bar,
        ]
        kwargs["logger"] = [MetricsLogger(folder), *_with_sweep(_as_list(trainer.logger))]
        built = super().instantiate_trainer(**kwargs)
        batches = {f"data.{key}": batch for key, batch in self.datamodule.batches(self.model.reads).items()}
        check_division(batches, built.num_devices * built.num_nodes)
        self._open_run(folder)
        return built

    def before_fit(self) -> None:
        for logger in self.trainer.loggers:
            if isinstance(logger, RunLogger):
                identity = self.identity | {"split": self.datamodule.split}
                logger.bind(self.record.folder, identity, yaml.safe_load(self.text))

    def fit(self, model: LightningModule, datamodule: LightningDataModule, **kwargs: Any) -> None:
        self.record.watch(self.trainer, model)
        try:
            with signals_held():
                self.trainer.fit(model, datamodule=datamodule, **kwargs)
        except Exception as error:
            if self.preemption.signal and not isinstance(error, Interrupted):
                # the signal ended other processes of the run first
                raise self.preemption.interruption(self.trainer) from error
            if self.record.lost.is_set():  # what this process met is a consequence, and the cause has been printed
                raise SystemExit(1) from error
            raise
        if self.record.status == "running" and self.record.scores["last"].get("step") != self.trainer.global_step:
            self.trainer.validate(model, datamodule=datamodule, verbose=False)  # the interval missed the last step
        self.record.finish(self.trainer, model)
        if self.trainer.is_global_zero:
            print(f"seglab: {self.record.status}: {self.run_folder}")

    def validate(self, model: LightningModule, datamodule: SegmentationData, **kwargs: Any) -> None:
        export = self._evaluation_export(datamodule, "val")
        self._write_scores(self.trainer.validate(model, datamodule=datamodule, **kwargs), "val", export)

    def test(self, model: LightningModule, datamodule: SegmentationData, **kwargs: Any) -> None:
        export = self._evaluation_export(datamodule, "test")
        self._write_scores(self.trainer.test(model, datamodule=datamodule, **kwargs), "test", export)

    def _evaluation_export(self, datamodule: SegmentationData, split: str) -> Export | None:
        config = self.config[self.subcommand]
        if config.format and not config.export:
            raise SeglabError(f"--format {config.format} of what? Predictions are written with --export FOLDER")
        if not config.export:
            return None
        datamodule.exporting = True
        return self._start_export(datamodule, Path(config.export), datamodule.evaluation_items(split))

    def _start_export(self, datamodule: SegmentationData, folder: Path, items: Sequence[Item]) -> Export:
        """Have the trainer write what it predicts for ``items``; the folder is created by rank 0."""
        form = self.config[self.subcommand].format or "ids"
        names = {item.key: file_name(item.key, item.image, form) for item in items}
        export = Export(folder, datamodule.space, form, names)
        if not rank():
            export.open([names[item.key] for item in items])
            for warning in export.warnings():
                print(f"seglab: note: --format {form}: {warning}", file=sys.stderr)
        self.trainer.callbacks.append(PredictionWriter(export))  # type: ignore[attr-defined]
        return export

    def _write_scores(self, scores: Sequence[Mapping[str, float]], split: str, export: Export | None) -> None:
        config = self.config[self.subcommand]
        if not self.trainer.is_global_zero:
            return
        if export:
            print(f"seglab: {export}")
        if f"{split}/mIoU" not in scores[0]:
            print(f"seglab: nothing could be scored: {split} has no labeled pixel")
        elif config.run_dir:
            checkpoint = Path(config.ckpt_path)
            path = Path(config.run_dir) / f"{self.subcommand}_{checkpoint.stem}.json"
            write_json(path, {"checkpoint": str(checkpoint), **self.identity, **scores[0]})
            print(f"seglab: scores written to {path}")

    def predict(self, model: LightningModule, datamodule: SegmentationData, **kwargs: Any) -> None:
        config = self.config.predict
        datamodule.predict_images = Path(config.images)
        export = self._start_export(datamodule, Path(config.output), datamodule.predicted_items())
        self.trainer.predict(model, datamodule=datamodule, return_predictions=False, **kwargs)
        if self.trainer.is_global_zero:
            print(f"seglab: {export}")


def run(args: list[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        args: command line without the program's name.

    Raises:
        SeglabError: the config is wrong or the run fails for a reason that the user can mend.
    """
    silence()
    if rank():
        end_with_first()
    else:
        os.environ[FIRST] = str(os.getpid())
    try:
        SeglabCLI(expand_run(args))
    except MisconfigurationException as error:
        raise SeglabError(str(error)) from error
    except (OSError, RuntimeError) as error:
        if (told := explained(error)) is error:
            raise
        raise told from error
    finally:
        release()


def silence() -> None:
    """Filter what Lightning says that does not help."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _checkpoint_of(start: Path) -> str:
    if start.is_dir() and directory.resumable(start):
        return _last_whole(start)
    checkpoint = start / directory.LAST if start.is_dir() else start
    if not checkpoint.is_file():
        raise SeglabError(
            f"--init_from {start}: {checkpoint} does not exist; give a run directory or a checkpoint file"
        )
    return str(checkpoint)


def _last_whole(folder: Path) -> str:
    """The checkpoint of a run to go on from; says so if that is not its ``last.ckpt``."""
    checkpoint, told = last_whole(folder)
    if told and not rank():
        print(f"seglab: warning: {told}", file=sys.stderr)
    return str(checkpoint)


def method_name(config: Any) -> str:
    """The name that a run directory bears."""
    return config.method or "+".join(part.class_path.rpartition(".")[2] for part in (config.model, *config.additions))


def rank() -> int:
    """Of this process among all of the run, as its launcher tells it before Lightning knows."""
    return next((int(os.environ[key]) for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if key in os.environ), 0)


def _with_sweep(loggers: list[Any]) -> list[Any]:
    """Under an agent of Weights & Biases a run reports to its sweep, without being told to in the config."""
    if "WANDB_SWEEP_ID" not in os.environ or any(isinstance(logger, WandbRun) for logger in loggers):
        return loggers
    return [*loggers, WandbRun(offline=False)]


def _as_list(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
