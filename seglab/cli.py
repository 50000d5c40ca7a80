"""The command line. Heavy imports come late: ``--help`` answers at once, and processes that draw streets stay light."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml
from rich.console import Console
from rich.table import Table

from seglab.types import SeglabError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

EXPERIMENTS = Path("experiments")

HELP = """seglab: semantic segmentation that learns from few labels or from another domain's labels.

  seglab fit -c BENCHMARK.yaml -c METHOD.yaml [--KEY VALUE ...]   train (--ckpt_path last: resume the same command)
  seglab fit RUN_DIR                                              continue a run
  seglab validate RUN_DIR [--ckpt_path best]                      score a run on the validation part
  seglab test RUN_DIR [--ckpt_path best]                          score a run on the test part
       [--export FOLDER --format cityscapes|voc|acdc|ids]         and write predictions for a benchmark server
  seglab predict RUN_DIR --images FOLDER --output FOLDER          label-id PNGs and overlays of any images
  seglab pseudo-label RUN_DIR --output FOLDER                     label a run's unlabeled images, for its next stage

  seglab sweep FILE.yaml [--jobs N] [--dir FOLDER]                many runs; again: skips finished, resumes dead ones
  seglab sweep status FOLDER                                      what became of them

  seglab list methods|additions|benchmarks|networks|data          what there is
  seglab data streets --root FOLDER [--images N] [--seed S]       generate street scenes in two domains
  seglab data check -c BENCHMARK.yaml [--data.root FOLDER]        verify a data set before training
       [--sheet FILE.png] [--bad FILE]                            draw a contact sheet; list images to leave out
  seglab data cache -c BENCHMARK.yaml --output FOLDER             decode every file once; then --data.cache FOLDER
       [--scale 0.5] [--workers N] [--verify true]                or check a written cache

