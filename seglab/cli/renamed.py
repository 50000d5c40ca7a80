"""Keys of configs that have another name now: an error names it, and runs of before are read all the same."""

from collections.abc import Mapping
from typing import Any

# Old key -> new key, both without init_args. Their values mean the same.
RENAMED = {
    "start": "init_from",
    "schedule.head_factor": "schedule.head_lr_mult",
    "model.strong_statistics": "model.update_bn_on_strong",
}


def renamed(key: str) -> tuple[str, str] | None:
    """The old key that a dotted key is, or lies in, and the new one in its place.

    Args:
        key: with or without init_args; ``model.init_args.strong_statistics`` is ``model.strong_statistics``.
    """
    plain = ".".join(part for part in key.split(".") if part != "init_args")
    for old, new in RENAMED.items():
        if plain == old or plain.startswith(f"{old}."):
            return old, new
    return None


def translated(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config with every old key under its new name; a rename never leaves its section."""
    result = {}
    for name, value in config.items():
        key = f"{prefix}.{name}".removeprefix(".")
        found = renamed(key)
        name = found[1].rpartition(".")[2] if found else name
        result[name] = translated(value, key) if isinstance(value, dict) else value
    return result
