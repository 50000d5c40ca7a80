"""Pseudo-labels of a finished run for all unlabeled images, as a folder that another run reads.

Each image is predicted once. Its prediction waits in a folder beside the output until the thresholds, which depend on
all images, are known; an interrupted command goes on from there. The output appears in one step, when it is complete.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from seglab.data import SegmentationData
from seglab.data.files import Item
from seglab.data.pseudo_labels import DESCRIPTION
from seglab.evaluation import PseudoLabelQuality
from seglab.files import read_json, remove_partial, write_whole
from seglab.labels import IGNORE
from seglab.ops.pseudo import LEVELS
from seglab.pictures import write_image
from seglab.runs.directory import differences
from seglab.training.record import write_json
from seglab.types import Sample, SeglabError

Rule = Callable[[Tensor], Tensor]  # pixels K (LEVELS + 1) by predicted class and level of confidence -> thresholds K


class Prediction(NamedTuple):
    """What is kept of an image until the thresholds are known; each H W uint16."""

    label: np.ndarray
    level: np.ndarray  # confidence x LEVELS
    truth: np.ndarray  # 255 where unknown


class Coverage(NamedTuple):
    """How many pixels of each class were predicted and kept, and how many of those are right."""

    predicted: Tensor  # K int64
    kept: Tensor  # K int64
    quality: dict[str, float]  # of ``PseudoLabelQuality``; NaN without ground truth


def write_pseudo_labels(
    output: Path,
    predict: Callable[[Sample], Tensor],
    data: SegmentationData,
    rule: Rule,
    source: dict[str, Any],
    about: dict[str, Any],
    stream: str = "unlabeled",
) -> tuple[dict[str, float], Coverage]:
    """Write ``<key>.png`` (class index, 255 = none) of each image of a stream and ``pseudo_labels.json``.

    Args:
        output: folder, which must not exist or be empty.
        predict: class probabilities 1 K H W, on any device, of a sample with an image 1 3 H W uint8.
        data: whose training images are labelled.
        rule: thresholds by class.
        source: what the predictions depend on; an interrupted command may go on if it is the same.
        about: written to ``pseudo_labels.json`` beside classes and thresholds.
        stream: whose images are labelled: the unlabeled ones, or ``tagged``.

    Returns:
        Thresholds by class name, and what they keep.

    Raises:
        SeglabError: the output exists, or cannot be written, or an interrupted command had another source.
    """
    if output.is_dir() and any(output.iterdir()):
        raise SeglabError(f"{output} exists: remove it or choose another --output")
    work = output.with_name(f".{output.name}.unfinished")
    items = data.stream_items(stream)
    try:
        _claim(work, source)
        _predict_all(work, predict, data, items, stream)
        thresholds = rule(_count(work, items, data.space.num_classes))
        named = {name: round(float(t), 5) for name, t in zip(list(data.space.names), thresholds, strict=True)}
        shutil.rmtree(work / "labels", ignore_errors=True)  # of a command that was interrupted here
        coverage = _label_all(work, items, thresholds, list(data.space.names))
        write_json(work / "labels" / DESCRIPTION, {"classes": list(data.space.names), "thresholds": named, **about})
        (work / "labels").rename(output)
    except OSError as error:
        raise SeglabError(
            f"cannot write pseudo-labels to {output} ({error.strerror}); the same command goes on"
        ) from error
    shutil.rmtree(work)
    return named, coverage


def print_coverage(thresholds: dict[str, float], coverage: Coverage, console: Console) -> None:
    """The table that says how much of each class is labelled, and how well where ground truth is there."""
    table = Table(title="pseudo-labels")
    for column in ("class", "threshold", "predicted", "kept", "accuracy"):
        table.add_column(column, justify="left" if column == "class" else "right")
    total = max(1, int(coverage.predicted.sum()))
    for index, (name, threshold) in enumerate(thresholds.items()):
        predicted, kept = int(coverage.predicted[index]), int(coverage.kept[index])
        right = coverage.quality[f"accuracy/{name}"]
        table.add_row(name, f"{threshold:.4f}", _percent(predicted, total), _percent(kept, predicted), _share(right))
    kept = int(coverage.kept.sum())
    table.add_section()
    table.add_row("all", "", "100.0 %", _percent(kept, total), _share(coverage.quality["accuracy"]))
    console.print(table)


def _claim(work: Path, source: dict[str, Any]) -> None:
    """Begin the working folder, or go on in one of the same source."""
    mark = work / "source.json"
    if not mark.is_file():
        shutil.rmtree(work, ignore_errors=True)
        (work / "predictions").mkdir(parents=True)
        write_json(mark, source)
    elif changed := differences(read_json(mark), source):
        raise SeglabError(
            f"{work} holds unfinished pseudo-labels with another {', '.join(changed)}: remove it, or run the command "
            "that began it"
        )
    else:
        remove_partial(work, deep=True)
        if done := len(list((work / "predictions").glob("*.png"))):
            print(f"seglab: going on: {done} images are predicted already", file=sys.stderr)


def _predict_all(
    work: Path, predict: Callable[[Sample], Tensor], data: SegmentationData, items: Sequence[Item], stream: str
) -> None:
    missing = [item for item in items if not _path(work, item.key).is_file()]
    if not missing:
        return
    frames, quiet = data.one_pass(stream, set(missing), hidden=True), not sys.stderr.isatty()
    for sample in track(frames, "predicting", total=len(missing), disable=quiet, transient=True):
        confidence, label = predict(sample).max(1)
        level = (confidence * LEVELS).round()
        truth = sample.get("hidden", torch.full(label.shape, IGNORE))
        parts = [part[0].cpu().numpy().astype(np.uint16) for part in (label, level, truth)]
        _write_png(_path(work, sample["key"][0]), np.concatenate(parts))


def _count(work: Path, items: Sequence[Item], num_classes: int) -> Tensor:
    """Pixels by predicted class and level of confidence: K (LEVELS + 1) int64."""
    width = LEVELS + 1
    counts = np.zeros(num_classes * width, np.int64)
    for item in items:
        label, level, _ = _read(work, item.key)
        counts += np.bincount((label.astype(np.int64) * width + level).ravel(), minlength=len(counts))
    return torch.from_numpy(counts.reshape(num_classes, width))


def _label_all(work: Path, items: Sequence[Item], thresholds: Tensor, class_names: list[str]) -> Coverage:
    levels = (thresholds.double() * LEVELS).round().numpy()
    predicted, kept = (np.zeros(len(class_names), np.int64) for _ in range(2))
    quality = PseudoLabelQuality(class_names)
    for item in items:
        label, level, truth = _read(work, item.key)
        selected = level >= levels[label]
        write_image(work / "labels" / f"{item.key}.png", np.where(selected, label, IGNORE).astype(np.uint8))
        predicted += np.bincount(label.ravel(), minlength=len(class_names))
        kept += np.bincount(label[selected], minlength=len(class_names))
        arrays = (label.astype(np.int64), selected, truth.astype(np.uint8))
        quality.update(*(torch.from_numpy(array)[None] for array in arrays))
    return Coverage(torch.from_numpy(predicted), torch.from_numpy(kept), quality.compute())


def _path(work: Path, key: str) -> Path:
    return work / "predictions" / f"{key}.png"


def _write_png(path: Path, array: np.ndarray) -> None:
    """By OpenCV, for Pillow has no writer for 16 bits that is as fast."""
    _, encoded = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    write_whole(path, encoded.tobytes())


def _read(work: Path, key: str) -> Prediction:
    path = _path(work, key)
    stacked = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stacked is None:
        raise SeglabError(f"{path} is damaged: remove it and give the same command again")
    return Prediction(*np.split(stacked, 3))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _share(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f} %"
