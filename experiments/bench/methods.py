"""Time and memory per training step of every method of experiments/method, relative to Supervised.

    python experiments/bench/methods.py        # EfficientNet-Lite0, crop 256, batches of 2
    python experiments/bench/methods.py --network experiments/network/deeplabv3plus_resnet50.yaml --crop 513 513

Every method trains on the same images (of ``seglab data streets``, source and target), network, batch and precision. A
step is all that happens between a batch on the device and the next: forward and backward passes, pseudo-labels and
their quality curves, optimiser, teacher; not data loading. Each measurement is a process of its own, and the methods
take turns in every round, so that whatever else the machine does hits all alike. Reported are medians over rounds;
ratios are taken within a round. Memory is what CUDA allocated at most, on a CPU the growth of the peak resident set
since the process had imported everything. Encoders start with random weights, which changes neither.
"""

import argparse
import json
import logging
import multiprocessing
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from seglab.loading import Loader
from seglab.streets.writer import plan, write_frame

EXPERIMENTS = Path(__file__).parent.parent
METHODS = sorted(path.stem for path in (EXPERIMENTS / "method").glob("*.yaml"))
BASELINE = "supervised"
RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss


class Clock(Callback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.began = now(module.device)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.seconds.append(now(module.device) - self.began)


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(method: str, flags: list[str], steps: int, warmup: int, precision: str) -> dict[str, float]:
    """Median seconds per step, and bytes, of one method in this process."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files = ["-c", str(EXPERIMENTS / "benchmark/streets.yaml"), "-c", str(EXPERIMENTS / f"method/{method}.yaml")]
    built = Loader(["validate", *files, *flags, "--ckpt_path", "none"])
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
    trainer.fit(built.model, datamodule=built.datamodule)
    if trainer.strategy.root_device.type == "cuda":
        memory = torch.cuda.max_memory_allocated()
    else:
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * RESIDENT_UNIT
    return {"seconds": statistics.median(clock.seconds[warmup:]), "bytes": memory}


def draw(root: Path, images: int, size: tuple[int, int]) -> None:
    """Images of ``size`` = height, width in the layouts of GTA5 and Cityscapes."""
    for frame in chain(plan("source", images), plan("train", images)):
        for path in (frame.image, frame.labels):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_frame(root, 0, (size[1], size[0]), frame)


def data_flags(root: Path, crop: tuple[int, int], batch: int) -> list[str]:
    flags = []
    for part, folder in (("source", "gta5"), ("target", "cityscapes")):
        stream = "labeled" if part == "source" else "unlabeled"
        settings = {"root": root / folder, "crop": list(crop), "scale": [1, 1], "workers": 0, f"{stream}_batch": batch}
        flags += [f"--data.{part}.{key}={value}" for key, value in settings.items()]
    return flags


def summarise(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over rounds by method; the baseline's ratios are 1."""

    def median(method: str, key: str) -> float:
        return statistics.median(one[method][key] for one in rounds)

    def ratio(method: str, key: str) -> float:
        return statistics.median(one[method][key] / one[BASELINE][key] for one in rounds)

    return {
        method: {
            "seconds": median(method, "seconds"),
            "seconds_ratio": ratio(method, "seconds"),
            "bytes": median(method, "bytes"),
            "bytes_ratio": ratio(method, "bytes"),
        }
        for method in rounds[0]
    }


def table(methods: dict[str, dict[str, float]]) -> str:
    """The summary, cheapest method first."""
    lines = ["| method | ms / step | x Supervised | MiB | x Supervised |", "|---|---|---|---|---|"]
    for name, cost in sorted(methods.items(), key=lambda item: item[1]["seconds"]):
        time_, memory = f"{1e3 * cost['seconds']:.0f}", f"{cost['bytes'] / 2**20:.0f}"
        lines.append(f"| {name} | {time_} | {cost['seconds_ratio']:.2f} | {memory} | {cost['bytes_ratio']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", type=lambda text: text == "true", default=False, help="true: seconds, for tests")
    parser.add_argument("--network", type=Path, default=EXPERIMENTS / "network/deeplabv3plus_lite0.yaml")
    parser.add_argument("--crop", type=int, nargs=2, default=(256, 256), help="height and width")
    parser.add_argument("--batch", type=int, default=2, help="images of each of the two streams")
    parser.add_argument("--precision", default="32-true", help="of the Trainer, such as bf16-mixed")
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after two that are not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="NAME", help="default: all")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.quick:
        options.network, options.crop = EXPERIMENTS / "network/tiny.yaml", (64, 96)
        options.steps = options.rounds = 1

    methods = [BASELINE, *(name for name in options.methods if name != BASELINE)]
    crop = (options.crop[0], options.crop[1])
    context = multiprocessing.get_context("forkserver")  # every process starts with the imports done and nothing else
    context.set_forkserver_preload(["seglab.loading", "seglab.methods", "seglab.data"])
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool,
    ):
        draw(Path(folder), max(4, options.batch), crop)
        flags = [*data_flags(Path(folder), crop, options.batch), "--network", str(options.network)]
        flags += ["--network.weights", "none"]
        arguments = (flags, options.steps, 0 if options.quick else 2, options.precision)
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(1, options.rounds + 1):
            rounds.append({})
            for method in methods:
                rounds[-1][method] = cost = pool.submit(measure, method, *arguments).result()
                print(f"round {number}/{options.rounds}  {method}: {cost['seconds']:.3f} s / step", file=sys.stderr)

    result = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "network": options.network.stem,
        "crop": crop,
        "batch": options.batch,
        "precision": options.precision,
        "steps": options.steps,
        "rounds": options.rounds,
        "methods": summarise(rounds),
    }
    print(table(summarise(rounds)))
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
