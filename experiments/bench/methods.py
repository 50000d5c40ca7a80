"""Time and memory per training step of every method of experiments/method, relative to Supervised.

    python experiments/bench/methods.py        # EfficientNet-Lite0, crop 256, batches of 2
    python experiments/bench/methods.py --network experiments/network/deeplabv3plus_resnet50.yaml --crop 513 513

Every method trains on the same images (of ``seglab data streets``, source and target), network, batch and precision. A
step is all that happens between a batch on the device and the next: forward and backward passes, pseudo-labels and
their quality curves, optimiser, teacher; not data loading. Each measurement is a process of its own, and the methods
take turns in every round, so that whatever else the machine does hits all alike. Seconds are those of the processor, on
a GPU of the clock. Reported are medians over rounds; ratios are taken within a round. Memory is what CUDA allocated at
most, on a CPU the growth of the peak resident set since the process had imported everything. Encoders start with random
weights, which changes neither.
"""

import multiprocessing
import resource
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from _turns import NETWORK, compare, config, draw, finish, now, quiet, step_arguments, table
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from seglab.cli.config import build, parse

BASELINE = "supervised"
RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss


class Clock(Callback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        module.init_from = module.init_from or "untrained"  # STvM refuses to begin without a run; a step costs the same

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.began = now()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.seconds.append(now() - self.began)


def measure(flags: Sequence[str], steps: int, warmup: int, precision: str) -> dict[str, float]:
    """Median seconds per step, and bytes, of one method in this process."""
    quiet()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    built = build(parse(["validate", *flags]))
    clock = Clock()
    trainer = Trainer(
        max_steps=warmup + steps,
        limit_val_batches=0,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(built.method, datamodule=built.data)
    if trainer.strategy.root_device.type == "cuda":
        memory = torch.cuda.max_memory_allocated()
    else:
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * RESIDENT_UNIT
    return {"seconds": statistics.median(clock.seconds[warmup:]), "bytes": memory}


def summarise(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over rounds by method, and their ratios to the baseline's."""
    result: dict[str, dict[str, float]] = {method: {} for method in rounds[0]}
    for key in ("seconds", "bytes"):
        for method, one in compare({method: [r[method][key] for r in rounds] for method in result}, BASELINE).items():
            result[method] |= {key: one["median"], f"{key}_ratio": one["ratio"]}
    return result


def cheapest_first(methods: dict[str, dict[str, float]]) -> str:
    lines = []
    for name, cost in sorted(methods.items(), key=lambda item: item[1]["seconds"]):
        time_, memory = f"{1e3 * cost['seconds']:.0f}", f"{cost['bytes'] / 2**20:.0f}"
        lines.append([name, time_, f"{cost['seconds_ratio']:.2f}", memory, f"{cost['bytes_ratio']:.2f}"])
    return table(["method", "ms / step", "x Supervised", "MiB", "x Supervised"], lines)


def main() -> None:
    parser = step_arguments(__file__, __doc__, 3, crop=(256, 256))
    parser.add_argument("--precision", default="32-true", help="of the Trainer, such as bf16-mixed")
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after two that are not")
    options = parser.parse_args()
    if options.quick:
        options.network, options.crop = NETWORK.with_name("tiny.yaml"), (64, 96)
        options.steps = options.rounds = 1

    methods = [BASELINE, *(name for name in options.methods if name != BASELINE)]
    crop = (options.crop[0], options.crop[1])
    context = multiprocessing.get_context("forkserver")  # every process starts with the imports done and nothing else
    context.set_forkserver_preload(["seglab.cli.load", "seglab.methods", "seglab.data"])
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool,
    ):
        draw(Path(folder), max(4, options.batch), crop)
        flags = {method: config(method, Path(folder), options.network, crop, options.batch) for method in methods}
        settings = (options.steps, 0 if options.quick else 2, options.precision)
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(1, options.rounds + 1):
            rounds.append({})
            for method in methods:
                rounds[-1][method] = cost = pool.submit(measure, flags[method], *settings).result()
                print(f"round {number}/{options.rounds}  {method}: {cost['seconds']:.3f} s / step", file=sys.stderr)

    setup = {"network": options.network.stem, "crop": crop, "batch": options.batch, "precision": options.precision}
    print(cheapest_first(summarise(rounds)))
    finish(options.output, setup | {"steps": options.steps, "rounds": options.rounds, "methods": summarise(rounds)})


if __name__ == "__main__":
    main()
