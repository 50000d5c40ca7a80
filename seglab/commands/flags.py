"""Parsers whose errors are the message alone."""

from typing import NoReturn

from jsonargparse import ArgumentParser

from seglab.types import SeglabError


class FlagParser(ArgumentParser):
    """Flags of one command; raises ``SeglabError`` where argparse would print its usage and exit."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"seglab {command}", description=description)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise SeglabError(message)
