"""Run directories as training writes them, without training: scores rise, pseudo-labels improve, pictures have errors.

``python tests/fake_runs.py FOLDER [METHODS SEEDS]`` writes two benchmarks to look at.
"""

import csv
import json
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from seglab.labels import CITYSCAPES, IGNORE
from seglab.pictures import write_image
from seglab.streets.scene import render
from seglab.streets.style import PHOTO

METHODS = (
    *("Supervised", "MeanTeacher", "CutMixSeg", "FixMatch", "UniMatch", "UniMatchV2", "CPS", "U2PL"),
    *("DACS", "DAFormer", "MIC", "MinEnt", "AdvEnt", "SPCL", "CLUDA"),
)
PACKAGES = {"torch": "2.6.0", "lightning": "2.6.4", "timm": "1.0.15", "numpy": "2.1.0"}
CONFIG: dict[str, Any] = {
    "seed_everything": 1,
    "trainer": {"precision": "bf16-mixed", "max_steps": 600, "val_check_interval": 60, "log_every_n_steps": 10},
    "model": {"class_path": "seglab.methods.Supervised"},
    "data": {
        "class_path": "seglab.data.Cityscapes",
        "init_args": {
            **{"root": "data/streets/cityscapes", "labeled": "1/64", "crop": [96, 192], "scale": [0.75, 1.5]},
            **{"labeled_batch": 2, "unlabeled_batch": 2, "workers": 4, "rare_classes": None},
        },
    },
    "benchmark": "streets_1_64",
    "network": {
        "class_path": "seglab.networks.Segmenter",
        "init_args": {"decoder": "DeepLabV3Plus", "encoder": "tu-tf_efficientnet_lite0", "weights": "imagenet"},
    },
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.0003, "weight_decay": 0.01}},
    "schedule": {"power": 0.9, "warmup": 0},
    "evaluation": {"class_path": "seglab.evaluation.Whole", "init_args": {"scales": [1.0], "flip": False}},
    "additions": [],
}
OPTIONS = {
    "MeanTeacher": {"weight": 10.0, "ramp_up": 300, "decay": 0.99},
    "FixMatch": {"threshold": 0.95, "weight": 1.0, "decay": 0.996},
    "UniMatch": {"threshold": 0.95, "feature_dropout": 0.5, "decay": 0.996},
}


