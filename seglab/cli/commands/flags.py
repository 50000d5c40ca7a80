"""Parsers whose errors are the message alone."""

import argparse
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NoReturn

from jsonargparse import ArgumentParser

from seglab.types import SeglabError

if TYPE_CHECKING:
    from seglab.methods import Method
    from seglab.networks import Network


class FlagParser(ArgumentParser):
    """Flags of one command; raises ``SeglabError`` where argparse would print its usage and exit."""

    def __init__(self, command: str = "", description: str = "", **options: Any) -> None:
        # the options are jsonargparse's own, for the parsers that it makes of this class for parts of a flag
        super().__init__(description=description, **{"prog": f"seglab {command}", **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise SeglabError(message)


class RunParser(argparse.ArgumentParser):
    """Flags of a command on the network of a run; the errors of ``FlagParser``."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"seglab {command}", description=description, allow_abbrev=False)
        self.add_argument("run_dir", help="Run directory.")
        self.add_argument("--ckpt_path", default="last", help="last, best or a checkpoint file.")
        self.add_argument("--by", default="student", help="Which network: student, or teacher if there is one.")

    def error(self, message: str) -> NoReturn:
        raise SeglabError(message)


def network_by(method: "Method", name: str) -> "Network":
    """The network that ``--by`` names; raises SeglabError where the run has none of that name."""
    networks: Any = method.evaluated()
    if name not in networks:
        raise SeglabError(f"--by {name}: this run has {' and '.join(networks)}")
    return networks[name]


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
