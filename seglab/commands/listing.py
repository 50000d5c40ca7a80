"""``seglab list``: what there is."""

import inspect
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seglab.types import SeglabError

EXPERIMENTS = Path("experiments")
KINDS = ("methods", "additions", "benchmarks", "networks", "data")


def show(kinds: list[str]) -> None:
    """Print the classes and files of a kind.

    Args:
        kinds: one of ``KINDS``.

    Raises:
        SeglabError: it is none of them.
    """
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise SeglabError(f"seglab list {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    from seglab import data, methods, networks

    (what,) = kinds
    if what == "benchmarks":
        _list_files("benchmark")
        return
    module, base = {
        "methods": (methods, methods.Method),
        "additions": (methods, methods.Addition),
        "networks": (networks, networks.Network),
        "data": (data, data.SegmentationData),
    }[what]
    table = Table("class_path", "what it is", title=what)
    for name, part in sorted(vars(module).items()):
        if inspect.isclass(part) and issubclass(part, base) and part is not base:
            table.add_row(name, inspect.getdoc(part).split("\n\n")[0].replace("\n", " "))
    Console().print(table)
    folder = {"methods": "method", "additions": "addition", "networks": "network", "data": "taxonomy"}[what]
    _list_files(folder)


def _list_files(folder: str) -> None:
    files = sorted((EXPERIMENTS / folder).glob("*.yaml"))
    if not files:
        print(f"no {EXPERIMENTS / folder}/*.yaml here: run from the checkout to list its files")
        return
    table = Table("file", "what it is", title=f"{EXPERIMENTS / folder}")
    for file in files:
        first = file.read_text().partition("\n")[0]
        table.add_row(file.name, first.removeprefix("#").strip() if first.startswith("#") else "")
    Console().print(table)
