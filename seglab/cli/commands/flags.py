"""Parsers whose errors are the message alone."""

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
