"""Batches of all ranks as one: what prototypes and queues are made of, so that every rank holds the same."""

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@torch.no_grad()
def gather(x: Tensor) -> Tensor:
    """Rows of all ranks, concatenated in rank order and without gradient: N ... -> (ranks N) ...

    In one process it is ``x`` itself, detached. Every rank must call it, with the same shape.
    """
    if not _several():
        return x.detach()
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


@torch.no_grad()
def total(x: Tensor) -> Tensor:
    """Sum of ``x`` over the ranks, without gradient. Every rank must call it, with the same shape."""
    if not _several():
        return x.detach()
    summed = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


def gather_objects(x: T) -> list[T]:
    """Small Python objects of all ranks in rank order. Every rank must call it."""
    if not _several():
        return [x]
    parts: list[T] = [x] * dist.get_world_size()
    dist.all_gather_object(parts, x)
    return parts


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