def write_run(
    folder: Path,
    method: str = "FixMatch",
    seed: int | None = 1,
    level: float = 0.5,
    *,
    benchmark: str = "streets_1_64",
    status: str = "finished",
    steps: int = 600,
    classes: tuple[str, ...] = CITYSCAPES.names,
    teacher: bool = True,
    pictures: int = 0,
    config: dict[str, Any] | None = None,
    summary: dict[str, Any] | None = None,
) -> Path:
    """Write one run directory.

    Args:
        folder: the run directory.
        level: about the mIoU that the run ends with.
        teacher: whether scores under ``val_teacher/`` and pseudo-label quality are there.
        pictures: number of images under ``panels/``.
        config: dotted keys to change in the config.
        summary: keys of ``summary.json`` to change; None values are written as null.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed or 0, *method.encode(), *benchmark.encode()])
    reached = steps if status == "finished" else steps // 2
    rows, scores = _training(rng, level, steps, reached, classes, teacher)
    changes = {"seed_everything": seed, "benchmark": benchmark, "trainer.max_steps": steps, **(config or {})}
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(method, changes), sort_keys=False))
    names = ["epoch", "step", *sorted({name for row in rows for name in row} - {"step"})]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({"epoch": 0, **row} for row in rows)
    speed = rng.uniform(8, 10) / (1 + METHODS.index(method) % 7 / 3 if method in METHODS else 1)
    content = {
        **{"status": status, "benchmark": benchmark, "method": method, "seed": seed, "step": reached, "steps": steps},
        **{"last": scores[-1] if scores else {}, "best": max(scores, key=lambda s: s["val/mIoU"], default={})},
        **{"images_per_second": speed, "train_seconds": 4 * reached / speed, "wall_seconds": 4.4 * reached / speed},
        **{"peak_memory_bytes": int(3e9 + 4e9 / speed), "device": "NVIDIA A100-SXM4-80GB", "world_size": 1},
        **{"parameters": 3863395, "git_revision": "0945438406ab", "python": "3.11.7", "packages": PACKAGES},
    }
    if status == "failed":
        content["error"] = "OutOfMemoryError: CUDA out of memory. Tried to allocate 1.2 GiB"
    (folder / "summary.json").write_text(json.dumps(content | (summary or {}), indent=2))
    if scores:
        _write_confusion(folder, rng, level, reached, classes, teacher)
    if pictures and scores:
        _write_panels(folder, rng, level, reached, pictures, teacher)
    return folder


def write_sweep(
    root: Path,
    methods: int = 3,
    seeds: int = 3,
    benchmarks: tuple[str, ...] = ("streets_1_64", "streets_1_8"),
    pictures: int = 2,
) -> list[Path]:
    """Write ``root/<benchmark>/<method>/s<seed>`` of the first methods; the first seed of each has pictures."""
    return [
        write_run(
            root / benchmark / method.lower() / f"s{seed}-20260101-120000",
            method,
            seed,
            0.3 + 0.12 * b + 0.35 * (index % 7) / 7 + 0.02 * (index // 7),
            benchmark=benchmark,
            teacher=index > 0,
            pictures=pictures if seed == 1 else 0,
            config={"data.init_args.labeled": benchmark.removeprefix("streets_").replace("_", "/")},
        )
        for b, benchmark in enumerate(benchmarks)
        for index, method in enumerate(METHODS[:methods])
        for seed in range(1, seeds + 1)
    ]


def _config(method: str, changes: dict[str, Any]) -> dict[str, Any]:
    config = deepcopy(CONFIG)
    config["model"] = {"class_path": f"seglab.methods.{method}", "init_args": dict(OPTIONS.get(method, {}))}
    for key, value in changes.items():
        *path, last = key.split(".")
        part = config
        for name in path:
            part = part.setdefault(name, {})
        part[last] = value
    return config


def _training(
    rng: np.random.Generator, level: float, steps: int, reached: int, classes: tuple[str, ...], teacher: bool
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Rows of metrics.csv and the scores of each validation."""
    easy = np.linspace(0.9, 0.1, len(classes)) ** 0.7
    final = np.clip(level * easy / easy.mean() + rng.normal(0, 0.02, len(classes)), 0, 0.98)
    rows: list[dict[str, float]] = []
    scores = []
    for step in range(10, reached + 1, 10):
        supervised = 0.25 + 1.4 * np.exp(-4 * step / steps) + abs(rng.normal(0, 0.06))
        terms = {"train/loss/supervised": supervised}
        if teacher:
            terms["train/loss/consistency"] = 0.15 * (1 - np.exp(-6 * step / steps)) + abs(rng.normal(0, 0.015))
        rows.append({"step": step - 1, "train/loss": sum(terms.values()), **terms})
        if step % max(10, steps // 10 // 10 * 10):
            continue
        score: dict[str, float] = {"step": step}
        for stage, lag in (("val", 5), ("val_teacher", 3.5))[: 1 + teacher]:
            noise = rng.normal(0, 0.012, len(classes)) + rng.normal(0, 0.006)
            value = np.clip(final * (1 - np.exp(-lag * step / steps)) + noise, 0, 0.99)
            score[f"{stage}/mIoU"] = value.mean()
            score[f"{stage}/pixel_accuracy"] = min(0.99, 0.35 + 0.75 * value.mean() ** 0.7)
            score |= {f"{stage}/IoU/{name}": iou for name, iou in zip(classes, value, strict=True)}
        row = dict(score, step=step - 1)
        if teacher:
            good = np.clip(final + 0.25 * step / steps + rng.normal(0, 0.02, len(classes)), 0, 1)
            taken = np.clip(0.3 + 0.6 * final * step / steps + rng.normal(0, 0.02, len(classes)), 0, 1)
            row |= {"train/pseudo/accuracy": good.mean(), "train/pseudo/coverage": taken.mean()}
            row |= {f"train/pseudo/accuracy/{name}": a for name, a in zip(classes, good, strict=True)}
            row |= {f"train/pseudo/coverage/{name}": a for name, a in zip(classes, taken, strict=True)}
        rows.append(row)
        scores.append(score)
    return rows, scores


def _write_confusion(
    folder: Path, rng: np.random.Generator, level: float, step: int, classes: tuple[str, ...], teacher: bool
) -> None:
    size = len(classes)
    share = 1e6 * np.linspace(1, 0.02, size)[:, None]
    counts = (share * ((1 - level) * rng.dirichlet(np.full(size, 0.4), size) + level * np.eye(size))).astype(int)
    content = {"step": step, "classes": list(classes), "val": counts.tolist()}
    if teacher:
        content["val_teacher"] = (counts + 1000 * np.eye(size, dtype=int)).tolist()
    (folder / "confusion.json").write_text(json.dumps(content))


@cache
def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A street (H W 3 uint8) and its class indices (H W uint8)."""
    image, ids = render(np.random.default_rng(number), PHOTO, (256, 128))
    return image, CITYSCAPES.decode[ids]


def _write_panels(folder: Path, rng: np.random.Generator, level: float, step: int, number: int, teacher: bool) -> None:
    palette = np.zeros((256, 3), np.uint8)
    palette[: CITYSCAPES.num_classes] = CITYSCAPES.palette
    images = []
    for index in range(number):
        image, truth = scene(index)
        name = f"{index:03d}"
        write_image(folder / f"panels/{name}.jpg", image)
        write_image(folder / f"panels/{name}_truth.png", truth, palette)
        predictions = []
        for at, quality in ((step // 2, level / 2), (step, level)):
            prediction: dict[str, Any] = {"step": at}
            for network in ("student", "teacher")[: 1 + teacher]:
                file = f"{name}_{at:06d}_{network}.png"
                write_image(folder / "panels" / file, _predict(rng, truth, quality), palette)
                prediction[network] = file
            predictions.append(prediction)
        images.append({"key": f"val/{name}", "image": f"{name}.jpg", "truth": f"{name}_truth.png"})
        images[-1]["predictions"] = predictions
    content = {"classes": list(CITYSCAPES.names), "palette": [list(colour) for colour in CITYSCAPES.palette]}
    (folder / "panels/panels.json").write_text(json.dumps({**content, "images": images}))


def _predict(rng: np.random.Generator, truth: np.ndarray, level: float) -> np.ndarray:
    """The truth seen through wavy glass: borders move, small things go, patches take their neighbours' class."""
    height, width = truth.shape
    y, x = np.mgrid[:height, :width].astype(float)
    for cells, reach in ((6, 60), (24, 14)):
        waves = rng.normal(0, (1 - level) * reach / 4, (2, cells // 2, cells)).astype(np.float32)
        dy, dx = (np.asarray(Image.fromarray(wave).resize((width, height), Image.Resampling.BICUBIC)) for wave in waves)
        y, x = y + dy / 2, x + dx
    seen = truth[y.round().astype(int).clip(0, height - 1), x.round().astype(int).clip(0, width - 1)]
    return np.where(seen == IGNORE, 0, seen).astype(np.uint8)


if __name__ == "__main__":
    counts = [int(argument) for argument in sys.argv[2:4]]
    print(len(write_sweep(Path(sys.argv[1]), *counts)), "runs")
