"""Chain files: runs one after the other, of which each may take weights or labels of an earlier one."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from seglab.files import read_json, read_yaml, write_whole
from seglab.launch.directory import write_manifest
from seglab.launch.sweep import SweepRun
from seglab.runs.chains import CHAIN, Reference, read_stages
from seglab.runs.directory import BEST, CONFIG, LAST, MANIFEST, differences, read_config, writable
from seglab.runs.reading import read_run
from seglab.types import SeglabError, require

TAKEN = "taken.json"  # in a stage's run directory: what it took of which checkpoint
LABELS = "pseudo_labels"  # in a stage's run directory: what an earlier stage labelled for it
LABEL_OPTIONS = ("by", "quantile", "cap", "threshold")  # of `seglab pseudo-label`
POINTS = "points.csv"  # in a stage's run directory: the pixels that it learns from
POINT_OPTIONS = ("by", "pixels", "score", "top", "seed", "simulate")  # of `seglab pick`
SEED = "seed_everything"
SETTLED = ("run_dir", "ckpt_path", "method", "runs")  # flags that the chain gives its stages


@dataclass(frozen=True)
class Stage:
    """One run of a chain.

    Attributes:
        folder: ``<n>_<name>``, in the folder of the chain.
        method: its name in run directories: the chain's for the last stage, ``<chain>:<name>`` for the others.
        files: its config files, those of the whole chain first.
        flags: without dashes -> value.
        takes: flag -> what it takes of an earlier stage.
    """

    folder: str
    method: str
    files: tuple[str, ...]
    flags: dict[str, Any]
    takes: dict[str, Reference] = field(default_factory=dict)

    def arguments(self, chain: Path, files: Sequence[str], flags: Sequence[str]) -> list[str]:
        """What follows ``seglab fit``.

        Args:
            chain: folder of the chain.
            files: further config files, each ``-c FILE``, for all stages.
            flags: further flags for all stages; they win. A stage's own seed is added to theirs, so that it draws other
                numbers than the other stages in every repetition of the chain.
        """
        seeds = [int(flag.partition("=")[2]) for flag in flags if re.fullmatch(r"--seed_everything=\d+", flag)]
        seed = [f"--seed_everything={seeds[-1] + self.flags[SEED]}"] if seeds and SEED in self.flags else []
        return [
            *(word for file in self.files for word in ("-c", file)),
            *files,
            f"--method={self.method}",
            *(f"--{name}={_text(value)}" for name, value in self.flags.items()),
            *(f"--{name}={self._place(chain, name, taken)}" for name, taken in self.takes.items()),
            *flags,
            *seed,
        ]

    def _place(self, chain: Path, flag: str, taken: Reference) -> Path:
        if _is_labels(flag):
            return chain / self.folder / LABELS
        if is_points(flag):
            return chain / self.folder / POINTS
        return checkpoint(chain, taken) if taken["ckpt_path"] == "best" else chain / taken["run"]


@dataclass(frozen=True)
class Chain:
    """A chain file.

    Attributes:
        name: the method's name in run directories and tables.
        stages: in order.
    """

    name: str
    stages: list[Stage]


def read_chain(path: Path) -> Chain:
    """Read a chain file; names of config files in it are relative to it, or to the working directory.

    Raises:
        SeglabError: it is not a chain file; a stage takes something of a stage that is not before it; or a stage has
            flags that a chain sets itself.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict) or not content["stages"]:
        raise SeglabError(f"{path} is not a chain file: it has no stages")
    if unknown := sorted(set(content) - {"name", "config", "stages"}):
        raise SeglabError(f"{path}: unknown key {', '.join(unknown)}; a chain has name, config and stages")
    name = content.get("name", path.stem)
    require(_is_name(name), f"{path}: name", name, "give a word")
    common = _files(path, f"{path}: config", content.get("config", []))
    folders: dict[str, str] = {}
    stages = []
    for number, (stage, keys) in enumerate(content["stages"].items(), 1):
        where = f"{path}: stage {stage}"
        require(_is_name(stage), f"{path}: the name of a stage", stage, "give a word")
        require(isinstance(keys, dict | None), where, keys, "give its flags, one in each line")
        keys = dict(keys or {})
        files = [*common, *_files(path, f"{where}: config", keys.pop("config", []))]
        if set_here := [key for key in SETTLED if key in keys]:
            raise SeglabError(f"{where}: {set_here[0]} is set by the chain: leave it out")
        require(isinstance(keys.get(SEED, 0), int), f"{where}: {SEED}", keys.get(SEED), "give a whole number")
        takes = {key: _reference(where, key, value, folders) for key, value in keys.items() if isinstance(value, dict)}
        for what, is_kind in (("pseudo-labels", _is_labels), ("points", is_points)):
            if len([flag for flag in takes if is_kind(flag)]) > 1:
                raise SeglabError(f"{where} takes {what} twice: a run has one set of them")
        flags = {key: _near(path, value) for key, value in keys.items() if key not in takes}
        method = name if number == len(content["stages"]) else f"{name}:{stage}"
        folders[stage] = f"{number}_{stage}"
        stages.append(Stage(folders[stage], method, tuple(files), flags, takes))
    return Chain(name, stages)


