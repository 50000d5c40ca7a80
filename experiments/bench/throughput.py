"""Images per second of whole training runs with real loaders, and the share of time that a step waits for its data.

    OMP_NUM_THREADS=1 python experiments/bench/throughput.py
    python experiments/bench/throughput.py --methods unimatch --size 1024 2048 --crop 801 801 --workers 4

Each turn is ``seglab fit`` on images of ``seglab data streets`` in PNGs, or in the cache of ``seglab data cache``, from
its first step after the warm-up to its last, with validation and checkpoints off. ``waits`` is the share of the time
between a request for the next batch and its arrival. On a GPU the request waits until the device is done with the step
before, so it is what the device would wait if the host never ran ahead: an upper bound. ``x tensors`` is the
throughput against what the same run has without the waiting, as if every batch lay there already.
Times are of the clock: loader processes work beside the step, if there are processors for them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from _turns import DEVICE, NETWORK, config, draw, finish, fit, quiet, step_arguments, table

from seglab.cli import main as seglab
from seglab.training.session import Session


class Watched:
    """A loader, and when each of its batches was asked for and given."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.times: list[tuple[float, float]] = []

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            asked = perf_counter()
            batch = next(batches)[0]
            self.times.append((asked, perf_counter()))
            yield batch


def measure(flags: Sequence[str], runs: Path, steps: int, warmup: int, images: int) -> dict[str, float]:
    watched: list[Watched] = []

    def prepare(run: Session) -> None:
        load = run.data.train_dataloader

        def train_dataloader() -> Watched:
            watched.append(Watched(load()))
            return watched[0]

        run.data.train_dataloader = train_dataloader

    fit(flags, runs, warmup + steps, prepare)
    times = watched[0].times[warmup : warmup + steps + 1]  # the Trainer asks for one batch more than it needs
    whole = times[-1][0] - times[0][0]
    waited = sum(given - asked for asked, given in times[:-1])
    return {"images_per_second": images * (len(times) - 1) / whole, "waits": waited / whole}


def cached(flags: Sequence[str], root: Path) -> list[str]:
    """The same flags, reading from caches that are written here."""
    streets = flags[flags.index("-c") + 1]
    own = [flag for flag in flags if flag.startswith("--data.")]
    if seglab(["data", "cache", "-c", streets, *own, "--output", str(root / "cache"), "--workers", "1"]):
        raise SystemExit("the cache was not written")
    return [*flags, *(f"--data.{part}.cache={root / 'cache' / part}" for part in ("source", "target"))]


def main() -> None:
    parser = step_arguments(__file__, __doc__, 3, ["supervised", "unimatch"])
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), help="height and width of the images")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=(0, 1), help="loader processes per stream")
    options = parser.parse_args()
    if options.quick:
        options.network, options.size, options.crop = NETWORK.with_name("tiny.yaml"), (64, 96), (64, 96)
        options.steps, options.rounds, options.methods = 3, 1, ["supervised"]
    quiet()

    warmup, runs = 1 if options.quick else 4, {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root, max(8, options.batch), options.size)
        turns: dict[str, tuple[list[str], int]] = {}
        for method in options.methods:
            images = options.batch * (1 if method == "supervised" else 2)
            for workers in options.workers:
                flags = config(method, root, options.network, options.crop, options.batch, workers)
                turns[f"{method}, png, {workers}"] = flags, images
                turns[f"{method}, cache, {workers}"] = cached(flags, root), images
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(options.rounds):
            rounds.append({})
            for name, (flags, images) in turns.items():
                rounds[number][name] = measure(flags, root / "runs", options.steps, warmup, images)
    for name in turns:
        speed = median(one[name]["images_per_second"] for one in rounds)
        waits = sorted(one[name]["waits"] for one in rounds)
        runs[name] = {
            "images_per_second": speed,
            "waits": median(waits),
            "waits_low": waits[0],
            "waits_high": waits[-1],
            "ratio_tensors": 1 - median(waits),
        }
    lines = [
        [
            *name.split(", "),
            f"{one['images_per_second']:.2f}",
            f"{100 * one['waits']:.1f} % ({100 * one['waits_low']:.1f} to {100 * one['waits_high']:.1f})",
            f"{one['ratio_tensors']:.3f}",
        ]
        for name, one in runs.items()
    ]
    print(table(["method", "files", "workers", "images / s", "waits", "x tensors"], lines))
    setup = {"network": options.network.stem, "size": options.size, "crop": options.crop, "batch": options.batch}
    finish(options.output, setup | {"steps": options.steps, "rounds": options.rounds, "runs": runs})


if __name__ == "__main__":
    main()
