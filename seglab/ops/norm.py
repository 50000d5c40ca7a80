"""Batch normalisation: which images enter its running statistics, and which ranks share them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, SyncBatchNormAct, convert_sync_batchnorm
from torch import Tensor, nn

from seglab.compat import BatchNorm
from seglab.ops.ranks import Total
from seglab.types import SeglabError


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """Every batch normalisation inside a module."""
    return [part for part in module.modules() if isinstance(part, BatchNorm)]


def without_style(x: Tensor, eps: float = 1e-5) -> Tensor:
    """B D h w with mean 0 and variance 1 of each channel of each image: what is left is its content (instance norm)."""
    values = x.float()
    variance, mean = torch.var_mean(values, (2, 3), correction=0, keepdim=True)
    return ((values - mean) * (variance + eps).rsqrt()).to(x.dtype)


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


@contextmanager
def apart(module: nn.Module, sizes: Sequence[int], frozen: Sequence[bool]) -> Iterator[None]:
    """Inside the block, parts of a batch are normalised as in a forward of their own each.

    One forward of all of them then computes what several would, with a third of the launches for three.

    Args:
        module: whose norms ``replace_norms`` has replaced.
        sizes: images of each part, in their order.
        frozen: for each part, whether it leaves the running statistics alone.

    Raises:
        SeglabError: a batch normalisation in training mode cannot tell parts apart.
    """
    norms = [norm for norm in batch_norms(module) if norm.training]
    for norm in norms:
        if not isinstance(norm, Parts):
            raise SeglabError(f"{type(norm).__name__} cannot normalise parts of a batch apart: replace_norms first")
    for norm in norms:
        norm.parts = tuple(zip(sizes, frozen, strict=True))
    try:
        yield
    finally:
        for norm in norms:
            norm.parts = ()


class Parts(BatchNorm):
    """A batch normalisation that can take the statistics of parts of a batch apart.

    Attributes:
        parts: images of each part, and whether it leaves the running statistics alone; empty: one part.
    """

    parts: tuple[tuple[int, bool], ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.parts:
            return self.finished(self.part(x, self.momentum))
        pieces = zip(x.split([size for size, _ in self.parts]), self.parts, strict=True)
        return self.finished(torch.cat([self.part(x, 0.0 if frozen else self.momentum) for x, (_, frozen) in pieces]))

    def part(self, x: Tensor, momentum: float | None) -> Tensor:
        """One part normalised; one value per channel (B h w = 1) has no variance: by the running statistics."""
        # The counter of batches stays as it is: with a number as momentum nothing reads it, and it is a launch each.
        whole = self.training and x.numel() > x.shape[1]
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, whole, momentum or 0.0, self.eps
        )

    def finished(self, x: Tensor) -> Tensor:
        """What comes after the normalisation."""
        return x


class PartsBatchNorm2d(Parts, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose parts can be normalised apart; trains on single values too."""


class PartsBatchNormAct2d(Parts, BatchNormAct2d):
    """timm's ``BatchNormAct2d`` likewise."""

    def finished(self, x: Tensor) -> Tensor:
        done: Tensor = self.act(self.drop(x))
        return done


class PartsSyncBatchNorm(Parts, nn.SyncBatchNorm):
    """``nn.SyncBatchNorm`` likewise, over the images of all ranks."""

    def part(self, x: Tensor, momentum: float | None) -> Tensor:
        own, self.momentum = self.momentum, momentum
        try:
            done: Tensor = nn.SyncBatchNorm.forward(self, x)
        finally:
            self.momentum = own
        return done


class PartsSyncBatchNormAct(PartsSyncBatchNorm, SyncBatchNormAct):
    """timm's ``SyncBatchNormAct`` likewise."""

    def finished(self, x: Tensor) -> Tensor:
        done: Tensor = self.act(self.drop(x))  # type: ignore[operator]
        return done


REPLACED: dict[type, type[Parts]] = {
    nn.BatchNorm2d: PartsBatchNorm2d,
    BatchNormAct2d: PartsBatchNormAct2d,
    nn.SyncBatchNorm: PartsSyncBatchNorm,
    SyncBatchNormAct: PartsSyncBatchNormAct,
}


def replace_norms(module: nn.Module) -> None:
    """Let the batch normalisations inside a module take parts of a batch apart, in place; tensors and names stay.

    Left as they are: those without running statistics or with a running mean over all batches, and unknown classes.
    """
    for norm in batch_norms(module):
        if type(norm) in REPLACED and norm.track_running_stats and norm.momentum is not None:
            norm.__class__ = REPLACED[type(norm)]


def tells_apart(module: nn.Module) -> bool:
    """Whether ``apart`` can be used."""
    return all(isinstance(norm, Parts) for norm in batch_norms(module) if norm.training)


def local_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Running means and variances that follow the images of one rank alone, by their names in the module."""
    return {
        f"{path}.{name}": buffer
        for path, norm in module.named_modules()
        if isinstance(norm, BatchNorm) and not isinstance(norm, nn.SyncBatchNorm | SyncBatchNormOnCPU)
        for name, buffer in norm.named_buffers(recurse=False)
        if buffer.is_floating_point()
    }


class SyncBatchNormOnCPU(Parts):
    """What torch has for GPUs alone: normalises over the images of all ranks while it trains.

    Args:
        norm: the batch normalisation whose parameters, buffers and settings it takes over, with the activation that
            timm's ``BatchNormAct2d`` includes.
    """

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers, self.training = norm._parameters, norm._buffers, norm.training
        self.act, self.drop = (getattr(norm, part, nn.Identity()) for part in ("act", "drop"))
        self.counts = not isinstance(norm, Parts)  # batches, as the one that it replaces does

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of dimensions."""

    def finished(self, x: Tensor) -> Tensor:
        done: Tensor = self.act(self.drop(x))
        return done

    def part(self, x: Tensor, momentum: float | None) -> Tensor:
        """B C ... normalised over the images of all ranks."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        rows = x.transpose(0, 1).flatten(1).double()  # C n
        number = torch.full_like(rows[:, 0], rows.shape[1])
        count, mean, square = Total.apply(torch.stack([number, rows.sum(1), rows.square().sum(1)])).unbind()
        mean, square = mean / count, square / count
        variance = square - mean.square()
        if self.track_running_stats:
            self._remember(mean.detach(), (variance * count / (count - 1)).detach(), momentum)
        shape = [-1] + [1] * (x.ndim - 2)
        y = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape)
        return (y if self.bias is None else y + self.bias.view(shape)).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, momentum: float | None) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        if self.counts:
            self.num_batches_tracked.add_(1)
        share = momentum if momentum is not None else 1.0 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronised(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with every batch normalisation replaced by one that takes its statistics over all ranks.

    Parameters and buffers are the same tensors under the same names. Not by torch's own conversion: it loses the
    activations inside timm's ``BatchNormAct2d``.

    Raises:
        SeglabError: a batch normalisation does more than these conversions know of.
    """
    for norm in batch_norms(module):
        known = isinstance(norm, BatchNormAct2d | nn.SyncBatchNorm | Parts) or type(norm).forward is BatchNorm.forward
        if not known:
            raise SeglabError(f"{type(norm).__name__} has no synchronised form: set trainer.sync_batchnorm to false")
    if device.type == "cpu":
        return _on_cpu(module)
    module = convert_sync_batchnorm(module)
    replace_norms(module)
    return module


def _on_cpu(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if (replaced := _on_cpu(child)) is not child:
            setattr(module, name, replaced)
    return SyncBatchNormOnCPU(module) if isinstance(module, BatchNorm) else module
