"""seglab: semantic segmentation that learns from few labels or from another domain's labels."""

import random
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load":  # imported late: it brings torch and Lightning
        state = random.getstate()
        from seglab.cli.load import load

        random.setstate(state)  # a package draws a number when it is imported
        return load
    raise AttributeError(f"module 'seglab' has no attribute {name!r}")
