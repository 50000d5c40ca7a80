"""Sweep files in Weights & Biases' format, expanded without its server."""

import hashlib
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seglab.files import read_yaml
from seglab.launch.draws import draw
from seglab.types import SeglabError

COMMAND = ("${env}", "seglab", "fit", "${args}")
MACROS = ("${env}", "${interpreter}", "${program}", "${args}")
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
KEYS = {
    *("program", "command", "method", "parameters", "run_cap", "metric", "early_terminate"),
    *("name", "description", "project", "entity"),
}
NUMBERS = ("min", "max", "q", "mu", "sigma")
SETTINGS = {"value", "values", "probabilities", "distribution", *NUMBERS}  # of a parameter
METHODS = ("grid", "random", "bayes")
CHAIN_FILE = "chain"  # the parameter of `seglab chain` that is no flag but the file
PREVIEW = 5  # draws that stand for the runs of a sweep without a list
Parameters = dict[str, Any]


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        name: folder name, the same whenever the parameters are the same.
        parameters: flag without dashes -> value.
        command: what to execute; ``seglab fit`` or ``seglab chain`` stands first.
    """

    name: str
    parameters: Parameters
    command: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """What follows ``seglab`` in the command."""
        return list(self.command[self.command.index("seglab") + 1 :])

    @property
    def is_chain(self) -> bool:
        """Whether the run is the stages of a chain file; its folder then has a run directory for each."""
        return self.arguments[:1] == ["chain"] and self.arguments[1:2] != ["stage"]  # one stage is a run


def read_sweep(path: Path, seed: int = 0) -> list[SweepRun]:
    """The runs that a sweep file stands for, in file order.

    ``method: grid`` crosses all values, the last parameter fastest; ``method: random`` draws ``run_cap`` times from
    their distributions, reproducibly by ``seed``. Names and meanings are those of Weights & Biases.

    Raises:
        SeglabError: no sweep file, an unknown key or distribution, ``bayes`` (whose runs are not known beforehand), or
            a command that does not start seglab.
    """
    sweep = read_file(path)
    if sweep["method"] == "bayes":
        raise SeglabError(
            f"{path}: method bayes chooses each run by the scores of earlier ones, so no list of runs can be printed "
            "or submitted: use --launcher local or wandb"
        )
    if "early_terminate" in sweep:
        raise SeglabError(f"{path}: early_terminate needs W&B's server: use --launcher wandb or leave it out")
    if sweep["method"] == "random" and sweep.get("run_cap") is None:
        raise SeglabError(f"{path}: method random draws without end: give run_cap, the number of runs")
    return expand(path, sweep, seed)


def preview(path: Path, seed: int = 0) -> list[SweepRun]:
    """Runs as the sweep would have them: all of a grid, draws where they are endless or chosen one by one.

    Raises:
        SeglabError: as ``read_sweep``.
    """
    sweep = read_file(path)
    if sweep["method"] == "grid":
        return expand(path, sweep, seed)
    cap = min(sweep.get("run_cap") or PREVIEW, PREVIEW)
    return expand(path, sweep | {"method": "random", "run_cap": cap}, seed)


def read_file(path: Path) -> dict[str, Any]:
    """A sweep file whose keys, method and command are right.

    Raises:
        SeglabError: they are not.
    """
    sweep = read_yaml(path)
    if not isinstance(sweep, dict):
        raise SeglabError(f"{path} is not a sweep file: it has no keys")
    if unknown := sorted(set(sweep) - KEYS):
        raise SeglabError(f"{path}: unknown key {', '.join(unknown)}; a sweep has {', '.join(sorted(KEYS))}")
    parameters = sweep.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise SeglabError(f"{path} has no parameters: name flags and their values, such as `seed_everything`")
    for name, spec in parameters.items():
        _check_parameter(path, name, spec)
    if sweep.get("method") not in METHODS:
        raise SeglabError(f"{path}: method {sweep.get('method')!r}: give grid, random or bayes")
    cap = sweep.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < 1):
        raise SeglabError(f"{path}: run_cap {cap!r}: give the number of runs, 1 or more")
    _command(path, sweep.get("command", list(COMMAND)))
    return sweep


def expand(path: Path, sweep: Mapping[str, Any], seed: int) -> list[SweepRun]:
    """The runs of a grid, or as many draws as ``run_cap`` says."""
    parameters, cap = sweep["parameters"], sweep.get("run_cap")
    if sweep["method"] == "grid":
        drawn = _grid(path, parameters)[:cap]
    else:
        rng = np.random.default_rng(seed)
        drawn = [{name: _draw(path, name, spec, rng) for name, spec in parameters.items()} for _ in range(cap or 0)]
    varied = [name for name in parameters if len({json.dumps(run[name]) for run in drawn}) > 1]
    runs = {run.name: run for run in (run_of(path, sweep, values, varied) for values in drawn)}
    return list(runs.values())


def run_of(path: Path, sweep: Mapping[str, Any], values: Parameters, varied: Iterable[str]) -> SweepRun:
    """The run of these values.

    Args:
        path: of the sweep file.
        sweep: its content.
        values: parameter -> value.
        varied: parameters that the run's name shows.
    """
    command = _command(path, sweep.get("command", list(COMMAND)))
    chain = [str(values[CHAIN_FILE])] if CHAIN_FILE in values and "chain" in command else []
    names = [name for name in sorted(values) if not chain or name != CHAIN_FILE]
    flags = [*chain, *(f"--{name}={values[name]}" for name in names)]  # W&B's order: `network` before `network.encoder`
    words = [word for part in command for word in (flags if part == "${args}" else [part]) if word not in MACROS]
    digest = hashlib.sha256(json.dumps([values, command], sort_keys=True).encode()).hexdigest()[:6]
    return SweepRun("-".join([*(_short(name, values[name]) for name in varied), digest]), values, tuple(words))


def launcher_command(run: SweepRun, folder: Path) -> list[str]:
    """The command of a run with its folder: it starts there, or goes on from its last checkpoint."""
    before = list(run.command[: run.command.index("seglab")])
    if before[-1:] == ["-m"]:  # `python -m seglab`, or `torchrun -m seglab`
        before.pop()
        if before and not re.fullmatch(r"python[\d.]*", Path(before[-1]).name):
            return [*before, "-m", "seglab", *run.arguments, *_place(run, folder)]
        before = before[:-1]
    return [*before, sys.executable, "-m", "seglab", *run.arguments, *_place(run, folder)]


def _place(run: SweepRun, folder: Path) -> list[str]:
    return [f"--run_dir={folder}", *([] if run.is_chain else ["--ckpt_path=last"])]


def _check_parameter(path: Path, name: str, spec: Any) -> None:
    if not isinstance(spec, dict):
        raise SeglabError(f"{path}: parameter {name} is {spec!r}: write `value: {spec}` or `values: [...]` below it")
    if "parameters" in spec:
        raise SeglabError(f"{path}: parameter {name} is nested: write `{name}.KEY` as one name instead")
    if unknown := sorted(set(spec) - SETTINGS):
        raise SeglabError(
            f"{path}: parameter {name} has {', '.join(map(str, unknown))}; known are {', '.join(sorted(SETTINGS))}"
        )
    if texts := [key for key in NUMBERS if key in spec and not isinstance(spec[key], int | float)]:
        raise SeglabError(
            f"{path}: parameter {name}: {texts[0]} is the text {spec[texts[0]]!r}; YAML reads 1e-5 as text and 1.0e-5 "
            "as a number"
        )
    if "values" in spec and not (isinstance(spec["values"], list) and spec["values"]):
        raise SeglabError(f"{path}: parameter {name}: `values` is a list with one value or more")


def _command(path: Path, command: Any) -> list[str]:
    """The command with environment variables in place."""
    if not isinstance(command, list) or "seglab" not in command or "${args}" not in command:
        raise SeglabError(f"{path}: command must be a list with seglab and ${{args}}, as in {list(COMMAND)}")
    if command[command.index("seglab") + 1 :][:1] not in (["fit"], ["chain"]):
        raise SeglabError(f"{path}: command must have `fit` or `chain` after `seglab`, as in {list(COMMAND)}")
    for part in command:
        if missing := [name for name in VARIABLE.findall(str(part)) if name not in os.environ]:
            raise SeglabError(f"{path}: command needs the environment variable {', '.join(missing)}, which is not set")
    command = [VARIABLE.sub(lambda match: os.environ[match[1]], str(part)) for part in command]
    if macros := [part for part in command if part.startswith("${") and part not in MACROS]:
        raise SeglabError(f"{path}: command has {', '.join(macros)}; known are {', '.join(MACROS)}")
    return command


def _short(name: str, value: Any) -> str:
    """``seed_everything=1`` -> ``s1``; the path of a config file -> its stem; anything else -> name and value."""
    if name == "seed_everything":
        return re.sub(r"[^\w.-]+", "_", f"s{value}")
    if name.startswith("config") or name == CHAIN_FILE:
        return Path(str(value)).stem
    short = f"{value:.4g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.]+", "_", f"{name.rpartition('.')[2]}_{short}").strip("_")[:40]


def _grid(path: Path, parameters: Mapping[str, Mapping[str, Any]]) -> list[Parameters]:
    choices = []
    for name, spec in parameters.items():
        if "value" in spec:
            choices.append([spec["value"]])
        elif "values" in spec:
            choices.append(spec["values"])
        else:
            raise SeglabError(f"{path}: parameter {name} of a grid needs `value` or a list `values`, not {dict(spec)}")
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*choices)]


def _draw(path: Path, name: str, spec: Mapping[str, Any], rng: np.random.Generator) -> Any:
    try:
        return draw(spec, rng)
    except (KeyError, ValueError, TypeError) as error:
        raise SeglabError(f"{path}: parameter {name}: cannot draw from {dict(spec)} ({error!r})") from error
