"""The vocabulary of the whole program: what a stream yields and what a network returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor  # the command line and the launchers do without torch


class Sample(TypedDict):
    """One batch of one stream. A stream has only what its data gives: an unlabeled one has no ``mask``."""

    image: Tensor  # B 3 H W; uint8 from the loader, float32 in [0, 1] inside a method
    valid: Tensor  # B H W bool; False on padding
    key: list[str]  # B file ids, for messages
    mask: NotRequired[Tensor]  # B H W int64 class index or 255 (ignored)
    pseudo: NotRequired[Tensor]  # B H W int64 class index or 255 (none): an earlier run's labels
    tags: NotRequired[Tensor]  # B K bool, classes that the image shows
    translated: NotRequired[Tensor]  # B 3 H W as ``image``: the same crops of stored translations
    text: NotRequired[list[str]]  # B captions
    box: NotRequired[Tensor]  # B 4 int64, the crop in the image: top, left, height, width, pixels of the file
    flip: NotRequired[Tensor]  # B bool, whether the crop is mirrored
    size: NotRequired[Tensor]  # B 2 int64, height and width of the image, pixels of the file
    domain: NotRequired[Tensor]  # B int64, which of several domains: 0 the source, 1 the target
    answer: NotRequired[Output]  # the teacher's for these images: a method puts it here for additions to read


Batch = dict[str, Sample]
"""What ``Method.losses`` receives: samples by stream. In an adaptation, labeled is the source, unlabeled the target."""


class SideOutput(NamedTuple):
    """A further map that labels supervise: an auxiliary head, or a part of the image seen in more detail."""

    logits: Tensor  # B K h w, at the resolution of the image or of the window
    weight: float  # of its loss, beside that of the main logits
    window: tuple[int, int, int, int] | None = None  # top, left, height, width in the image; None: all of it
    on_pseudo: bool = False  # pseudo-labels supervise it too


class Output(NamedTuple):
    """What a network returns for images B 3 H W."""

    logits: Tensor  # B K H W, at the resolution of the image
    features: Tensor  # B D h w, what contrastive heads and prototypes are built on
    aux: dict[str, Tensor] = {}  # further maps by name (projection)
    side: dict[str, SideOutput] = {}  # further maps that labels supervise, by name (aux: the auxiliary head)
    share: float = 1.0  # weight of the main logits' loss beside those of ``side``

    def split(self, sizes: Sequence[int]) -> tuple[Output, ...]:
        """The outputs of so many images each, of a batch that was joined."""
        logits, features = self.logits.split(sizes), self.features.split(sizes)
        aux = {name: x.split(sizes) for name, x in self.aux.items()}
        side = {name: part.logits.split(sizes) for name, part in self.side.items()}
        return tuple(
            Output(
                logits[i],
                features[i],
                {name: parts[i] for name, parts in aux.items()},
                {name: self.side[name]._replace(logits=parts[i]) for name, parts in side.items()},
                self.share,
            )
            for i in range(len(sizes))
        )


class SeglabError(Exception):
    """Bad input from the user. The message names the culprit and the remedy; the CLI prints it alone."""

    exit_code = 1


def require(ok: bool, setting: str, value: object, remedy: str) -> None:
    """Raise SeglabError("<setting> is <value>: <remedy>") unless ``ok``."""
    if not ok:
        raise SeglabError(f"{setting} is {value}: {remedy}")


def require_shares(owner: object, **settings: float) -> None:
    """``require`` settings of an object, by their names, to be in [0, 1]."""
    for name, value in settings.items():
        require(0.0 <= value <= 1.0, f"{type(owner).__name__}.{name}", value, "give a number in [0, 1]")


def require_least(owner: object, least: float, **settings: float) -> None:
    """``require`` settings of an object, by their names, to be ``least`` or more."""
    for name, value in settings.items():
        require(value >= least, f"{type(owner).__name__}.{name}", value, f"give {least} or more")


def require_positive(owner: object, **settings: float) -> None:
    """``require`` settings of an object, by their names, to be above 0."""
    for name, value in settings.items():
        require(value > 0.0, f"{type(owner).__name__}.{name}", value, "give a positive number")


class Interrupted(SeglabError):
    """A signal ended a run that can be continued; the exit code is that of a process that the signal killed."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
