"""The vocabulary of the whole program: what a stream yields and what a network returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    from torch import Tensor  # the command line and the launchers do without torch


class Sample(TypedDict):
    """One batch of one stream. The unlabeled stream has no ``mask``: a training label cannot leak."""

    image: Tensor  # B 3 H W; uint8 from the loader, float32 in [0, 1] inside a method
    valid: Tensor  # B H W bool; False on padding
    key: list[str]  # B file ids, for messages
    mask: NotRequired[Tensor]  # B H W int64 class index or 255 (ignore); labeled stream only
    pseudo: NotRequired[Tensor]  # B H W int64 class index or 255 (none): an earlier run's labels; unlabeled only


class Batch(TypedDict):
    """What ``Method.losses`` receives. Source domain = labeled, target domain = unlabeled."""

    labeled: Sample
    unlabeled: Sample


class Output(NamedTuple):
    """What a network returns for images B 3 H W."""

    logits: Tensor  # B K H W, at the resolution of the image
    features: Tensor  # B D h w, what contrastive heads and prototypes are built on
    aux: dict[str, Tensor] = {}  # further outputs by name (projection, auxiliary logits)


class SeglabError(Exception):
    """Bad input from the user. The message names the culprit and the remedy; the CLI prints it alone."""

    exit_code = 1


def require(ok: bool, setting: str, value: object, remedy: str) -> None:
    """Raise SeglabError("<setting> is <value>: <remedy>") unless ``ok``."""
    if not ok:
        raise SeglabError(f"{setting} is {value}: {remedy}")


class Interrupted(SeglabError):
    """A signal ended a run that can be continued; the exit code is that of a process that the signal killed."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
