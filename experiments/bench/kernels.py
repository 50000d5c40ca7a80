"""Launches per training step of every method: what a GPU waits for when images are small.

    OMP_NUM_THREADS=1 python experiments/bench/kernels.py
    python experiments/bench/kernels.py --network experiments/network/deeplabv3plus_resnet101s.yaml --crop 321 321 \
        --batch 8 --flags network.compile=true network.channels_last=true trainer.precision=bf16-mixed

A step is that of ``seglab fit``, from a batch on the device to the next: forward and backward passes, pseudo-labels and
their curves, the check for NaN, optimiser, teacher. On a GPU ``launches`` are the kernels that the profiler saw,
``ms`` is the clock without it, and ``idle`` the share of a step in which no kernel ran. On a CPU ``launches`` are the
operations that would launch one kernel or more: views and allocations are left out, and one operation on many tensors
at once (``_foreach``) counts as one. A compiled network runs kernels of its own there, which are not counted.
"""

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from _turns import DEVICE, NETWORK, config, draw, finish, fit, now, quiet, step_arguments, table
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from seglab.training.session import Session

NO_KERNELS = ("Memcpy", "Memset", "Optimizer.", "ProfilerStep", "## Call", "Torch-Compiled", "[pl]")  # on its timeline
GROUP = 5  # steps between two looks at the clock, for which a GPU has to come to rest
ALLOCATES = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "_local_scalar_dense", "detach")


class Dispatched(TorchDispatchMode):
    """Counts operations that compute something, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        returns = func._schema.returns
        view = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        if not view and name not in ALLOCATES:
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


class Watch:
    """The time of some steps, and the launches of one after them.

    Args:
        warmup: steps that are not looked at: compilation, the choice of algorithms.
        steps: whose time is taken.
    """

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps, self.number = warmup, steps, 0
        self.launches: Counter[str] = Counter()
        self.times: list[float] = []
        self.busy, self.bytes = 0.0, 0

    @property
    def last(self) -> int:
        """Steps until everything is known."""
        return self.warmup + self.steps + 1

    def begin(self) -> None:
        """A step begins."""
        if self.warmup <= self.number <= self.warmup + self.steps and (self.number - self.warmup) % GROUP == 0:
            self.times.append(now())
        if self.number == self.warmup + self.steps:
            self.times.append(now()) if self.steps % GROUP else None
            if DEVICE.type == "cuda":
                self.bytes = torch.cuda.max_memory_allocated()
                self.watch: Any = profile(activities=[ProfilerActivity.CUDA])
            else:
                self.watch = Dispatched()
            self.watch.__enter__()

    def end(self) -> None:
        """And ends."""
        self.number += 1
        if self.number != self.last:
            return
        now()  # at rest
        self.watch.__exit__(None, None, None)
        if DEVICE.type == "cuda":
            kernels = [event for event in self.watch.events() if event.device_type == DeviceType.CUDA]
            kernels = [event for event in kernels if not event.name.startswith(NO_KERNELS)]
            self.launches = Counter(event.name for event in kernels)
            self.busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
        else:
            self.launches = self.watch.count

    def result(self, show: int = 0) -> dict[str, Any]:
        """What was seen, with so many names of kernels or operations."""
        groups = [b - a for a, b in pairwise(self.times)]
        sizes = [GROUP] * (self.steps // GROUP) + ([self.steps % GROUP] if self.steps % GROUP else [])
        seconds = statistics.median(time / size for time, size in zip(groups, sizes, strict=True))
        seen: dict[str, Any] = {"launches": self.launches.total(), "ms": 1e3 * seconds}
        if DEVICE.type == "cuda":
            seen |= {"busy_ms": 1e3 * self.busy, "idle": max(0.0, 1 - self.busy / seconds)}
            seen |= {"peak_MiB": round(self.bytes / 2**20), "groups_ms": [round(1e3 * t, 1) for t in groups]}
        return seen | ({"names": dict(self.launches.most_common(show))} if show else {})


class Steps(Callback):
    """Shows the steps of a trainer to a ``Watch``."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.watch.begin()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.watch.end()


def measure(flags: Sequence[str], runs: Path, watch: Watch, prepare: Callable[[Session], None] | None = None) -> None:
    """``seglab fit``, watched."""
    flags = [*flags, "--trainer.log_every_n_steps", "1000"]
    if DEVICE.type == "cpu":
        flags += ["--optimizer.foreach", "true"]  # as on a GPU, and not a loop over tensors

    def watched(session: Session) -> None:
        session.trainer.callbacks.insert(0, Steps(watch))  # type: ignore[attr-defined]
        if prepare:
            prepare(session)

    fit(flags, runs, watch.last, watched)


def main() -> None:
    parser = step_arguments(__file__, __doc__, 1)
    parser.add_argument("--flags", nargs="*", default=[], metavar="KEY=VALUE", help="further flags of seglab fit")
    parser.add_argument("--show", type=int, default=0, help="the names of so many kernels or operations, most first")
    options = parser.parse_args()
    if options.quick:
        options.network, options.crop = NETWORK.with_name("tiny.yaml"), (64, 96)
    quiet()

    on_gpu, result = DEVICE.type == "cuda", {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root, max(4, options.batch), tuple(options.crop))
        for method in options.methods:
            flags = config(method, root, options.network, options.crop, options.batch)
            flags += [f"--{flag}" for flag in options.flags]
            watch = Watch(*((5, 10) if on_gpu else (1, 1)))
            measure(flags, root / "runs", watch)
            result[method] = watch.result(options.show)
            for name, count in result[method].get("names", {}).items():
                print(f"{count:6d} {name[:110]}")
    lines = [
        [name, str(one["launches"]), *((f"{one['ms']:.1f}", f"{100 * one['idle']:.0f} %") if on_gpu else ())]
        for name, one in result.items()
    ]
    print(table(["method", "launches / step", *(("ms / step", "idle") if on_gpu else ())], lines))
    setup = {"network": options.network.stem, "crop": options.crop, "batch": options.batch, "flags": options.flags}
    finish(options.output, setup | {"methods": result})


if __name__ == "__main__":
    main()