Every command takes --help.
"""


def main(args: list[str] | None = None) -> int:
    """Entry point of ``seglab``; returns the exit code."""
    try:
        _run(sys.argv[1:] if args is None else args)
    except SeglabError as error:
        # an error in a loader process arrives wrapped in that process's traceback
        print(f"seglab: error: {str(error).rpartition('SeglabError: ')[2].strip()}", file=sys.stderr)
        return 1
    return 0


def _run(args: list[str]) -> None:
    match args:
        case ["fit" | "validate" | "test" | "predict", *_]:
            from seglab import trainer_cli

            trainer_cli.run(args)
        case ["pseudo-label", *flags]:
            from seglab import stages

            stages.pseudo_label(flags)
        case [] | ["-h" | "--help"]:
            print(HELP, end="")
        case ["list", "methods" | "additions" | "benchmarks" | "networks" | "data" as what]:
            _list(what)
        case ["list", *_]:
            raise SeglabError("seglab list methods, additions, benchmarks, networks or data")
        case ["sweep", "status", folder]:
            _sweep_status(Path(folder))
        case ["sweep", *flags]:
            _sweep(flags)
        case ["data", "streets", *flags]:
            _streets(flags)
        case ["data", "check", *flags]:
            _check(flags)
        case ["data", "cache", *flags]:
            _cache(flags)
        case ["data", *_]:
            raise SeglabError("seglab data streets, seglab data check or seglab data cache")
        case _:
            raise SeglabError(f"no command {args[0]!r}; `seglab --help` lists them")


def _list(what: str) -> None:
    from seglab import data, methods, networks

    if what == "benchmarks":
        _list_files("benchmark")
        return
    module, base = {
        "methods": (methods, methods.Method),
        "additions": (methods, methods.Addition),
        "networks": (networks, networks.Network),
        "data": (data, data.SegmentationData),
    }[what]
    table = Table("class_path", "what it is", title=what)
    for name, part in sorted(vars(module).items()):
        if inspect.isclass(part) and issubclass(part, base) and part is not base:
            table.add_row(name, inspect.getdoc(part).split("\n\n")[0].replace("\n", " "))
    Console().print(table)
    folder = {"methods": "method", "additions": "addition", "networks": "network", "data": "taxonomy"}[what]
    _list_files(folder)


def _list_files(folder: str) -> None:
    files = sorted((EXPERIMENTS / folder).glob("*.yaml"))
    if not files:
        print(f"no {EXPERIMENTS / folder}/*.yaml here: run from the checkout to list its files")
        return
    table = Table("file", "what it is", title=f"{EXPERIMENTS / folder}")
    for file in files:
        first = file.read_text().partition("\n")[0]
        table.add_row(file.name, first.removeprefix("#").strip() if first.startswith("#") else "")
    Console().print(table)


def _sweep(flags: list[str]) -> None:
    from seglab.launch.local import run_local, table
    from seglab.launch.sweep import launcher_command, read_sweep

    parser = _parser("sweep", "Start the runs of a sweep file (the format of Weights & Biases) on this machine.")
    parser.add_argument("file", type=str, help="Sweep file.")
    parser.add_argument("--dir", type=str, default="", help="Folder of the sweep. Default: runs/sweeps/<name of FILE>.")
    parser.add_argument("--jobs", type=int, default=0, help="Runs at a time. Default: one per GPU, or 1.")
    parser.add_argument("--gpus", type=str, default="", help="Device numbers, as in 0,1. Default: all.")
    parser.add_argument("--seed", type=int, default=0, help="Of the draws of `method: random`.")
    parser.add_argument("--dry_run", type=bool, default=False, help="Print the commands and start nothing.")
    options = parser.parse_args(flags)
    file = Path(options.file)
    runs = read_sweep(file, options.seed)
    folder = Path(options.dir or f"runs/sweeps/{file.stem}")
    if options.dry_run:
        for run in runs:
            print(shlex.join(launcher_command(run, folder / run.name)))
        return
    if options.jobs < 0:
        raise SeglabError(f"--jobs {options.jobs}: give 1 or more")

    from seglab.trainer_cli import check

    for run in runs:  # a wrong parameter is named before the first run has cost anything
        try:
            check(run.arguments)
        except SeglabError as error:
            raise SeglabError(f"{file}: run {run.name}: {error}") from error
    gpus = options.gpus.split(",") if options.gpus else _gpus()
    states = run_local(folder, runs, options.jobs or len(gpus) or 1, gpus)
    Console().print(table(states))
    if bad := [name for name, state in states.items() if state.status != "finished"]:
        raise SeglabError(f"{len(bad)} of {len(states)} runs are not finished; the same command continues them")


def _sweep_status(folder: Path) -> None:
    from seglab.launch.directory import read_manifest, state_of
    from seglab.launch.local import table

    Console().print(table({name: state_of(folder / name) for name in read_manifest(folder)}))


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]


def _streets(flags: list[str]) -> None:
    from seglab.streets import write_streets

    parser = _parser(
        "data streets", "Generate street scenes: a clean domain in GTA5's layout, a photographed one in Cityscapes'."
    )
    parser.add_argument("--root", type=str, required=True, help="Folder to write to.")
    parser.add_argument("--images", type=int, default=256, help="Training images per domain.")
    parser.add_argument("--seed", type=int, default=0, help="Another seed, other scenes.")
    options = parser.parse_args(flags)
    counts = write_streets(Path(options.root).expanduser(), options.images, options.seed)
    print(f"seglab: {options.root}: " + ", ".join(f"{count} {part}" for part, count in counts.items()))


def _check(flags: list[str]) -> None:
    from seglab.data import SegmentationData
    from seglab.data.check import check_data
    from seglab.data.report import print_report, write_bad, write_sheet

    parser = _parser("data check", "Verify a data set before training.")
    parser.add_argument("--data", type=SegmentationData, required=True, sub_configs=True, help="A data set class.")
    parser.add_argument("--sheet", type=str, default="", help="Write a contact sheet with overlays to this PNG.")
    parser.add_argument("--bad", type=str, default="", help="List the images to leave out in this file, for data.skip.")
    parser.add_argument("--workers", type=int, default=0, help="Images decoded at once; 0: as the cores allow.")
    options = parser.instantiate(parser.parse_args(_data_sections(flags)))
    if options.sheet and Path(options.sheet).suffix.lower() != ".png":
        raise SeglabError(f"--sheet {options.sheet}: give the name of a .png file")
    if options.workers < 0:
        raise SeglabError(f"--workers {options.workers}: give 1 or more, or 0 for as the cores allow")
    report = check_data(options.data, options.workers)
    print_report(report, options.data, Console())
    if options.bad:
        for line in write_bad(report, options.data, Path(options.bad)):
            print(line)
    if options.sheet:
        write_sheet(report, Path(options.sheet))
        print(f"contact sheet: {options.sheet}")
    if report.problems:
        raise SeglabError(f"the data set has problems: {len(report.problems)}, named above")


def _cache(flags: list[str]) -> None:
    from seglab.data import DomainAdaptation, SegmentationData
    from seglab.data.cache import verify_cache, write_cache

    parser = _parser("cache", "Decode every image and mask once, into a folder that --data.cache reads.")
    parser.add_argument("--data", type=SegmentationData, required=True, sub_configs=True, help="A data set class.")
    parser.add_argument("--output", type=str, required=True, help="Folder to write to; again to finish or update it.")
    parser.add_argument("--scale", type=float, default=1.0, help="Resize by it; below 1 only training images go in.")
    parser.add_argument("--workers", type=int, default=0, help="Decoding threads; 0: one per CPU core.")
    parser.add_argument("--verify", type=bool, default=False, help="Compare a written cache with its checksums.")
    options = parser.instantiate(parser.parse_args(_data_sections(flags)))
    data, output = options.data, Path(options.output).expanduser()
    sides: dict[str, tuple[SegmentationData, tuple[str, ...]]] = {"": (data, ("train", "val", "test"))}
    if isinstance(data, DomainAdaptation):
        sides = {"source": (data.source, ("train",)), "target": (data.target, ("train", "val", "test"))}
    for side, (part, splits) in sides.items():
        folder = output / side
        if options.verify:
            print(f"seglab: {folder}: {verify_cache(folder)} entries are sound")
            continue
        items = part.items("train")
        for split in splits[1:] if options.scale == 1 else ():  # evaluation reads the files of a downscaled cache
            with suppress(SeglabError):  # many data sets keep a part back
                items += part.items(split)
        count = write_cache(items, part.root, part.own_space, folder, options.scale, options.workers)
        flag = f"--data.{side}.cache" if side else "--data.cache"
        print(f"seglab: {folder}: {count} images decoded; train with {flag} {folder}")


def _parser(command: str, description: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            raise SeglabError(message)

    return Parser(prog=f"seglab {command}", description=description)


def _data_sections(flags: list[str]) -> list[str]:
    """Replace every ``-c FILE`` by its ``data`` section: the other sections do not matter here."""
    kept, sections = [], []
    left = iter(flags)
    for flag in left:
        if flag not in ("-c", "--config"):
            kept.append(flag)
            continue
        file = Path(next(left, ""))
        config = _read_yaml(file, flag)
        if not isinstance(config, dict):
            raise SeglabError(f"{flag} {file} is no config: its top level has no keys")
        if section := config.get("data"):
            sections += ["--data", json.dumps(_from(section, file.parent))]
    return sections + kept


def _from(section: Any, folder: Path) -> Any:
    """Paths of YAML files inside a section are relative to the file it stands in."""
    if isinstance(section, dict):
        return {key: _from(value, folder) for key, value in section.items()}
    if isinstance(section, str) and section.endswith(".yaml"):
        file = folder / section
        return _from(_read_yaml(file, "data"), file.parent)
    return section


def _read_yaml(file: Path, flag: str) -> Any:
    try:
        return yaml.safe_load(file.read_text())
    except OSError as error:
        raise SeglabError(f"{flag} needs a YAML file, got {str(file)!r} ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise SeglabError(f"{file} is not valid YAML: {error}") from error
