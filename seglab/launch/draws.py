"""Random draws from the parameters of a sweep; names and meanings are those of Weights & Biases."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def draw(spec: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """One value of a parameter.

    Raises:
        KeyError, ValueError, TypeError: the parameter has no such distribution.
    """
    if "value" in spec:
        return spec["value"]
    if "values" in spec:
        return spec["values"][int(rng.choice(len(spec["values"]), p=spec.get("probabilities")))]
    kind = distribution(spec)
    value = _number(kind.removeprefix("q_"), spec, rng)
    step = spec.get("q", 1) if kind.startswith("q_") else None
    return round(value / step) * step if step else value


def distribution(spec: Mapping[str, Any]) -> str:
    """Its name; where the file leaves it out, what its settings say."""
    whole = isinstance(spec.get("min"), int) and isinstance(spec.get("max"), int)
    return spec.get("distribution", "normal" if "mu" in spec else "int_uniform" if whole else "uniform")


def _number(kind: str, spec: Mapping[str, Any], rng: np.random.Generator) -> float | int:
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
