"""Parsers whose errors are the message alone."""

from collections.abc import Collection
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from seglab.types import SeglabError


class FlagParser(ArgumentParser):
    """Flags of one command; raises ``SeglabError`` where argparse would print its usage and exit."""

    def __init__(self, command: str = "", description: str = "", **options: Any) -> None:
        # the options are jsonargparse's own, for the parsers that it makes of this class for parts of a flag
        super().__init__(description=description, **{"prog": f"seglab {command}", **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise SeglabError(message)


def split_flags(flags: list[str], own: Collection[str]) -> tuple[list[str], list[str]]:
    """Flags of a command (each with its value) and of its section ``slurm``, and those of ``fit``.

    Args:
        own: names of the command's flags, with dashes, that take a value.
    """
    mine: list[str] = []
    rest: list[str] = []
    words = iter(flags)
    for word in words:
        name, equals, _ = word.partition("=")
        is_own = name in own or name == "--slurm" or name.startswith("--slurm.")
        if word in ("--help", "-h", "--dry-run") or (equals and is_own):
            mine.append(word)
        elif is_own:
            mine += [word, *([value] if (value := next(words, None)) is not None else [])]
        else:
            rest.append(word)
    return mine, rest
