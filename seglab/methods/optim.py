"""Parameter groups and the learning-rate schedule, in optimiser steps."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from seglab.networks import Network
from seglab.networks.own_layers import OwnLayers
from seglab.types import SeglabError

OptimizerFactory = Callable[[Iterable], Optimizer]


@dataclass(frozen=True)
class Schedule:
    """Learning rate over steps and over the parts of the network.

    Attributes:
        power: polynomial decay ``(1 - step / steps) ** power``: 0.9 is DeepLab's, 1 linear, 0 constant.
        steps: length of the decay; more than the run has for recipes that stop early (AdvEnt). 0: the run's.
        warmup: steps of linear warm-up, 0 for none.
        warmup_factor: fraction of the learning rate at step 0 of the warm-up.
        head_lr_mult: multiplies the learning rate of everything outside the encoders.
        decay_norms: apply weight decay to normalisation weights and biases too.
        reference_batch: labeled images per optimiser step that the learning rates of the config are meant for.
        scale_lr: change the learning rates with the labeled images per step, over all ranks and accumulated batches,
            relative to ``reference_batch``: in proportion (``linear``) or by the root (``sqrt``). The number of ranks
            alone changes nothing, as they share the batch.
    """

    power: float = 0.9
    steps: int = 0
    warmup: int = 0
    warmup_factor: float = 1e-6
    head_lr_mult: float = 1.0
    decay_norms: bool = False
    reference_batch: int = 0
    scale_lr: Literal["none", "linear", "sqrt"] = "none"

    def __post_init__(self) -> None:
        if min(self.power, self.steps, self.warmup) < 0 or self.head_lr_mult <= 0 or not 0 <= self.warmup_factor <= 1:
            raise SeglabError(
                f"{self}: power, steps and warmup are at least 0, head_lr_mult is positive and warmup_factor in [0, 1]"
            )
        if self.reference_batch < 0 or (self.scale_lr == "none") != (self.reference_batch == 0):
            raise SeglabError(
                f"schedule.scale_lr {self.scale_lr} and schedule.reference_batch {self.reference_batch} go together: "
                "linear or sqrt, and the labeled images per step that the learning rate is meant for"
            )

    def scale(self, batch: int) -> float:
        """What learning rates are multiplied with for ``batch`` labeled images per optimiser step."""
        power = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[self.scale_lr]
        return (batch / self.reference_batch) ** power if self.reference_batch else 1.0

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at ``step`` of a run of ``steps``."""
        decay = max(0.0, 1 - step / (self.steps or steps)) ** self.power
        if step >= self.warmup:
            return decay
        return decay * (self.warmup_factor + (1 - self.warmup_factor) * step / self.warmup)


def parameter_groups(module: nn.Module, schedule: Schedule, outside: Sequence[nn.Module] = ()) -> list[dict[str, Any]]:
    """Trainable parameters split into encoder and head, with and without weight decay.

    The key ``factor`` of a group multiplies its learning rate. Parameters of the modules ``outside`` are left out.
    """
    networks = [part for part in module.modules() if isinstance(part, Network | OwnLayers)]
    encoder = {id(parameter) for network in networks for parameter in network.encoder.parameters()}
    left_out = {id(parameter) for part in outside for parameter in part.parameters()}
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for parameter in module.parameters():
        if not parameter.requires_grad or id(parameter) in left_out:
            continue
        head = id(parameter) not in encoder
        bare = parameter.ndim <= 1 and not schedule.decay_norms  # normalisation weights and all biases are vectors
        if (head, bare) not in groups:
            group = {"params": [], "factor": schedule.head_lr_mult if head else 1.0}
            groups[head, bare] = group | {"weight_decay": 0.0} if bare else group
        groups[head, bare]["params"].append(parameter)
    return list(groups.values())


class JointOptimizer(Optimizer):
    """Several optimisers that step as one: to the trainer, the schedule and checkpoints they are a single optimiser.

    Args:
        parts: optimisers of different parameters.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Every part works on its own groups, and all on one state."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss


OwnOptimizers = Sequence[tuple[nn.Module, OptimizerFactory]]
"""Modules with an optimiser of their own."""


def build_optimizer(
    module: nn.Module,
    factory: OptimizerFactory,
    schedule: Schedule,
    steps: int,
    separate: OwnOptimizers = (),
    scale: float = 1.0,
) -> tuple[Optimizer, LambdaLR]:
    """The optimiser over ``parameter_groups`` and over the separate modules, and its schedule over ``steps``.

    ``scale`` multiplies all learning rates.
    """
    optimizer = _optimizer(module, factory, schedule, separate, scale)
    for group in optimizer.param_groups:
        group["lr"] *= group["factor"]
    return optimizer, LambdaLR(optimizer, lambda step: schedule.factor(step, steps))


def follow_config(
    module: nn.Module,
    factory: OptimizerFactory,
    schedule: Schedule,
    scheduler: LambdaLR,
    separate: OwnOptimizers = (),
    scale: float = 1.0,
) -> None:
    """Give a restored optimiser the settings of the config: a checkpoint's would silently override new ones.

    One kernel for all tensors reads its step counts on the GPU, so they follow the setting.
    """
    fresh = _optimizer(module, factory, schedule, separate, scale)
    for group, new in zip(scheduler.optimizer.param_groups, fresh.param_groups, strict=True):
        group.update({key: value for key, value in new.items() if key != "params"})
        group["initial_lr"] = group["lr"] * group["factor"]
        group["lr"] = group["initial_lr"] * scheduler.lr_lambdas[0](scheduler.last_epoch)
        for parameter in group["params"] if group.get("fused") else ():
            state = scheduler.optimizer.state[parameter]
            if isinstance(step := state.get("step"), torch.Tensor):
                state["step"] = step.to(parameter.device)
    scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def _optimizer(
    module: nn.Module, factory: OptimizerFactory, schedule: Schedule, separate: OwnOptimizers, scale: float
) -> Optimizer:
    main = factory(parameter_groups(module, schedule, [part for part, _ in separate]))
    own = [build([{"params": list(part.parameters()), "factor": 1.0}]) for part, build in separate]
    for part in (main, *own):
        fuse(part)
    optimizer = JointOptimizer([main, *own]) if own else main
    for group in optimizer.param_groups:
        group["factor"] *= scale
    return optimizer


def fuse(optimizer: Optimizer) -> None:
    """On a GPU, let Adam and AdamW step by one kernel for all tensors unless the config chooses otherwise.

    The same formulas, rounded less often. SGD keeps torch's few kernels: its one kernel fails where a parameter gets
    its first gradient in a later step than others. Set here and not in the constructor: there it would also have a
    loss scaler leave unscaling to the optimiser, and scaled gradients cannot be clipped.
    """
    for group in optimizer.param_groups if isinstance(optimizer, Adam | AdamW) else ():
        on_gpu = all(parameter.is_cuda and parameter.is_floating_point() for parameter in group["params"])
        if group.get("fused") is None and group.get("foreach") is None and on_gpu:
            group["fused"] = True
