"""From a command line to a config, and from a config to objects; nothing runs here."""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
import yaml
from jsonargparse import ActionConfigFile, ArgumentParser
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch import Trainer
from torch.optim import Optimizer

import seglab.data
import seglab.methods  # noqa: F401 - short class names in YAML are found among imported classes
from seglab.cli.explain import explain
from seglab.cli.parser import Parser, check_sections, check_words, config_logger
from seglab.cli.renamed import translated
from seglab.compat import lazy_instance
from seglab.data import SegmentationData
from seglab.evaluation.inference import Inference
from seglab.evaluation.writer import FORMATS
from seglab.methods import Addition, Method, Schedule
from seglab.networks import Network, NetworkFactory
from seglab.networks.of_run import without_weights
from seglab.ops.criteria import Dice  # noqa: F401 - all of its module are found by their short names
from seglab.ops.losses import Criterion, CrossEntropy
from seglab.runs import directory
from seglab.runs.arguments import expand_run, is_run
from seglab.training.panels import PanelSettings
from seglab.training.place import Config, initial_weights
from seglab.training.session import TRAINER_DEFAULTS, Parts
from seglab.training.tensorboard import TensorBoardRun  # noqa: F401 - found by its short name
from seglab.types import SeglabError

# Config sections that fill Method's arguments.
SHARED = ("network", "criterion", "optimizer", "schedule", "evaluation", "additions", "init_from")

# Section -> what its classes are below.
BASES = {
    "model": Method,
    "data": SegmentationData,
    "network": Network,
    "criterion": Criterion,
    "optimizer": Optimizer,
    "evaluation": Inference,
    "additions": Addition,
}


@cache
def make_parser(command: str) -> Parser:
    """The parser of ``fit``, ``validate``, ``test`` or ``predict``: one tree of sections for all four."""
    parser = Parser(
        prog=f"seglab {command}", description="A run of seglab.", logger=config_logger(), allow_abbrev=False
    )
    add = parser.add_argument
    add("-c", "--config", action=ActionConfigFile, help="YAML file; again for more, of which later ones win.")
    add("--seed_everything", type=NonNegativeInt, default=0, help="Seed of the run, 0 or more.")
    add("--benchmark", type=str, default="custom", help="Name of the benchmark in run directories.")
    add("--method", type=str, default="", help="Its name in run directories. Default: its class.")
    add("--runs", type=str, default="runs", help="Folder of all run directories.")
    add("--run_dir", type=str, default="", help="Folder of this run. Default: a new one in --runs.")
    add("--init_from", type=str, default="", help="Run or checkpoint whose student this one begins as.")
    add("--ckpt_path", type=str | None, default=None, help="Checkpoint to resume or evaluate: last, best or a file.")
    add("--checkpoint_every", type=int, default=0, help="Steps between checkpoints; 0: run / 20.")
    if command == "predict":
        add("--images", type=str, required=True, help="Folder of images of any size, or a video file.")
        add("--output", type=str, required=True, help="Folder for the predictions.")
        add("--probabilities", type=bool, default=False, help="Write those of all classes too, as <name>.npz.")
    elif command != "fit":
        add("--export", type=str, default="", help="Folder for predictions; scores need no labels.")
    if command != "fit":
        add("--format", type=str, default="", help=f"Of predictions: {', '.join(FORMATS)}.")
    add("--model", type=Method, required=True, sub_configs=True, help="The method.")
    add("--data", type=SegmentationData, required=True, sub_configs=True, help="The data set.")
    add("--network", type=NetworkFactory, required=True, sub_configs=True)
    add("--criterion", type=Criterion, default=lazy_instance(CrossEntropy), sub_configs=True)
    add("--optimizer", type=Callable[[Iterable], Optimizer], required=True, sub_configs=True)
    add("--schedule", type=Schedule, default=Schedule())
    add("--evaluation", type=Inference, required=True, sub_configs=True)
    add("--additions", type=list[Addition], default=[], sub_configs=True)
    add("--panels", type=PanelSettings, default=PanelSettings())
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{key}": value for key, value in TRAINER_DEFAULTS.items()})
    for section in SHARED:
        parser.link_arguments(section, f"model.init_args.{section}")
    parser.link_arguments("data.space", "model.init_args.space", apply_on="instantiate")
    parser.link_arguments("seed_everything", "model.init_args.seed")
    parser.link_arguments("seed_everything", "data.init_args.seed")
    return parser


def parse(args: list[str]) -> Config:
    """Read a command line: ``fit``, ``validate``, ``test`` or ``predict``, a run directory or files, flags.

    Raises:
        SeglabError: a file, key or value in it is wrong.
    """
    command, options = _read(args)
    return Config(command, options, _text(make_parser(command), options))


def _read(args: list[str]) -> tuple[str, Any]:
    """The command and all options."""
    command, *words = expand_run(args)
    if len(args) > 1 and is_run(args[1]):  # one of before may have old keys
        before = directory.read_config(Path(args[1]))
        if (now := translated(before)) != before:
            words[1] = yaml.safe_dump(now)
        check_words(words[2:])
    else:
        check_words(words)
    parser = make_parser(command)
    try:
        options = parser.parse_args(words)
    except SeglabError as error:
        keys = re.findall(r"--([a-z_][\w.]*)", parser.format_help())
        raise SeglabError(explain(str(error), words, keys, BASES)) from error
    check_sections(options)
    return command, options


def _text(parser: ArgumentParser, options: Any) -> str:
    """The config as it is saved: complete, and without what belongs to this launch alone."""
    saved = options.clone()
    saved.run_dir, saved.ckpt_path = "", None
    saved.pop("config", None)
    return parser.dump(saved, skip_unset=False, skip_link_targets=True, skip_validation=True)  # it has been parsed


def build(config: Config, checkpoint: str | None = None) -> Parts:
    """Method, data module, the arguments of the Trainer and the settings of panels.

    Args:
        config: of ``parse``.
        checkpoint: file whose weights will be loaded, so that no others are needed.

    Raises:
        SeglabError: a value does not fit.
    """
    options = config.options.clone()
    arguments, training = options.model.init_args, config.command == "fit"
    if checkpoint:  # it brings all weights: the files that they once came from need not be here
        arguments.init_from = ""
        parts = [options.model, *arguments.additions]
        if not (training and any(resolve_name(part.class_path).needs_pretrained for part in parts)):
            without_weights(arguments.network)
    elif arguments.init_from:
        arguments.init_from = initial_weights(arguments.init_from)
    if not training:
        options.trainer.logger = None
    built = make_parser(config.command).instantiate(options)
    return Parts(built.model, built.data, dict(vars(built.trainer)), built.panels)


@contextmanager
def same_random_state() -> Iterator[None]:
    """Leave the global generators of Python, NumPy and torch as they were."""
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numbers)  # noqa: NPY002


def check(args: list[str]) -> Any:
    """Parse a command line of ``fit`` as it would be when it ran; returns its options.

    Raises:
        SeglabError: a file, key or value in it is wrong.
    """
    return _read(args)[1]
