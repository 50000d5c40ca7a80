"""Config files of a run that undo each other."""

import functools
import itertools
from pathlib import Path

from seglab.files import read_yaml
from seglab.launch.sweep import SweepRun
from seglab.runs.arguments import expand_run
from seglab.types import SeglabError


def refuse_conflicts(run: SweepRun) -> None:
    """Two files of one run that name different benchmarks or different methods, of which the later would win.

    Other keys may stand in several files: that is how a recipe goes on top of a benchmark and a method.

    Raises:
        SeglabError: names both files.
    """
    words = expand_run(run.arguments)
    files = [after for word, after in itertools.pairwise(words) if word in ("-c", "--config")]
    for key, what in (("benchmark", "two benchmarks"), ("model", "two methods")):
        named = [(file, value) for file in files if (value := _identity(file)[key])]
        for (first, one), (second, other) in itertools.pairwise(named):
            if one != other:
                raise SeglabError(f"{first} and {second} are {what}, {one} and {other}: a run takes one of them")


@functools.cache
def _identity(file: str) -> dict[str, str]:
    """The benchmark and the method class that a config file names; a broken file is for the parser to name."""
    try:
        content = read_yaml(Path(file))
    except SeglabError:
        content = None
    content = content if isinstance(content, dict) else {}
    model = content.get("model")
    name = model.get("class_path", "") if isinstance(model, dict) else model or ""
    return {"benchmark": str(content.get("benchmark") or ""), "model": str(name).rpartition(".")[2]}
