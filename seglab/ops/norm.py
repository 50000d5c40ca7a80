"""Which images enter the running statistics of batch normalisation."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Every batch normalisation inside a module."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@contextmanager
def frozen_statistics(module: nn.Module, frozen: bool = True) -> Iterator[None]:
    """Inside the block, batches are normalised as before but leave the running mean and variance alone.

    Evaluation then sees the statistics of clean images, whatever perturbed views training goes through. With ``frozen``
    False the block does nothing.
    """
    norms = [(norm, norm.momentum) for norm in batch_norms(module)] if frozen else []
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
