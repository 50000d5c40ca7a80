"""Files of tensors, checkpoints and weights alike, read without running anything that they hold."""

import json
import pickletools
import shlex
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from seglab.compat import IMPORT_MAPPING, NAME_MAPPING
from seglab.types import SeglabError

MOST = 1 << 26  # bytes of a pickle that are looked through; tensors lie outside it
SPARE = 1 << 20  # bytes by which an archive may be larger than its file
BEYOND_TORCH = ("STACK_GLOBAL", "INST")  # how pickles ask for code that torch's reader does not know at all


class DamagedFile(SeglabError):
    """A file of tensors that is cut, overwritten, or none at all: an older one may take its place."""


class UnsafeFile(SeglabError):
    """A file that asks for code. Somebody put it there, so nothing takes its place silently."""


def read_tensors(path: Path, what: str) -> Any:
    """What a ``.safetensors`` file, or one of ``torch.save``, holds: tensors and plain values, on the CPU.

    Args:
        path: of the file; the suffix ``.safetensors`` decides.
        what: the kind of file, for messages.

    Raises:
        UnsafeFile: it asks for a function or class, in any format of ``torch.save`` old or new, or is a program.
        DamagedFile: it is truncated, a checksum differs, or it is another kind of file.
        SeglabError: it does not exist, or the system refuses to read it.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_size(path, archive)
                if wrong := archive.testzip():  # torch does not compare checksums
                    raise ValueError(f"the checksum of {wrong} differs")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about TorchScript, which is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except _TooLarge as error:
        raise UnsafeFile(f"{what} {path} {error}") from None
    except FileNotFoundError:
        raise SeglabError(f"{what} {path} does not exist") from None
    except (PermissionError, IsADirectoryError) as error:
        raise SeglabError(f"{what} {path} cannot be read ({error.strerror})") from None
    except Exception as error:  # of many types, by the kind of damage
        if code := _code(path, str(error)):
            state = f'torch.load({json.dumps(str(path))}, weights_only=False)["state_dict"]'
            script = f'import torch; torch.save({state}, "new.pth")'
            raise UnsafeFile(
                f"{what} {path} holds more than tensors: {code}. It is refused, and nothing of it was run; files that "
                "seglab writes hold no code. If you trust who made it, save its state dict alone, under whatever key "
                f"it has: python -c {shlex.quote(script)}"
            ) from None
        raise DamagedFile(f"{what} {path} is damaged or no file of tensors{_detail(str(error))}") from error


class _TooLarge(Exception):
    """A file that would fill the memory."""


def _check_size(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that unpacks to much more than it takes: what ``torch.save`` writes is not compressed."""
    whole, packed = sum(part.file_size for part in archive.infolist()), path.stat().st_size
    program = max((part.file_size for part in archive.infolist() if part.filename.endswith(".pkl")), default=0)
    if whole > packed + SPARE:
        raise _TooLarge(
            f"takes {packed:,} bytes and unpacks to {whole:,}: refused, since files of torch.save are not compressed"
        )
    if program > MOST:
        raise _TooLarge(f"has a pickle of {program:,} bytes, of which tensors are no part: it is refused")


def is_state_dict(content: Any) -> bool:
    """Whether it is names to tensors, at least one."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _code(path: Path, refusal: str) -> str:
    """What a file that torch refused would run; empty if it is merely damaged.

    Args:
        path: of the file.
        refusal: torch's message. It names the global that is not on its short list of harmless ones, if the format is
            one that it checks.
    """
    if "TorchScript" in refusal:
        return "it is a program (TorchScript)"
    unchecked = "legacy .tar" in refusal
    for content in _pickles(path):
        for way, name in _globals(content):
            if unchecked or way in BEYOND_TORCH or f"GLOBAL {name.removeprefix('builtins.')} " in refusal:
                return f"it asks for {name[:200]!r}"
    return ""


def _pickles(path: Path) -> Iterator[bytes]:
    """The pickles in a zip archive, in a tar archive, or the file itself."""
    with suppress(Exception):  # of many kinds, where the archive is damaged
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".pkl"):
                        with archive.open(name) as file:
                            yield file.read(MOST)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path, "r:") as members:
                for member in members:
                    if part := members.extractfile(member):
                        yield part.read(MOST)
        else:
            with path.open("rb") as file:
                yield file.read(MOST)


def _globals(content: bytes) -> Iterator[tuple[str, str]]:
    """How and for what the pickles in ``content``, one after the other, ask: opcode and ``module.name``."""
    stream, strings = BytesIO(content), ["", ""]  # the last ones pushed, which STACK_GLOBAL takes
    memo: dict[int, str] = {}
    with suppress(Exception):  # where the pickles end or are damaged
        while True:
            for opcode, argument, _ in pickletools.genops(stream):
                value: Any = argument
                if opcode.name in ("GLOBAL", "INST"):
                    module, _, name = value.partition(" ")
                    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
                    yield opcode.name, f"{module}.{name}"
                elif opcode.name == "STACK_GLOBAL":
                    yield opcode.name, ".".join(strings[-2:])
                elif opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
                    memo[len(memo) if value is None else value] = strings[-1]
                elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                    strings.append(memo.get(value, "?"))
                elif isinstance(value, str):
                    strings.append(value)


def _detail(message: str) -> str:
    """The first sentence of what torch, zipfile or safetensors says, if it says something to a user."""
    sentence = message.partition(". ")[0].partition("\n")[0][:200].strip()
    return f" ({sentence})" if " " in sentence and "weights_only" not in sentence else ""
