"""Training step of every method in a real run against bare loops that do the same work on the same tensors.

    OMP_NUM_THREADS=1 python experiments/bench/overhead.py                # EfficientNet-Lite0, crops of 96x192
    OMP_NUM_THREADS=1 python experiments/bench/overhead.py --network experiments/network/tiny.yaml --methods fixmatch

``run`` is ``seglab fit``: the Trainer with its callbacks, loggers and run directory, from one request for a batch to
the next. ``losses`` is a loop over ``Method.losses``, ``backward``, the optimiser and the teacher. ``hand`` is a loop
that uses nothing of seglab's methods, as one would write it for a single experiment: same network, same strong views.
The methods that have no such loop in ``_by_hand.py`` are compared with ``losses`` alone.

The loops run where the Trainer asks for its next batch, so they take turns with it step by step, in one process. Not in
the clock: data loading and validation. Metrics are logged every 10 steps as in any run: ``ratio`` is the median
over steps, of which most do not log, ``of sums`` has them all.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import _by_hand
from _turns import (
    NETWORK,
    Bare,
    Batch,
    compare,
    config,
    draw,
    finish,
    fit,
    now,
    quiet,
    spread,
    step_arguments,
    table,
)

from seglab.training.session import Session


class Source:
    """Gives the Trainer the same batch again and again; before each, the bare loops do a step on it."""

    def __init__(self, batch: Batch, loops: dict[str, Callable[[Batch], object]], steps: int, warmup: int) -> None:
        self.batch, self.loops, self.steps, self.warmup = batch, loops, steps, warmup
        self.seconds: dict[str, list[float]] = {"run": [], **{name: [] for name in loops}}

    def __iter__(self) -> Iterator[Batch]:
        while True:
            for name, loop in self.loops.items():
                start = now()
                loop(self.batch)
                self.seconds[name].append(now() - start)
            start = now()
            yield {name: dict(sample) for name, sample in self.batch.items()}
            self.seconds["run"].append(now() - start)

    def measured(self) -> dict[str, list[float]]:
        return {name: spent[self.warmup : self.warmup + self.steps] for name, spent in self.seconds.items()}


def measure(method: str, flags: Sequence[str], folder: Path, steps: int, warmup: int) -> dict[str, list[float]]:
    bare = Bare(flags)
    loops: dict[str, Callable[[Batch], object]] = {"losses": bare.step}
    if method in _by_hand.LOOPS:
        other = Bare(flags)
        loops["hand"] = _by_hand.LOOPS[method](other.method.student, other.method.num_classes)
    source = Source(bare.batch(), loops, steps, warmup)

    def prepare(run: Session) -> None:
        run.data.train_dataloader = lambda: source

    fit(flags, folder, warmup + steps + 2, prepare)  # the Trainer asks for a batch before it needs it
    return source.measured()


def main() -> None:
    parser = step_arguments(__file__, __doc__, 10)
    options = parser.parse_args()
    if options.quick:
        options.network, options.crop, options.rounds = NETWORK.with_name("tiny.yaml"), (64, 96), 2
    quiet()

    methods: dict[str, Any] = {}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), max(4, options.batch), options.crop)
        for method in options.methods:
            flags = config(method, Path(folder), options.network, options.crop, options.batch)
            seconds = measure(method, flags, Path(folder) / "runs", options.rounds, 1 if options.quick else 3)
            methods[method] = one = {}
            cells = [method, f"{1e3 * compare(seconds, 'run')['run']['median']:.1f}"]
            for other in ("hand", "losses"):
                if other not in seconds:
                    cells += [""] * 3
                    continue
                ratio = compare(seconds, other)["run"]
                ratio["of_sums"] = sum(seconds["run"]) / sum(seconds[other])
                ratio["extra_ms"] = 1e3 * (ratio["median"] - compare(seconds, other)[other]["median"])
                one[other] = ratio
                cells += [spread(ratio), f"{ratio['of_sums']:.3f}", f"{ratio['extra_ms']:.1f}"]
            lines.append(cells)
            print(f"{method}: {seconds}", file=sys.stderr)
    head = ["method", "ms / step", "x hand", "of sums", "ms more", "x losses", "of sums", "ms more"]
    print(table(head, lines))
    setup = {"network": options.network.stem, "crop": options.crop, "batch": options.batch, "steps": options.rounds}
    finish(options.output, setup | {"methods": methods})


if __name__ == "__main__":
    main()
