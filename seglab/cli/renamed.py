"""Keys of configs that have another name now: an error names it, and runs of before are read all the same."""

from collections.abc import Mapping
from typing import Any

# Old key -> new key, both without init_args. Their values mean the same.
RENAMED = {
    "start": "init_from",
    "schedule.head_factor": "schedule.head_lr_mult",
    "model.strong_statistics": "model.update_bn_on_strong",
    "data.statistics": "data.counts",
    "data.source.statistics": "data.source.counts",
    "data.target.statistics": "data.target.counts",
}

# Key that is no more -> what to write for it, because its value means something else now.
REPLACED = {
    "network.aux": "give network.aux_weight, the weight of the auxiliary head's loss (0: no head)",
    "model.aux_supervised_weight": "give network.aux_weight, which every method uses",
    "model.freeze_norm": "give network.train_norms: frozen",
    "model.mix": "give model.mixing: CutMix, ClassMix or CutOut",
    "model.mix_probability": "give model.mixing with its probability",
    **{
        f"model.{name}": f"give model.contrast.{name}"
        for name in (
            *("anchors", "negatives", "queue", "first_queue", "enqueued"),
            *("anchor_confidence", "low_rank", "high_rank"),
        )
    },
}


def renamed(key: str) -> tuple[str, str] | None:
    """The old key that a dotted key is, or lies in, and the new one in its place.

    Args:
        key: with or without init_args; ``model.init_args.strong_statistics`` is ``model.strong_statistics``.
    """
    return _found(key, RENAMED)


def replaced(key: str) -> tuple[str, str] | None:
    """The key of ``REPLACED`` that a dotted key is, or lies in, and what to write for it."""
    return _found(key, REPLACED)


def _found(key: str, table: Mapping[str, str]) -> tuple[str, str] | None:
    plain = ".".join(part for part in key.split(".") if part != "init_args")
    return next(((old, new) for old, new in table.items() if plain == old or plain.startswith(f"{old}.")), None)


def translated(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config with every old key under its new name; a rename never leaves its section."""
    result = {}
    for name, value in config.items():
        key = f"{prefix}.{name}".removeprefix(".")
        found = renamed(key)
        name = found[1].rpartition(".")[2] if found else name
        result[name] = translated(value, key) if isinstance(value, dict) else value
    return result
