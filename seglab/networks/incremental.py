"""A head that grows by the classes of each step (BARM, Zhang and Gao, ECCV 2024)."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seglab.networks.heads import convolution


class StepOutput(NamedTuple):
    """What the part of one step sees and answers."""

    features: Tensor  # B D h w
    logits: Tensor  # B 1+C h w; channel 0 is the background in step 0, later what the step adds to it (residual)


class IncrementalHead(nn.Module):
    """Logits of the background and of all classes so far, B D h w -> B K h w.

    Every step has an ear (3x3 convolution, batch normalisation, ReLU) and a 1x1 convolution of its own. The first
    step's background logit is corrected by the residuals of later ones.

    Args:
        channels: D.
        classes: of the first step, the background included.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.ears = nn.ModuleList([convolution(channels, channels, 3)])
        self.outputs = nn.ModuleList([nn.Conv2d(channels, classes, 1)])

    def grow(self, classes: int) -> None:
        """Add a step of so many classes; its ear begins as that of step 0."""
        ear = deepcopy(self.ears[0])
        output = nn.Conv2d(self.outputs[0].in_channels, 1 + classes, 1)  # type: ignore[arg-type]
        self.ears.append(ear)
        self.outputs.append(output.to(next(ear.parameters()).device))

    def steps(self, features: Tensor) -> list[StepOutput]:
        """What each step answers, before the background is made one."""
        seen = [ear(features) for ear in self.ears]
        return [StepOutput(x, output(x)) for x, output in zip(seen, self.outputs, strict=True)]

    def forward(self, features: Tensor) -> Tensor:
        logits = [step.logits for step in self.steps(features)]
        return torch.cat([unified_background(logits, self.training), *(part[:, 1:] for part in logits)], 1)


def unified_background(logits: Sequence[Tensor], training: bool) -> Tensor:
    """The background's logit, B 1 h w, from what every step answers, B 1+C h w each.

    That of step 0, plus the residuals of later steps, which can only lower it. In training the last one may raise it
    too, and it alone learns.
    """
    base, *residuals = [part[:, :1] for part in logits]
    if not residuals:
        return base
    if training:
        past = [base.detach(), *(residual.clamp(max=0).detach() for residual in residuals[:-1])]
        return torch.stack([*past, residuals[-1]]).sum(0)
    return torch.stack([base, *(residual.clamp(max=0) for residual in residuals)]).sum(0)
