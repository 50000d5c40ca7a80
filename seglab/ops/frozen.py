"""A network that only answers: it never learns, and checkpoints do not carry it."""

from copy import deepcopy
from typing import Any, Self

import torch
from torch import nn


class Frozen(nn.Module):
    """A copy of a module as it is now, in evaluation mode for good, such as the ImageNet encoder of DAFormer.

    Its state dict is empty and loading leaves it as it is: whoever builds it again brings its weights.

    Args:
        module: what to copy.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = deepcopy(module).requires_grad_(False)
        self.register_load_state_dict_pre_hook(_bring_own)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def state_dict(self, *args: Any, destination: Any = None, **kwargs: Any) -> Any:
        return {} if destination is None else destination


def _bring_own(frozen: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Strict loading looks for every tensor below: it finds those that are there already."""
    state.update({f"{prefix}module.{key}": value for key, value in frozen.module.state_dict().items()})  # type: ignore[union-attr]
