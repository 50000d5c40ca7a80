"""One way to refuse a setting: name it, show it, say what would be right."""

from seglab.types import SeglabError


def check(ok: bool, setting: str, value: object, remedy: str) -> None:
    """Raise SeglabError("<setting> is <value>: <remedy>") unless ``ok``."""
    if not ok:
        raise SeglabError(f"{setting} is {value}: {remedy}")
