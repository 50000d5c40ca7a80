"""Networks that answer and do not learn: the mean teacher, and a frozen copy."""

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from seglab.compat import copy_all, lerp_all
from seglab.ops.norm import batch_norms
from seglab.ops.perturb import evaluation_mode
from seglab.ops.pseudo import assisted
from seglab.types import Output, require


class Teacher(nn.Module):
    """Exponential moving average of a student (Tarvainen and Valpola, NeurIPS 2017).

    It never learns and stays in evaluation mode while the module around it trains.

    Args:
        student: the network to copy and follow.
        decay: share of the old teacher kept at each update, in [0, 1].
        warmup: keep min(1 - 1 / (step + 1), decay) instead, so that step 0 copies the student.
        average_buffers: average floating-point buffers (BatchNorm statistics) too. Otherwise they are copied from the
            student. Integer buffers are always copied.
        batch_statistics: while training, let the teacher's BatchNorm normalise with its own batch and keep running
            statistics of the images it sees (DACS, DAFormer, U2PL); dropout and stochastic depth stay off.

    Raises:
        SeglabError: ``decay`` is outside [0, 1].
    """

    def __init__(
        self,
        student: nn.Module,
        decay: float = 0.999,
        warmup: bool = True,
        average_buffers: bool = False,
        batch_statistics: bool = False,
        copies: int = 0,
    ) -> None:
        super().__init__()
        require(0.0 <= decay <= 1.0, "the teacher's decay", decay, "give a number in [0, 1], for example 0.999")
        self.decay = decay
        self.warmup = warmup
        self.average_buffers = average_buffers
        self.batch_statistics = batch_statistics
        self.copies = copies
        self.network = deepcopy(student).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        live = [norm for norm in batch_norms(self.network) if norm.training]  # those that the network does not freeze
        self.network.eval()
        if self.batch_statistics:
            for norm in live:
                norm.train()
        return self

    @torch.no_grad()
    def forward(self, image: Tensor) -> Output:
        return self.network(image)

    @torch.no_grad()
    def split(self, *images: Tensor) -> tuple[Output, ...]:
        """Several batches in one forward, as ``Network.split``."""
        return self.network.split(*images)  # type: ignore[operator]

    @torch.no_grad()
    def apart(self, *images: Tensor, frozen: Sequence[bool] = ()) -> tuple[Output, ...]:
        """Several batches in one forward, each with statistics of its own, as ``Network.apart``."""
        return self.network.apart(*images, frozen=frozen)  # type: ignore[operator]

    @torch.no_grad()
    def head(self, name: str, features: Tensor) -> Tensor:
        """What one of the network's further heads (``Network.heads``) makes of features, without gradient."""
        return self.network.heads[name](features)  # type: ignore[index, operator]

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Move towards the student. Call it once per optimiser step; ``step`` counts those from 0."""
        decay = min(1.0 - 1.0 / (step + 1), self.decay) if self.warmup else self.decay
        decay = 0.0 if step < self.copies else decay
        averaged: list[tuple[Tensor, Tensor]] = list(zip(self.network.parameters(), student.parameters(), strict=True))
        copied: list[tuple[Tensor, Tensor]] = []
        own = (
            {id(buffer) for norm in batch_norms(self.network) for buffer in norm.buffers()}
            if self.batch_statistics
            else ()
        )
        for pair in zip(self.network.buffers(), student.buffers(), strict=True):
            if id(pair[0]) in own:
                continue
            (averaged if self.average_buffers and pair[0].is_floating_point() else copied).append(pair)

        for ours, theirs in _fused(averaged):
            lerp_all(ours, theirs, 1.0 - decay)
        for ours, theirs in _fused(copied):
            copy_all(ours, theirs)


class Snapshot(Teacher):
    """A student as it was when the copy was last renewed, in evaluation mode; part of the checkpoint."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__(student, decay=0.0, warmup=False)

    @torch.no_grad()
    def renew(self, student: nn.Module) -> None:
        """Become what the student is now."""
        pairs: list[tuple[Tensor, Tensor]] = list(zip(self.network.parameters(), student.parameters(), strict=True))
        pairs += zip(self.network.buffers(), student.buffers(), strict=True)
        for ours, theirs in _fused(pairs):
            copy_all(ours, theirs)


class AlternatingTeachers(nn.Module):
    """Two mean teachers that follow the student in turn, and answer with the mean of their logits (PS-MT).

    From step ``start`` on one at a time does, for ``period`` steps each; before, both, or neither.

    Args:
        first, second: they are not changed while it is the other's turn.
        period: steps, 1 or more.
        start: steps before the turns begin.
        together: both follow the student until then; else neither.
    """

    def __init__(self, first: Teacher, second: Teacher, period: int, start: int = 0, together: bool = True) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.period, self.start, self.together = period, start, together

    @property
    def network(self) -> Self:
        """What validation scores."""
        return self

    def turn(self, step: int) -> tuple[Teacher, Teacher]:
        """The teacher whose turn it is at a step, and the other one."""
        swapped = max(0, step - self.start) // self.period % 2
        return (self.second, self.first) if swapped else (self.first, self.second)

    def forward(self, image: Tensor) -> Output:
        """The first one's output with the mean of both logits."""
        first, second = self.first(image), self.second(image)
        return first._replace(logits=(first.logits + second.logits) / 2)

    def assisted(self, image: Tensor, step: int, number: int) -> Output:
        """The output of the one whose turn it is; logits are the mean of its own and of its ``assisted`` ones.

        Args:
            image: B 3 H W.
            step: as for ``turn``.
            number: most probable classes of which the other's logits count.
        """
        current, other = self.turn(step)
        answer: Output = current(image)
        return answer._replace(logits=(answer.logits + assisted(answer.logits, other(image).logits, number)) / 2)

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Mean logits B K H W of both, in evaluation mode, for an encoder's stages; a gradient reaches those."""
        with evaluation_mode(self):
            both = [part.network.decode(stages, size) for part in (self.first, self.second)]  # type: ignore[operator]
        return torch.stack([out.logits for out in both]).mean(0)

    def update(self, student: nn.Module, step: int) -> None:
        """Move those whose turn it is towards the student. Call it once per optimiser step."""
        before = [self.first, self.second] if self.together else []
        for teacher in before if step < self.start else self.turn(step)[:1]:
            teacher.update(student, step)


def _fused(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Pairs as two lists per dtype and device, for which a foreach operation is a handful of kernels."""
    groups: dict[tuple[torch.dtype, torch.device], tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for ours, theirs in pairs:
        group = groups[ours.dtype, ours.device]
        group[0].append(ours)
        group[1].append(theirs)
    return list(groups.values())


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

    @torch.no_grad()
    def encode(self, image: Tensor) -> list[Tensor]:
        """The stages of the encoder, where the module is a network."""
        return self.module.encode(image)  # type: ignore[operator]

    def state_dict(self, *args: Any, destination: Any = None, **kwargs: Any) -> Any:
        return {} if destination is None else destination


def _bring_own(frozen: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Strict loading looks for every tensor below: it finds those that are there already."""
    state.update({f"{prefix}module.{key}": value for key, value in frozen.module.state_dict().items()})  # type: ignore[union-attr]
