"""Sweep files in Weights & Biases' format, expanded without its server."""

import hashlib
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from seglab.types import SeglabError

COMMAND = ("${env}", "seglab", "fit", "${args}")
KEYS = {"program", "command", "method", "parameters", "run_cap", "name", "description", "metric", "project", "entity"}
Parameters = dict[str, Any]


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        name: folder name, the same whenever the parameters are the same.
        parameters: flag without dashes -> value.
        command: what to execute; ``seglab`` stands first.
    """

    name: str
    parameters: Parameters
    command: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """What follows ``seglab`` in the command."""
        return list(self.command[self.command.index("seglab") + 1 :])


def read_sweep(path: Path, seed: int = 0) -> list[SweepRun]:
    """The runs that a sweep file stands for, in file order.

    ``method: grid`` crosses all values, the last parameter fastest; ``method: random`` draws ``run_cap`` times from
    their distributions, reproducibly by ``seed``. Names and meanings are those of Weights & Biases.

    Raises:
        SeglabError: no sweep file, an unknown key or distribution, ``bayes`` (which needs a server to learn from), or
            a command that does not start seglab.
    """
    sweep = _read(path)
    if unknown := sorted(set(sweep) - KEYS):
        raise SeglabError(f"{path}: unknown key {', '.join(unknown)}; a sweep has {', '.join(sorted(KEYS))}")
    parameters = sweep.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise SeglabError(f"{path} has no parameters: name flags and their values, such as `seed_everything`")
    for name, spec in parameters.items():
        if not isinstance(spec, dict):
            raise SeglabError(
                f"{path}: parameter {name} is {spec!r}: write `value: {spec}` or `values: [...]` below it"
            )
        if "parameters" in spec:
            raise SeglabError(f"{path}: parameter {name} is nested: write `{name}.KEY` as one name instead")
    method = sweep.get("method")
    if method == "grid":
        drawn = _grid(path, parameters)
    elif method == "random":
        drawn = _random(path, parameters, sweep.get("run_cap"), seed)
    elif method == "bayes":
        raise SeglabError(f"{path}: method bayes learns from finished runs on a W&B server: use --launcher wandb")
    else:
        raise SeglabError(f"{path}: method {method!r}: give grid, random or bayes")
    varied = [name for name in parameters if len({json.dumps(run[name]) for run in drawn}) > 1]
    command = _command(path, sweep.get("command", list(COMMAND)))
    runs = {run.name: run for run in (_run(values, varied, command) for values in drawn)}
    return list(runs.values())


def _read(path: Path) -> dict[str, Any]:
    try:
        sweep = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SeglabError(f"{path} cannot be read ({error.strerror}): give a sweep file") from error
    except yaml.YAMLError as error:
        raise SeglabError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(sweep, dict):
        raise SeglabError(f"{path} is no sweep file: it has no keys")
    return sweep


def _command(path: Path, command: Any) -> list[str]:
    known = {"${env}", "${interpreter}", "${program}", "${args}"}
    if not isinstance(command, list) or "seglab" not in command or "${args}" not in command:
        raise SeglabError(f"{path}: command must be a list with seglab and ${{args}}, as in {list(COMMAND)}")
    command = [str(part) for part in command]
    if macros := [part for part in command if part.startswith("${") and part not in known and not _variable(part)]:
        raise SeglabError(f"{path}: command has {', '.join(macros)}; known are {', '.join(sorted(known))}")
    return command


def _variable(part: str) -> str:
    match = re.fullmatch(r"\$\{envvar:(\w+)\}", part)
    return match[1] if match else ""


def _run(values: Parameters, varied: list[str], command: list[str]) -> SweepRun:
    flags = [f"--{name}={value}" for name, value in values.items()]
    words: list[str] = []
    for part in command:
        if part == "${args}":
            words += flags
        elif part not in ("${env}", "${interpreter}", "${program}"):
            words.append(os.environ.get(_variable(part), "") if _variable(part) else part)
    digest = hashlib.sha256(json.dumps([values, command], sort_keys=True).encode()).hexdigest()[:6]
    return SweepRun("-".join([*(_short(name, values[name]) for name in varied), digest]), values, tuple(words))


def _short(name: str, value: Any) -> str:
    """``seed_everything=1`` -> ``s1``; the path of a config file -> its stem; anything else -> name and value."""
    if name == "seed_everything":
        return f"s{value}"
    if name.startswith("config"):
        return Path(str(value)).stem
    return re.sub(r"[^\w.]+", "_", f"{name.rpartition('.')[2]}_{value}").strip("_")


def _grid(path: Path, parameters: Mapping[str, Mapping[str, Any]]) -> list[Parameters]:
    choices = []
    for name, spec in parameters.items():
        if "value" in spec:
            choices.append([spec["value"]])
        elif isinstance(spec.get("values"), list) and spec["values"]:
            choices.append(spec["values"])
        else:
            raise SeglabError(f"{path}: parameter {name} of a grid needs `value` or a list `values`, not {dict(spec)}")
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*choices)]


def _random(path: Path, parameters: Mapping[str, Mapping[str, Any]], cap: Any, seed: int) -> list[Parameters]:
    if not isinstance(cap, int) or cap < 1:
        raise SeglabError(f"{path}: method random draws without end: give run_cap, the number of runs")
    rng = np.random.default_rng(seed)
    return [{name: _draw(path, name, spec, rng) for name, spec in parameters.items()} for _ in range(cap)]


def _draw(path: Path, name: str, spec: Mapping[str, Any], rng: np.random.Generator) -> Any:
    try:
        if "value" in spec:
            return spec["value"]
        if "values" in spec:
            return spec["values"][int(rng.choice(len(spec["values"]), p=spec.get("probabilities")))]
        whole = isinstance(spec.get("min"), int) and isinstance(spec.get("max"), int)
        kind = spec.get("distribution", "normal" if "mu" in spec else "int_uniform" if whole else "uniform")
        value = _number(kind.removeprefix("q_"), spec, rng)
        step = spec.get("q", 1) if kind.startswith("q_") else None
        return round(value / step) * step if step else value
    except (KeyError, ValueError, TypeError) as error:
        raise SeglabError(f"{path}: parameter {name}: cannot draw from {dict(spec)} ({error!r})") from error


def _number(kind: str, spec: Mapping[str, Any], rng: np.random.Generator) -> float | int:
    """One draw; the names of distributions and of their settings are those of Weights & Biases."""
    if kind == "int_uniform":
        return int(rng.integers(spec["min"], spec["max"], endpoint=True))
    if kind == "uniform":
        return float(rng.uniform(spec["min"], spec["max"]))
    if kind == "log_uniform":
        return math.exp(rng.uniform(spec["min"], spec["max"]))
    if kind == "log_uniform_values":
        return math.exp(rng.uniform(math.log(spec["min"]), math.log(spec["max"])))
    if kind == "normal":
        return float(rng.normal(spec.get("mu", 0.0), spec.get("sigma", 1.0)))
    if kind == "log_normal":
        return math.exp(rng.normal(spec.get("mu", 0.0), spec.get("sigma", 1.0)))
    raise ValueError(f"unknown distribution {kind}")


def launcher_command(run: SweepRun, folder: Path) -> list[str]:
    """The command of a run with its folder: it starts there, or goes on from its last checkpoint."""
    before = run.command[: run.command.index("seglab")]
    place = [f"--run_dir={folder}", "--ckpt_path=last"]
    return [*before, sys.executable, "-m", "seglab", *run.arguments, *place]
