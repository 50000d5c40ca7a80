"""``seglab list``: what there is, read from the source: nothing is imported, so the answer comes at once."""

import ast
from inspect import cleandoc
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seglab.types import SeglabError

EXPERIMENTS = Path("experiments")
KINDS = ("methods", "additions", "benchmarks", "networks", "data")
PACKAGE = Path(__file__).parents[2]


def show(kinds: list[str]) -> None:
    """Print the classes and files of a kind.

    Args:
        kinds: one of ``KINDS``.

    Raises:
        SeglabError: it is none of them.
    """
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise SeglabError(f"seglab list {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    (what,) = kinds
    if what == "benchmarks":
        _list_files("benchmark")
        return
    package, base = {
        "methods": ("methods", "Method"),
        "additions": ("methods", "Addition"),
        "networks": ("networks", "Network"),
        "data": ("data", "SegmentationData"),
    }[what]
    table = Table("class_path", "what it is", title=what)
    for name, first in classes(package, base).items():
        table.add_row(name, first)
    Console().print(table)
    folder = {"methods": "method", "additions": "addition", "networks": "network", "data": "taxonomy"}[what]
    _list_files(folder)


def classes(package: str, base: str) -> dict[str, str]:
    """The classes below ``base`` that a package of seglab exports, with the first paragraph of their docstrings."""
    exported: dict[str, ast.ClassDef] = {}
    for part in ast.parse((PACKAGE / package / "__init__.py").read_text()).body:
        if isinstance(part, ast.ImportFrom) and part.module:
            file = (PACKAGE.parent / part.module.replace(".", "/")).with_suffix(".py")
            written = {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)}
            exported |= {alias.name: written[alias.name] for alias in part.names if alias.name in written}

    def parents(name: str) -> list[str]:
        return [parent.id for parent in exported[name].bases if isinstance(parent, ast.Name)]

    def below(name: str) -> bool:
        return base in parents(name) or any(below(parent) for parent in parents(name) if parent in exported)

    return {
        name: cleandoc(ast.get_docstring(exported[name]) or "").split("\n\n")[0].replace("\n", " ")
        for name in sorted(exported)
        if below(name) and "ABC" not in parents(name)
    }


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
