"""A guard for operations that must never make the host wait for the device."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "equal", "is_nonzero"}


class NoHostSync(TorchDispatchMode):
    """Fails on operations whose result the host has to read before it can go on, on whatever device they run."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(t is not None and t.dtype == torch.bool for t in args[1])
        assert name not in WAITS, f"{name} waits for the device"
        assert not by_mask, f"{name} by a boolean mask waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_host_sync() -> contextlib.AbstractContextManager:
    @contextlib.contextmanager
    def guard() -> Iterator[None]:
        with NoHostSync():
            yield

    return guard()
