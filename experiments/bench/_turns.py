"""What the scripts of this folder share: alternatives that take turns, their table, a small run, JSON."""

import argparse
import gc
import json
import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from torch import Tensor

from seglab.cli.config import build, parse
from seglab.cli.train import open_session
from seglab.streets.writer import plan, write_frame
from seglab.training.preemption import signals_held
from seglab.training.session import Session

EXPERIMENTS = Path(__file__).parent.parent
METHODS = sorted(path.stem for path in (EXPERIMENTS / "method").glob("*.yaml"))
NETWORK = EXPERIMENTS / "network/deeplabv3plus_lite0.yaml"
TEACHERS = {"mgd": ("deep", "wide")}  # networks of earlier runs, in whose place there are untrained ones
OUTSIDE = ("wood",)  # reads images that show no class
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Batch = dict[str, dict[str, Any]]


def flag(text: str) -> bool:
    return text == "true"


def arguments(script: str, about: str | None, rounds: int) -> argparse.ArgumentParser:
    """The flags that every script has."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--quick", type=flag, default=False, help="true: seconds, for tests")
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of every alternative")
    parser.add_argument("--output", type=Path, default=Path(script).with_suffix(".json"))
    return parser


def step_arguments(
    script: str, about: str | None, rounds: int, methods: Sequence[str] = METHODS, crop: tuple[int, int] = (96, 192)
) -> argparse.ArgumentParser:
    """And those of the scripts that time steps of methods."""
    parser = arguments(script, about, rounds)
    parser.add_argument("--network", type=Path, default=NETWORK)
    parser.add_argument("--crop", type=int, nargs=2, default=crop, help="height and width")
    parser.add_argument("--batch", type=int, default=2, help="images of each of the two streams")
    parser.add_argument("--methods", nargs="+", default=methods, choices=METHODS, metavar="NAME")
    return parser


def now() -> float:
    """Seconds: of this process on a CPU, whose other processes are not counted; of the clock on a GPU, at rest."""
    if DEVICE.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def take_turns(
    alternatives: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each alternative in each round; every round begins with another one."""
    names, seconds = list(alternatives), {name: [0.0] * rounds for name in alternatives}
    for number in range(-warmup, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = now()
            alternatives[name]()
            if number >= 0:
                seconds[name][number] = now() - start
    return seconds


def compare(values: Mapping[str, Sequence[float]], baseline: str) -> dict[str, dict[str, float]]:
    """Median of each alternative, and its ratio to the baseline within a round: median, quartiles."""
    result = {}
    for name, own in values.items():
        ratios = [a / b for a, b in zip(own, values[baseline], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        result[name] = {"median": statistics.median(own), "ratio": middle, "low": low, "high": high}
    return result


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def spread(one: Mapping[str, float]) -> str:
    return f"{one['ratio']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def finish(output: Path, result: Mapping[str, object]) -> None:
    """Write the JSON, with the machine that it is true of."""
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"
    head = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    output.write_text(json.dumps(head | dict(result), indent=1) + "\n")
    print(f"written to {output}")


# A run on streets.


def draw(root: Path, images: int, size: tuple[int, int]) -> None:
    """Images of ``size`` = height, width in the layouts of GTA5 and Cityscapes; as many in each part."""
    for frame in chain(*(plan(split, images) for split in ("source", "train", "val"))):
        for path in (frame.image, frame.labels):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_frame(root, 0, (size[1], size[0]), frame)


def config(method: str, root: Path, network: Path, crop: Sequence[int], batch: int, workers: int = 0) -> list[str]:
    """Flags of a method on the images of ``draw``, whose crops are ``crop`` and whose streams have ``batch`` images."""
    benchmark = EXPERIMENTS / "benchmark/streets_adaptation.yaml"
    files = ["-c", str(benchmark), "-c", str(EXPERIMENTS / f"method/{method}.yaml")]
    below = ".network" if "network:" in network.read_text() else ""  # of a network that wraps one
    flags = ["--network", str(network), f"--network{below}.weights", "none"]
    for part, folder, stream in (("source", "gta5", "labeled"), ("target", "cityscapes", "unlabeled")):
        settings = {"root": root / folder, "crop": list(crop), "scale": [1, 1], "workers": workers}
        settings |= {f"{stream}_batch": batch}
        flags += [f"--data.{part}.{key}={value}" for key, value in settings.items()]
    outside = ["--data.target.outside", str(root / "gta5/images")] if method in OUTSIDE else []
    return [*files, *flags, *outside, *teachers(method, network)]


def teachers(method: str, network: Path) -> list[str]:
    """Flags of the frozen networks that a method takes from earlier runs: untrained ones of the student's form."""
    untrained = yaml.safe_load(network.read_text())
    untrained.get("init_args", {})["weights"] = "none"
    return [part for name in TEACHERS.get(method, ()) for part in (f"--model.{name}", json.dumps(untrained))]


def quiet() -> None:
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def fit(flags: Sequence[str], runs: Path, steps: int, prepare: Callable[[Session], None]) -> None:
    """``seglab fit`` without validation, bar and checkpoints on the way; ``prepare`` sees it before it starts."""
    session = open_session(
        [
            *("fit", *flags, "--runs", str(runs), "--trainer.max_steps", str(steps)),
            *("--trainer.limit_val_batches", "0", "--trainer.enable_progress_bar", "false"),
            *("--checkpoint_every", str(10 * steps)),
        ]
    )
    prepare(session)
    with signals_held(session.preemption):
        session.trainer.fit(session.method, datamodule=session.data)
    gc.collect()  # loader processes end with their iterators


class Bare:
    """A method without a Trainer: its losses, their sum, the optimiser, the teacher, and nothing else.

    Args:
        flags: of ``config``.
        steps: of the run that its schedules think of.
    """

    def __init__(self, flags: Sequence[str], steps: int = 1000) -> None:
        self.method, self.data, *_ = build(parse(["validate", *flags]))
        self.trainer: Any = SimpleNamespace(
            global_step=0, max_steps=steps, accumulate_grad_batches=1, world_size=1, global_rank=0,
            training=True, sanity_checking=False, datamodule=self.data, lightning_module=self.method,
        )  # fmt: skip
        self.method._trainer = self.data.trainer = self.trainer
        self.method._fabric = None
        self.method.configure_model()
        self.method.to(DEVICE).train()
        self.optimizer = self.method.configure_optimizers()["optimizer"]

    def batch(self) -> Batch:
        """The first batch of the streams that the method reads, on the device; images in bytes."""
        return to_device(next(iter(self.data.train_dataloader()))[0])

    def step(self, batch: Batch) -> Tensor:
        floats = self.method.on_after_batch_transfer({name: dict(sample) for name, sample in batch.items()}, 0)
        self.method._hidden = floats.get("unlabeled", {}).pop("hidden", None)
        terms = self.method.losses(floats)
        for part in self.method.additions:
            terms |= part.losses(self.method, floats)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.trainer.global_step += 1
        if self.method.has_teacher:
            self.method.teacher.update(self.method.student, self.trainer.global_step)
        return loss


def to_device(batch: Batch) -> Batch:
    return {
        name: {key: value.to(DEVICE) if isinstance(value, Tensor) else value for key, value in sample.items()}
        for name, sample in batch.items()
    }
