"""How a command line becomes a config: short errors, no silent losses, run directories in place of files."""

import ast
import inspect
import logging
import re
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace, get_loader, set_loader, set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser

from seglab.cli.renamed import renamed, replaced
from seglab.files import SafeLoader, check_yaml, read_yaml
from seglab.labels import LabelSpace
from seglab.runs import recipes
from seglab.runs.arguments import files_first
from seglab.types import SeglabError

DROPPED = re.compile(r"Due to class_path change from '([\w.]+)' to .*, discarding init_args: (.*)\.")
SECTIONS = ("trainer", "schedule", "panels")  # of keys, that are no class


_load = get_loader("yaml")


def _load_checked(text: str) -> Any:
    """jsonargparse's loader, which is a safe one, for files that configs name and for flags."""
    check_yaml(text)
    try:
        content = _load(text)
    except ValueError as error:  # invalid dates and numbers
        raise yaml.YAMLError(str(error)) from error
    if isinstance(content, dict):  # without what `expand_run` has made of a recipe
        content = {key: value for key, value in content.items() if key not in recipes.KEYS}
    return content


set_loader("yaml", _load_checked, (yaml.YAMLError,))
set_parsing_settings(subclasses_enabled=[LabelSpace])  # given by the data as an object, not as keys


class Parser(LightningArgumentParser):
    """LightningCLI's parser; its errors are the message alone, without usage and without ``Union subtypes``."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # of a part of the config: the parser of the whole adds the key
            super().error(message, ex)
        raise SeglabError(message)


def check_sections(config: Namespace) -> None:
    """Refuse what jsonargparse lets pass: a text in the place of a section, and functions in the place of classes.

    Raises:
        SeglabError: names the key.
    """
    for name in SECTIONS:
        if not isinstance(config[name], Namespace):
            raise SeglabError(f"{name} is {config[name]!r}: it is a section, so give its keys")
    _refuse_functions(config, "")


def _refuse_functions(part: Any, key: str) -> None:
    """``os.system`` as a ``class_path`` would run what stands in its ``init_args``."""
    if isinstance(part, Namespace):
        name = part.get("class_path")
        if isinstance(name, str) and "init_args" in part and not isinstance(resolve_name(name), type):
            raise SeglabError(f"{key}.class_path: {name} is no class")
        part = vars(part)
    if isinstance(part, dict | list):
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            _refuse_functions(value, f"{key}.{name}".removeprefix("."))


class _Announce(logging.Handler):
    """jsonargparse logs the arguments that a changed class_path drops; a dropped flag must be seen."""

    def emit(self, record: logging.LogRecord) -> None:
        message = str(record.msg)  # unformatted: the others would write out whole configs
        if (dropped := DROPPED.fullmatch(message)) and not _are_defaults(dropped[1], dropped[2]):
            print(f"seglab: note: {message}", file=sys.stderr)


def _are_defaults(name: str, arguments: str) -> bool:
    """Whether a class has these arguments, written as a dict, without being told: nobody misses them."""
    defaults = {key: part.default for key, part in inspect.signature(resolve_name(name)).parameters.items()}
    try:
        return all(key in defaults and defaults[key] == value for key, value in ast.literal_eval(arguments).items())
    except ValueError:  # values that are no literals
        return False


def config_logger() -> logging.Logger:
    logger = logging.getLogger("seglab.config")
    if not logger.handlers:
        logger.addHandler(_Announce())
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    return logger


def check_words(words: list[str]) -> None:
    """Read the files that ``-c`` names, as jsonargparse would not say which of them is wrong; refuse renamed keys.

    Raises:
        SeglabError: a file is not text, not YAML, no mapping, or names another; or a key has another name now.
    """
    files, flags = files_first(words)
    for file in files:
        if file in ("-c", "--config"):
            continue
        path = Path(file.removeprefix("--config="))
        if not path.is_file():
            raise SeglabError(f"-c {path}: there is no such file")
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise SeglabError(f"{path} is no config: its top level has no keys")
        if "config" in content:
            raise SeglabError(f"{path} names another config: give each with a -c of its own")
        if content:
            for key, line in key_lines(path.read_text()).items():
                _refuse_old(key, f"{path}, line {line}")
    for flag in flags:
        if flag.startswith("--"):
            _refuse_old(flag[2:].partition("=")[0], flag)


def _refuse_old(key: str, place: str) -> None:
    if found := renamed(key):
        raise SeglabError(f"{place}: the key {found[0]} is named {found[1]} now")
    if found := replaced(key):
        raise SeglabError(f"{place}: there is no key {found[0]} any more: {found[1]}")


def key_lines(text: str) -> dict[str, int]:
    """Dotted keys of a YAML mapping -> lines, from 1."""
    lines: dict[str, int] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = f"{prefix}.{key.value}".removeprefix(".")
                lines[name] = key.start_mark.line + 1
                walk(value, name)

    walk(yaml.compose(text, SafeLoader), "")  # the loader of the config: they differ on tabs
    return lines
