"""Text files: read from outside as UTF-8, checked, and named when they are wrong; written whole or not at all."""

import json
from pathlib import Path
from typing import Any

import yaml

from seglab.types import SeglabError

MOST = 1_000_000  # values in a YAML file when every alias is written out
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML has it, is ten times as fast


def read_text(path: Path) -> str:
    """
    Raises:
        SeglabError: the file cannot be read, or is not text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SeglabError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SeglabError(f"{path} is not text in UTF-8 ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SeglabError: as ``read_text``; or it is not valid, or has no keys.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise SeglabError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise SeglabError(f"{path} holds no keys")
    return content


def read_yaml(path: Path) -> Any:
    """Plain values; tags that would build Python objects are refused.

    Raises:
        SeglabError: as ``read_text``; or as ``parse_yaml``.
    """
    try:
        return parse_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise SeglabError(f"{path} is not valid YAML: {_one_line(error)}") from error


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML document.

    Raises:
        yaml.YAMLError: it is not valid, has a tag that would build an object, a key that stands twice, of which YAML
            would keep the last, or aliases that contain themselves or grow beyond all bounds.
    """
    check_yaml(text)
    try:
        return yaml.load(text, SafeLoader)
    except (ValueError, RecursionError) as error:  # dates and numbers that are none
        raise yaml.YAMLError(str(error)) from error


def check_yaml(text: str) -> None:
    """Raise as ``parse_yaml`` for keys that stand twice and for aliases."""
    try:
        root = yaml.compose(text, SafeLoader)
        if root is not None:
            _values(root, {})
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


def write_whole(path: Path, text: str) -> None:
    """Replace a text file in one step: who reads it, or is killed here, finds the old text or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_output(path: Path, text: str) -> None:
    """``write_whole`` for the file of ``--output``, with its folder.

    Raises:
        SeglabError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise SeglabError(f"cannot write {path} ({error.strerror}): choose another --output") from error


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).replace('in "<unicode string>", ', "in ").split())


def _values(node: yaml.Node, counts: dict[int, int]) -> int:
    """Number of values below a node."""
    known = counts.get(id(node))
    if known == 0:
        raise yaml.YAMLError(f"an alias stands for what contains it (line {node.start_mark.line + 1})")
    if known:
        return known
    counts[id(node)] = 0
    children: list[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            twice = sorted({str(name) for tag, name in keys if keys.count((tag, name)) > 1})
            raise yaml.YAMLError(f"{', '.join(twice)} stands twice (line {node.start_mark.line + 1})")
        children = [part for pair in node.value for part in pair]
    counts[id(node)] = 1 + sum(_values(child, counts) for child in children)
    if counts[id(node)] > MOST:
        raise yaml.YAMLError(f"its aliases stand for more than {MOST} values (line {node.start_mark.line + 1})")
    return counts[id(node)]
