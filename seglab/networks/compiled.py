"""The two pieces of a network through torch.compile: ``encode`` and ``decode``, whoever calls them."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seglab.compat import allow_graphs, find_cpp_compiler, has_triton
from seglab.types import SeglabError

GRAPHS = 64  # of one piece: train and evaluation mode, batch sizes, parts of a batch, precisions


def compilable(piece: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a network that runs compiled where the network says so (``compile_pieces``).

    The function is compiled, not the module: names of parameters stay, a copied network (a teacher) is compiled as its
    original is, and two networks alike share their graphs. One graph per shape and mode: validation, whose images may
    have any size, runs as it is written.
    """

    @functools.wraps(piece)
    def call(self: Any, *args: Any) -> Any:
        if not self.compile_pieces or torch.is_inference_mode_enabled() or torch.compiler.is_compiling():
            return piece(self, *args)
        return compiled(piece, self.mean.device.type)(self, *args)

    return call


@functools.cache
def compiled(piece: Callable[..., Any], device: str) -> Callable[..., Any]:
    """A piece, compiled when it is called, for each shape anew.

    Raises:
        SeglabError: there is no compiler for the device.
    """
    check_compiler(device)
    allow_graphs(GRAPHS)
    return torch.compile(piece, dynamic=False)


def check_compiler(device: str) -> None:
    """Raise SeglabError, with the remedy, if torch.compile lacks what it needs on ``cpu`` or ``cuda``."""
    if device == "cuda" and not has_triton():
        raise SeglabError(
            "network.compile is true, but torch.compile needs Triton on a GPU and finds none that works with this one: "
            "`pip install triton`, or set network.compile to false"
        )
    if not find_cpp_compiler():
        raise SeglabError(
            "network.compile is true, but torch.compile needs a C++ compiler and finds none: install g++ "
            "(`apt install g++`, or name one in the variable CXX), or set network.compile to false"
        )


def same_layout(image: Tensor, channels_last: bool) -> Tensor:
    """B 3 H W in the memory layout that the network's weights have."""
    return image.contiguous(memory_format=torch.channels_last) if channels_last else image
