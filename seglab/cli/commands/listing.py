"""``seglab list``: what there is, read from the source: nothing is imported, so the answer comes at once."""

import ast
from inspect import cleandoc
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seglab.runs import recipes
from seglab.types import SeglabError

KINDS = ("methods", "additions", "benchmarks", "published", "networks", "criteria", "data", "sweeps", "chains")
FILES = {"benchmarks": "benchmark", "sweeps": "sweeps", "chains": "chain"}  # of experiments that are no class
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
    if what == "published":
        _list_published()
        return
    if what in FILES:
        _list_files(FILES[what])
        return
    if what == "criteria":
        files = [PACKAGE / "ops" / name for name in ("losses.py", "criteria.py")]
        _print_classes(what, classes_in({node.name: node for file in files for node in _classes(file)}, "Criterion"))
        return
    package, base = {
        "methods": ("methods", "Method"),
        "additions": ("methods", "Addition"),
        "networks": ("networks", "Network"),
        "data": ("data", "SegmentationData"),
    }[what]
    _print_classes(what, classes(package, base))
    folder = {"methods": "method", "additions": "addition", "networks": "network", "data": "taxonomy"}[what]
    _list_files(folder)


def _print_classes(title: str, found: dict[str, str]) -> None:
    table = Table("class_path", "what it is", title=title)
    for name, first in found.items():
        table.add_row(name, first)
    Console().print(table)


def classes(package: str, base: str) -> dict[str, str]:
    """The classes below ``base`` that a package of seglab exports, with the first paragraph of their docstrings."""
    exported: dict[str, ast.ClassDef] = {}
    for part in ast.parse((PACKAGE / package / "__init__.py").read_text()).body:
        if isinstance(part, ast.ImportFrom) and part.module:
            file = (PACKAGE.parent / part.module.replace(".", "/")).with_suffix(".py")
            written = {node.name: node for node in _classes(file)}
            exported |= {alias.name: written[alias.name] for alias in part.names if alias.name in written}
    return classes_in(exported, base)


def _classes(file: Path) -> list[ast.ClassDef]:
    return [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]


def classes_in(exported: dict[str, ast.ClassDef], base: str) -> dict[str, str]:
    """Those below ``base`` among classes by name, with the first paragraph of their docstrings."""

    def parents(name: str) -> list[str]:
        return [parent.id for parent in exported[name].bases if isinstance(parent, ast.Name)]

    def below(name: str) -> bool:
        return base in parents(name) or any(below(parent) for parent in parents(name) if parent in exported)

    return {
        name: cleandoc(ast.get_docstring(exported[name]) or "").split("\n\n")[0].replace("\n", " ")
        for name in sorted(exported)
        if below(name) and "ABC" not in parents(name)
    }


def _list_files(kind: str) -> None:
    table = Table("name", "what it is", title=f"{kind}: files by name")
    for name, file in recipes.files(kind).items():
        table.add_row(name, _first_line(file))
    Console().print(table)


def _list_published() -> None:
    table = Table(title="published recipes: seglab fit BENCHMARK NAME")
    for column in ("benchmark", "name"):
        table.add_column(column, no_wrap=True)
    table.add_column("mIoU by split, as published")
    for file in recipes.files("published").values():
        recipe = recipes.read(file)
        scores = {split: row[recipes.SCORE] for split, row in recipe["splits"].items() if recipes.SCORE in row}
        listed = ", ".join(str(score) if split == "all" else f"{split}: {score}" for split, score in scores.items())
        table.add_row(recipe["extends"]["benchmark"], recipe["method"], listed)
    Console().print(table)


def _first_line(file: Path) -> str:
    first = file.read_text().partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
