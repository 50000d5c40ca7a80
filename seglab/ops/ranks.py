"""Batches of all ranks as one: what prototypes and queues are made of, so that every rank holds the same."""

from collections.abc import Sequence
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


class Total(torch.autograd.Function):
    """``total`` with a gradient: the sum of the gradients of all ranks."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return total(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return total(gradient)


@torch.no_grad()
def each_rank(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of all ranks, those of a rank as one row: ranks N, in one message."""
    return gather(torch.cat([x.flatten() for x in tensors])[None])


@torch.no_grad()
def fill_(tensors: Sequence[Tensor], row: Tensor) -> None:
    """Replace tensors by the parts of a row that ``each_rank`` made, or of the mean of such rows."""
    for x, part in zip(tensors, row.split([x.numel() for x in tensors]), strict=True):
        x.copy_(part.view_as(x))


def average_(tensors: Sequence[Tensor]) -> None:
    """Replace floating-point tensors by their mean over the ranks; equal ones stay as they are."""
    if tensors and _several():
        fill_(tensors, mean(each_rank(tensors)))


def mean(rows: Tensor) -> Tensor:
    """Of rows R N in double precision: N. Of equal rows it is that row to the last bit."""
    return rows.double().sum(0) / len(rows)


def rank() -> int:
    """Number of this process, 0 for the first."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """Processes of the run."""
    return dist.get_world_size() if _several() else 1


def gather_objects(x: T) -> list[T]:
    """Small Python objects of all ranks in rank order. Every rank must call it."""
    if not _several():
        return [x]
    parts: list[T] = [x] * dist.get_world_size()
    dist.all_gather_object(parts, x)
    return parts


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
