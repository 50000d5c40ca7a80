"""What each rank holds for itself: running statistics of batch normalisation, and counts of pseudo-labels.

Of the statistics a checkpoint has the mean, for scoring and for another number of ranks, and under ``LOCAL`` those of
each rank, so that saving changes nothing and resuming is exact; of the counts the sum, which rank 0 goes on with.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from seglab.ops.norm import local_statistics
from seglab.ops.ranks import average_, each_rank, fill_, mean, rank, total, world_size

LOCAL = "local_statistics"  # in a checkpoint of several ranks: running statistics of each, ranks N


class RankState:
    """Saves and restores what the ranks of a module hold apart.

    Args:
        module: whose normalisation follows the images of one rank.
        counts: name in the module's state -> a metric that each rank counts for itself.
    """

    def __init__(self, module: nn.Module, counts: dict[str, Metric]) -> None:
        self.module, self.counts = module, counts
        self.own: Tensor | None = None  # of this rank, in the checkpoint that it resumes from

    def join(self) -> None:
        """Give every rank the mean of the running statistics; every rank calls it."""
        average_(list(local_statistics(self.module).values()))

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Complete a checkpoint that rank 0 writes; every rank calls it."""
        state = checkpoint["state_dict"]
        local = self._statistics(state)
        if local and world_size() > 1:
            rows = each_rank(list(local.values()))
            averaged = {name: torch.empty_like(value) for name, value in local.items()}
            fill_(list(averaged.values()), mean(rows))
            state.update(averaged)
            checkpoint[LOCAL] = rows
        for name, count in self._counts().items():
            count.copy_(total(count) * (rank() == 0))
            state[name] = count

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Take this rank's part of a checkpoint, before its state dict is loaded."""
        rows = checkpoint.get(LOCAL, ())
        self.own = rows[rank()] if len(rows) == world_size() else None
        for name in self._counts() if rank() else ():
            checkpoint["state_dict"][name].zero_()

    def restore(self) -> None:
        """Go on with this rank's own statistics; not before DDP has given all ranks those of rank 0."""
        if self.own is not None:
            fill_(list(self._statistics(self.module.state_dict()).values()), self.own)
            self.own = None

    def _statistics(self, state: dict[str, Any]) -> dict[str, Tensor]:
        """Those that a state dict holds: frozen copies are not in it."""
        return {name: value for name, value in local_statistics(self.module).items() if name in state}

    def _counts(self) -> dict[str, Tensor]:
        return {
            f"{metric}.{name}": count
            for metric, module in self.counts.items()
            for name, count in cast(dict[str, Tensor], module.metric_state).items()
        }
