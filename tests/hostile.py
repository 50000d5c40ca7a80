"""Files that run code when they are read carelessly: it would create ``target``."""

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import torch

FORMS = ("zip", "legacy", "tar", "pickle 0", "pickle 2", "pickle 4", "pickle 5")


class Payload:
    """Unpickling it calls ``os.mkdir(target)``."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def write_hostile(path: Path, target: Path, form: str = "zip", content: dict[str, Any] | None = None) -> Path:
    """Write a payload in one of ``FORMS``, beside ``content`` where the format has room for tensors.

    Returns:
        path
    """
    state = {**(content or {"state_dict": {"weight": torch.zeros(2)}}), "payload": Payload(target)}
    if form == "zip":
        torch.save(state, path)
    elif form == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif form == "tar":
        with tarfile.open(path, "w") as archive:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                part = pickle.dumps({} if name == "sys_info" else Payload(target), protocol=2)
                member = tarfile.TarInfo(name)
                member.size = len(part)
                archive.addfile(member, io.BytesIO(part))
    else:
        path.write_bytes(pickle.dumps(Payload(target), protocol=int(form[-1])))
    return path