def conflict(folder: Path, chain: Chain, configs: Mapping[str, Mapping[str, Any]]) -> str:
    """Why the chain in a folder cannot be continued as this chain; empty if it can.

    A stage that has not begun may have changed. One that has begun must have the same config, and what it took of
    earlier stages must still be what lies there.

    Args:
        configs: folder of each stage -> its complete config as it would be now.
    """
    began = [name for name in read_stages(folder) if _began(folder / name)]
    if gone := [name for name in began if name not in configs]:
        return f"the chain has no stage {gone[0]} any more, and {folder / gone[0]} has begun"
    for stage in chain.stages:
        run = folder / stage.folder
        if not _began(run):
            continue
        changed = differences(read_config(run), dict(configs[stage.folder])) if (run / CONFIG).is_file() else {}
        taken = {_bare(flag) for flag in stage.takes}
        lines = [f"  {key}: {old} -> {new}" for key, (old, new) in changed.items() if _bare(key) not in taken]
        if lines:
            return "\n".join([f"the chain has changed since {run} began:", *lines])
        if problem := changed_source(run, stage.takes):
            return problem
    return ""


def changed_source(run: Path, takes: Mapping[str, Reference]) -> str:
    """How what a stage took differs from what it would take now; empty if it does not, or has not taken it yet."""
    if not (run / TAKEN).is_file():
        return ""
    noted = read_json(run / TAKEN)
    before = {flag: {key: value for key, value in taken.items() if key != "sha256"} for flag, taken in noted.items()}
    if changed := differences(before, dict(takes)):
        return "\n".join(
            [f"the chain has changed since {run} began:"]
            + [f"  {key}: {old} -> {new}" for key, (old, new) in changed.items()]
        )
    for taken in noted.values():
        if "run" not in taken:
            continue
        source, file = run.parent / taken["run"], checkpoint(run.parent, taken)
        replaced = digest(file) != taken["sha256"] if file.is_file() else read_run(source).status != "finished"
        if replaced:
            return f"{run} began from an earlier {source.name} than the one there is now"
    return ""


def note_taken(run: Path, takes: Mapping[str, Reference]) -> None:
    """Write down which checkpoints a stage takes, before it does.

    Raises:
        SeglabError: an earlier stage has no such checkpoint, or the stage began from another one.
    """
    if problem := changed_source(run, takes):
        raise SeglabError(f"{problem}: remove {run} to train it again")
    if (run / TAKEN).is_file():
        return
    noted = {}
    for flag, taken in takes.items():
        if "run" not in taken:
            noted[flag] = taken
            continue
        file = checkpoint(run.parent, taken)
        if not file.is_file():
            raise SeglabError(f"{flag} of {run.name} needs {file}, which does not exist")
        noted[flag] = taken | {"sha256": digest(file)}
    write_whole(run / TAKEN, json.dumps(noted, indent=2) + "\n")


