"""Batch normalisation: which images enter its running statistics, and which ranks share them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn

from seglab.compat import BatchNorm
from seglab.ops.ranks import Total
from seglab.types import SeglabError


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """Every batch normalisation inside a module."""
    return [part for part in module.modules() if isinstance(part, BatchNorm)]


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


class SingleValueBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that also trains on one value per channel (B h w = 1), where there is no variance.

    For such a call it uses its running statistics, and leaves them alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def replace_norms(module: nn.Module) -> None:
    """Let every plain ``nn.BatchNorm2d`` inside a module train on single values; parameters and buffers stay."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = SingleValueBatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
            norm._parameters, norm._buffers, norm.training = child._parameters, child._buffers, child.training
            setattr(module, name, norm)
        else:
            replace_norms(child)


def local_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Running means and variances that follow the images of one rank alone, by their names in the module."""
    return {
        f"{path}.{name}": buffer
        for path, norm in module.named_modules()
        if isinstance(norm, BatchNorm) and not isinstance(norm, nn.SyncBatchNorm | SyncBatchNormOnCPU)
        for name, buffer in norm.named_buffers(recurse=False)
        if buffer.is_floating_point()
    }


class SyncBatchNormOnCPU(BatchNorm):
    """What torch has for GPUs alone: normalises over the images of all ranks while it trains.

    Args:
        norm: the batch normalisation whose parameters, buffers and settings it takes over, with the activation that
            timm's ``BatchNormAct2d`` includes.
    """

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers, self.training = norm._parameters, norm._buffers, norm.training
        self.act, self.drop = (getattr(norm, part, nn.Identity()) for part in ("act", "drop"))

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of dimensions."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(self._normalised(x) if self.training else super().forward(x)))

    def _normalised(self, x: Tensor) -> Tensor:
        """B C ... normalised over the images of all ranks."""
        rows = x.transpose(0, 1).flatten(1).double()  # C n
        number = torch.full_like(rows[:, 0], rows.shape[1])
        count, mean, square = Total.apply(torch.stack([number, rows.sum(1), rows.square().sum(1)])).unbind()
        mean, square = mean / count, square / count
        variance = square - mean.square()
        if self.track_running_stats:
            self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        shape = [-1] + [1] * (x.ndim - 2)
        y = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape)
        return (y if self.bias is None else y + self.bias.view(shape)).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked.item()
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
        known = (
            isinstance(norm, BatchNormAct2d | nn.SyncBatchNorm | SingleValueBatchNorm2d)
            or type(norm).forward is BatchNorm.forward
        )
        if not known:
            raise SeglabError(f"{type(norm).__name__} has no synchronised form: set trainer.sync_batchnorm to false")
    return _on_cpu(module) if device.type == "cpu" else convert_sync_batchnorm(module)


def _on_cpu(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if (replaced := _on_cpu(child)) is not child:
            setattr(module, name, replaced)
    return SyncBatchNormOnCPU(module) if isinstance(module, BatchNorm) else module
