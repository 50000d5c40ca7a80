"""Where a run lives and how it is found again: ``runs/<benchmark>/<method>/s<seed>-<time>/``."""

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from seglab.files import read_json, read_yaml, write_whole
from seglab.types import SeglabError

CONFIG = "config.yaml"
METRICS = "metrics.csv"
SUMMARY = "summary.json"
LOG = "log.txt"  # where a launcher started the run
MANIFEST = "sweep.json"  # in the folder of a sweep: run name -> parameters
CONFUSION = "confusion.json"
PANELS = "panels/panels.json"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
PREVIOUS = "checkpoints/previous.ckpt"  # what was last.ckpt before, should that be damaged
ROOM = 4 << 20  # bytes that a folder must take before a run begins there: less than any checkpoint

# Keys that say where and how a run is executed, not what it computes: they may differ when it is resumed.
PLACE = (
    *("ckpt_path", "runs", "run_dir", "checkpoint_every", "panels"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.max_time"),
    *("trainer.logger", "trainer.enable_progress_bar", "trainer.profiler"),
)
PLACE_DATA = ("root", "workers", "counts")  # of any data set in the data section


def create(folder: Path) -> Path:
    """Create the folder of a new run.

    Raises:
        SeglabError: it exists and holds a run, or it cannot be written.
    """
    if (folder / CONFIG).exists():
        raise SeglabError(
            f"{folder} already holds a run: continue it with `seglab fit {folder}` or choose another --run_dir"
        )
    writable(folder, "choose another --runs")
    return folder


def writable(folder: Path, remedy: str) -> None:
    """Create a folder and see that a file fits into it: a full disk still takes an empty one.

    Raises:
        SeglabError: it cannot be written; ends with the remedy.
    """
    probe = folder / ".writable"
    try:
        write_whole(probe, bytes(ROOM), durable=True)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise SeglabError(f"cannot write to {folder} ({error.strerror}): {remedy}") from error


def resumable(folder: Path) -> list[Path]:
    """The checkpoints that the run of a folder can be resumed from, the newest first."""
    return [path for path in (folder / LAST, folder / PREVIOUS) if path.is_file()]


def folder_of(runs: str | Path, benchmark: str, method: str) -> Path:
    """Where runs of a method on a benchmark lie; ``camvid@1/8`` is the folder ``camvid@1_8``."""
    return Path(runs) / re.sub(r"[^\w.@+-]+", "_", benchmark) / method.lower()


def new_id(parent: Path, seed: int) -> str:
    """``s<seed>-<time>``, with a counter where two runs start in one second."""
    stem = f"s{seed}-{datetime.now():%Y%m%d-%H%M%S}"
    taken = [path.name for path in parent.glob(f"{stem}*")] if parent.is_dir() else []
    return f"{stem}-{len(taken) + 1}" if taken else stem


def find_last(parent: Path, seed: int, config: dict[str, Any]) -> Path | None:
    """The newest run of this seed below ``parent`` whose config is the same and that has a checkpoint.

    Raises:
        SeglabError: runs of this seed have checkpoints but none has this config; names the keys that differ.
    """
    found = [folder for folder in parent.glob(f"s{seed}-*") if resumable(folder)]
    found.sort(key=lambda folder: resumable(folder)[0].stat().st_mtime, reverse=True)
    for folder in found:
        if not differences(read_config(folder), config):
            return folder
    if found:
        raise SeglabError(
            f"no run of this configuration to resume. The newest of seed {seed}, {found[0]}, differs in\n"
            f"{_listed(differences(read_config(found[0]), config))}\n"
            f"To continue it all the same: seglab fit {found[0]} --KEY VALUE ...; to start anew, leave --ckpt_path out"
        )
    return None


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a run.

    Raises:
        SeglabError: the folder is not a run directory, or its config is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise SeglabError(f"{folder} is not a run directory: it has no {CONFIG}")
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise SeglabError(f"{path} is not a config: its top level has no keys")
    return config


def read_manifest(folder: Path) -> dict[str, Any]:
    """Runs of a sweep: name -> parameters.

    Raises:
        SeglabError: the folder is not that of a sweep.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SeglabError(f"{folder} is not the folder of a sweep: it has no {MANIFEST}")
    try:
        manifest = read_json(path)
    except SeglabError as error:
        raise SeglabError(f"{error}: remove it, and `seglab sweep` writes it again") from error
    if outside := [name for name in manifest if Path(name).name != name]:
        raise SeglabError(f"{path} names runs that do not lie beside it: {', '.join(outside)}")
    return manifest


def update_config(folder: Path, text: str) -> None:
    """Make ``text`` the config of a run that continues; a config that computes something else is kept beside it."""
    changed = differences(read_config(folder), yaml.safe_load(text))
    if not changed:
        return
    kept = folder / f"config-until-{datetime.now():%Y%m%d-%H%M%S}.yaml"
    write_whole(kept, (folder / CONFIG).read_text())
    write_whole(folder / CONFIG, text)
    news = f"the run continues with another config; the old one is {kept.name}"
    print(f"seglab: note: {news}\n{_listed(changed)}", file=sys.stderr)


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys that differ in what is computed -> (old, new); keys that only say where it runs are left out."""
    before, after = flatten(old), flatten(new)
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not _says_where(key)
    }


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested config as dotted keys; lists are values."""
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        key: value
        for name, part in config.items()
        for key, value in flatten(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def _says_where(key: str) -> bool:
    section, last = key.partition(".")[0], key.rpartition(".")[2]
    return (section == "data" and last in PLACE_DATA) or any(key == p or key.startswith(f"{p}.") for p in PLACE)


def _listed(changed: dict[str, tuple[Any, Any]]) -> str:
    return "\n".join(f"  {key}: {old} -> {new}" for key, (old, new) in changed.items())