def write_folder(folder: Path, chain: Chain, runs: Sequence[SweepRun]) -> None:
    """Create or renew the folder of a chain.

    Raises:
        SeglabError: it cannot be written.
    """
    writable(folder, "choose another --runs or --run_dir")
    content = {"chain": chain.name, "stages": {stage.folder: stage.takes for stage in chain.stages}}
    write_whole(folder / CHAIN, json.dumps(content, indent=2) + "\n")
    (folder / MANIFEST).unlink(missing_ok=True)  # of stages that the chain no longer has
    write_manifest(folder, runs)


def in_turn(folder: Path, runs: Sequence[SweepRun]) -> Iterator[SweepRun]:
    """The stages, each when the one before it has finished."""
    for run in runs:
        yield run
        if read_run(folder / run.name).status != "finished":
            return


def checkpoint(chain: Path, taken: Reference) -> Path:
    """The checkpoint that a reference means."""
    return chain / taken["run"] / (BEST if taken["ckpt_path"] == "best" else LAST)


def digest(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def label_flags(takes: Mapping[str, Reference], chain: Path, run: Path) -> list[str]:
    """Arguments of ``seglab pseudo-label`` for the labels that a stage takes; none if it takes none."""
    for flag, taken in takes.items():
        if _is_labels(flag):
            options = [f"--{key}={value}" for key, value in taken.items() if key != "run"]
            return [str(chain / taken["run"]), f"--output={run / LABELS}", *options]
    return []


def point_flags(takes: Mapping[str, Reference], chain: Path, run: Path, words: Sequence[str]) -> list[str]:
    """Arguments of ``seglab pick`` for the pixels that a stage learns from; none if it takes none.

    Args:
        words: those of ``fit`` for this stage; without an earlier run they say which data are meant.
    """
    for flag, taken in takes.items():
        if is_points(flag):
            of = [str(chain / taken["run"])] if "run" in taken else list(words)
            options = [f"--{key}={_text(value)}" for key, value in taken.items() if key != "run"]
            return [*of, f"--output={run / POINTS}", *options]
    return []


def is_points(flag: str) -> bool:
    """Whether a flag names a list of labeled pixels."""
    return flag.rpartition(".")[2] == "points"


def _reference(where: str, flag: str, value: dict[str, Any], earlier: Mapping[str, str]) -> Reference:
    """``{run: STAGE, ...}`` with the stage's folder in the place of its name, and every default written out."""
    options = LABEL_OPTIONS if _is_labels(flag) else POINT_OPTIONS if is_points(flag) else ()
    first = is_points(flag) and "run" not in value  # drawn at random, before there is a run
    if "run" not in value and not first:
        raise SeglabError(
            f"{where}: {flag} has keys below it: write `{flag}.KEY` as one name; `{{run: STAGE}}` takes something of "
            "an earlier stage"
        )
    if not first and value["run"] not in earlier:
        near = get_close_matches(str(value["run"]), earlier, 1) or list(earlier) or ["none, as this is the first"]
        raise SeglabError(
            f"{where}: {flag} takes {value['run']}, and no earlier stage has that name: {', '.join(near)}"
        )
    known = {*options} if first else {"run", "ckpt_path", *options}
    if unknown := sorted(set(value) - known):
        raise SeglabError(f"{where}: {flag} has {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    if first:
        return dict(value)
    ckpt_path = value.get("ckpt_path", "last")
    require(ckpt_path in ("last", "best"), f"{where}: {flag}.ckpt_path", ckpt_path, "give last or best")
    return value | {"run": earlier[value["run"]], "ckpt_path": ckpt_path}


def _files(path: Path, what: str, value: Any) -> list[str]:
    files = [value] if isinstance(value, str) else value
    ok = isinstance(files, list) and all(isinstance(file, str) for file in files)
    require(ok, what, value, "give a list of config files")
    return [_near(path, file) for file in files]


def _near(path: Path, value: Any) -> Any:
    """A config file beside the chain file where there is one; else the value as it stands."""
    is_file = isinstance(value, str) and value.endswith(".yaml") and (path.parent / value).is_file()
    return os.path.normpath(path.parent / value) if is_file else value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.+-]+", value))


def _is_labels(flag: str) -> bool:
    return flag.rpartition(".")[2] == LABELS


def _began(run: Path) -> bool:
    return (run / CONFIG).is_file() or (run / TAKEN).is_file()


def _bare(key: str) -> str:
    return key.replace(".init_args.", ".")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
