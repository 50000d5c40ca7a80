"""Time and size of checkpoints: that everything is stored once, and what saving it safely costs.

    OMP_NUM_THREADS=1 python experiments/bench/checkpoints.py

``least`` is the size of what a resumed run cannot do without: parameters and buffers of every network that is scored
and of what else learns, and AdamW's two moments of every trainable parameter. Frozen copies are not in it. ``x least``
is the size of ``last.ckpt`` against that. ``x plain`` is the time of a save in a run (state of everything, written
beside the old file, flushed to the disk, renamed) against ``torch.save`` of the same content to the same disk.
Each in seconds of the clock, since the disk is part of it. ``stop`` is the share of a run of 40,000 steps of
``--step`` seconds that saves of ``last`` take at their default interval of 500 steps.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from _turns import METHODS, NETWORK, arguments, compare, config, draw, finish, fit, quiet, spread, table
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seglab.ops.teacher import Frozen

MIB = 2**20


class Saves(Callback):
    """Saves the run and its content, in turns, after a step."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        self.seconds: dict[str, list[float]] = {"run": [], "plain": []}

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if trainer.global_step != trainer.max_steps:
            return
        self.least = least(module, trainer.optimizers[0])
        for number in range(-1, self.rounds):
            start = perf_counter()
            trainer.save_checkpoint(self.folder / "run.ckpt")
            middle = perf_counter()
            if number < 0:
                content = torch.load(self.folder / "run.ckpt", weights_only=True)
                continue
            begin = perf_counter()
            torch.save(content, self.folder / "plain.ckpt")
            self.seconds["run"].append(middle - start)
            self.seconds["plain"].append(perf_counter() - begin)
        self.size = (self.folder / "run.ckpt").stat().st_size
        trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)
        self.best = (self.folder / "best.ckpt").stat().st_size


def least(module: LightningModule, optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all that a checkpoint must have."""
    frozen = [part for part in module.modules() if isinstance(part, Frozen)]
    left_out = {id(tensor) for part in frozen for tensor in [*part.parameters(), *part.buffers()]}
    persistent = {id(value) for value in module.state_dict(keep_vars=True).values()}
    kept: list[Tensor] = [*module.parameters(), *(b for b in module.buffers() if id(b) in persistent)]
    own = sum(tensor.nbytes for tensor in {id(t): t for t in kept if id(t) not in left_out}.values())
    moments = sum(2 * p.nbytes for group in optimizer.param_groups for p in group["params"])
    return own + moments


def measure(method: str, flags: Sequence[str], folder: Path, rounds: int) -> Saves:
    saves = Saves(folder, rounds)
    fit(flags, folder / "runs", 2, lambda run: run.trainer.callbacks.append(saves))
    return saves


def main() -> None:
    parser = arguments(__file__, __doc__, 7)
    parser.add_argument("--network", type=Path, default=NETWORK)
    parser.add_argument("--step", type=float, default=0.5, help="seconds of a training step")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="NAME", help="default: all")
    options = parser.parse_args()
    if options.quick:
        options.network, options.rounds = NETWORK.with_name("tiny.yaml"), 1
    quiet()

    methods: dict[str, Any] = {}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), 4, (64, 96))
        for method in options.methods:
            flags = config(method, Path(folder), options.network, (64, 96), 2)
            saves = measure(method, flags, Path(folder), options.rounds)
            ratio = compare(saves.seconds, "plain")["run"]
            stop = ratio["median"] / (500 * options.step)
            methods[method] = {
                **{"bytes": saves.size, "best_bytes": saves.best, "bytes_ratio": saves.size / saves.least},
                **{"seconds": ratio["median"], "time": ratio, "stop": stop},
            }
            sizes = [f"{saves.size / MIB:.1f}", f"{saves.size / saves.least:.4f}", f"{saves.best / MIB:.1f}"]
            lines.append([method, *sizes, f"{1e3 * ratio['median']:.0f}", spread(ratio), f"{100 * stop:.2f} %"])
    print(table(["method", "last MiB", "x least", "best MiB", "ms", "x plain", "stop"], lines))
    setup = {"network": options.network.stem, "rounds": options.rounds, "step": options.step}
    finish(options.output, setup | {"methods": methods})


if __name__ == "__main__":
    main()
