"""What jsonargparse says about a wrong config, in one line: the full key, where it stands, what is near."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from seglab.cli.parser import key_lines
from seglab.runs.arguments import files_first

KEY = re.compile(r'Parser key "([^"]+)":')
CLASS = re.compile(r"Problem with given class_path '([^']+)'")


def explain(message: str, words: list[str], keys: Iterable[str], bases: Mapping[str, type]) -> str:
    """One line for a message of jsonargparse.

    Args:
        message: as it is, over several lines.
        words: the command line that it is about.
        keys: all dotted keys of the parser.
        bases: section -> base of its classes.
    """
    parents = list(dict.fromkeys(KEY.findall(message)))  # some parts say it twice
    owner = CLASS.findall(message)
    if found := re.search(r"[Uu]nrecognized arguments: --(\S+)", message):
        return _unknown(found[1].partition("=")[0], keys, words)
    if found := re.search(r"[Gg]roup '([^']+)' does not accept option '([^']+)'", message):
        return _unknown(f"{found[1]}.{found[2]}", keys, words)
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        if not owner:
            return _unknown(found[1], keys, words)
        names = [*signature(resolve_name(owner[-1])).parameters] if parents else []
        section = ".".join(parents)
        return _unknown(f"{section}.{found[1]}", [f"{section}.{name}" for name in names], words)
    key = ".".join(parents)
    if found := re.search(r"arguments? (?:is|are) required: (.+)", message):
        return f"{key or 'the config'} lacks {found[1].strip()}{_place(key, words)}"
    if found := re.search(r"Expected a path but (.+) either not accessible or invalid", message):
        value = found[1].strip("[]'\"")
        if value.endswith((".yaml", ".yml")):
            return f"{key} is {value}{_place(key, words)}: there is no such file"
        classes = sorted(_below(bases[key])) if key in bases else []
        return f"{key} is {value}{_place(key, words)}: there is no such class{_near(value, classes)}"
    value = re.search(r"(?:Given value|Got value): (.*?)(?:\. Got value|$)", message, re.MULTILINE)
    if key and value and value[1].strip(" .") == "None" and key in bases:
        return (
            f"the config has no {key}{_place(key, words)}: give a benchmark, which has one (`seglab list "
            f"benchmarks`), or write {key} as those in experiments/benchmark do"
        )
    if key and value and (choices := _choices(message)):
        return f"{key} is {value[1].strip(' .')}{_place(key, words)}: choose one of {', '.join(choices)}"
    lines = [line.strip(" -") for line in message.splitlines() if not KEY.search(line) and not CLASS.search(line)]
    told = "; ".join(line for line in lines if line)
    return f"{key}{_place(key, words)}: {told}" if key else told


def _choices(message: str) -> list[str]:
    """What a key may be, where its type is a choice of plain values and nothing else."""
    expected = re.findall(r"Expected an? ([^;\n]+)", message)
    literals = [kind for kind in expected if kind.startswith("typing.Literal[")]
    if not literals or any("NoneType" not in kind for kind in expected if kind not in literals):
        return []
    values = [part.strip(" '\"") for kind in literals for part in kind[15 : kind.index("]")].split(",")]
    return list(dict.fromkeys(values))


def _unknown(key: str, keys: Iterable[str], words: list[str]) -> str:
    plain = key.replace("init_args.", "")
    if "." not in plain or plain.partition(".")[0] not in {name.partition(".")[0] for name in keys}:
        keys = {name.partition(".")[0] for name in keys} - {"help", "print_config"}
        near = _near(plain.partition(".")[0], keys)
    else:
        near = _near(plain, keys)
    first = key.partition(".")[0]
    if first in ("class_path", "init_args"):
        file = next((Path(word) for word in reversed(files_first(words)[0]) if _lines(word).get(first)), None)
        return f"{file} is the content of one section, as of network: give it with --network {file} in place of -c"
    return f"there is no key {plain}{_place(plain, words)}{near}"


def _near(word: str, choices: Iterable[str]) -> str:
    names = sorted(set(choices))
    near = get_close_matches(word, names, 3, 0.6)
    if near:
        return f"; near it: {', '.join(near)}"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= 40 else ""


def _place(key: str, words: list[str]) -> str:
    """Where a key stands: a flag, which wins, or the last file that has it."""
    files, flags = files_first(words)
    for flag in flags:
        if key and flag.startswith("--") and flag[2:].partition("=")[0].replace("init_args.", "") == key:
            return f" (flag --{key})"
    for word in reversed(files):
        for name, line in _lines(word).items():
            if key and name.replace("init_args.", "") == key:
                return f" ({word.removeprefix('--config=')}, line {line})"
    return ""


def _lines(word: str) -> dict[str, int]:
    path = Path(word.removeprefix("--config="))
    return key_lines(path.read_text()) if "\n" not in word and path.is_file() else {}


def _below(base: Any) -> set[str]:
    """Names of the classes below a class that one may give: those without abstract methods."""
    found = set()
    for kind in base.__subclasses__():
        found |= _below(kind)
        if not getattr(kind, "__abstractmethods__", None) and not kind.__name__.startswith("_"):
            found.add(kind.__name__)
    return found
