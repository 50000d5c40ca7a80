"""seglab: semantic segmentation that learns from few labels or from another domain's labels."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load":  # imported late: it brings torch and Lightning
        from seglab.cli.load import load

        return load
    raise AttributeError(f"module 'seglab' has no attribute {name!r}")
