"""The command line. Heavy imports come late: ``--help`` answers at once, and processes that draw streets stay light."""

from __future__ import annotations

import inspect
import json
import sys
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
  seglab predict RUN_DIR --images FOLDER --output FOLDER          label-id PNGs and overlays of any images

  seglab list methods|additions|benchmarks|networks|data          what there is
  seglab data streets --root FOLDER [--images N] [--seed S]       generate street scenes in two domains
  seglab data check -c BENCHMARK.yaml [--data.root FOLDER]        verify a data set before training
       [--sheet FILE.png] [--bad FILE]                            draw a contact sheet; list images to leave out

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
        case [] | ["-h" | "--help"]:
            print(HELP, end="")
        case ["list", "methods" | "additions" | "benchmarks" | "networks" | "data" as what]:
            _list(what)
        case ["list", *_]:
            raise SeglabError("seglab list methods, additions, benchmarks, networks or data")
        case ["data", "streets", *flags]:
            _streets(flags)
        case ["data", "check", *flags]:
            _check(flags)
        case ["data", *_]:
            raise SeglabError("seglab data streets or seglab data check")
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
    folder = {"methods": "method", "additions": "addition", "networks": "network"}.get(what)
    if folder:
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


def _streets(flags: list[str]) -> None:
    from seglab.streets import write_streets

    parser = _parser(
        "streets", "Generate street scenes: a clean domain in GTA5's layout, a photographed one in Cityscapes'."
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

    parser = _parser("check", "Verify a data set before training.")
    parser.add_argument("--data", type=SegmentationData, required=True, sub_configs=True, help="A data set class.")
    parser.add_argument("--sheet", type=str, default="", help="Write a contact sheet with overlays to this PNG.")
    parser.add_argument("--bad", type=str, default="", help="List the images to leave out in this file, for data.skip.")
    parser.add_argument("--workers", type=int, default=0, help="Images decoded at once; 0: one per core.")
    options = parser.instantiate(parser.parse_args(_data_sections(flags)))
    if options.sheet and Path(options.sheet).suffix.lower() != ".png":
        raise SeglabError(f"--sheet {options.sheet}: give the name of a .png file")
    if options.workers < 0:
        raise SeglabError(f"--workers {options.workers}: give 1 or more, or 0 for one per core")
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


def _parser(command: str, description: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            raise SeglabError(message)

    return Parser(prog=f"seglab data {command}", description=description)


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
