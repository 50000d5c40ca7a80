"""The same few validation images, predicted again and again: ``panels/`` of a run directory."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch import Tensor

from seglab.data import SegmentationData
from seglab.data.files import Item
from seglab.files import read_json
from seglab.labels import LabelSpace
from seglab.ops.ranks import gather_objects
from seglab.pictures import contact_sheet, write_image
from seglab.runs.directory import PANELS
from seglab.training.loggers import Panel
from seglab.training.record import run_loggers, write_json
from seglab.types import Sample, SeglabError

SIDE = 512  # longest side of a picture in pixels
COLUMNS = 6  # steps that the sheet shows
WIDTH = 240  # of a column of the sheet, pixels


@dataclass(frozen=True)
class PanelSettings:
    """Which predictions ``fit`` keeps to show how it gets on. They cost no forward pass: validation makes them.

    Attributes:
        images: validation images, evenly spread over the split; 0 for none.
        every: steps between two panels, each taken at the next validation; 0: at every validation. The last validation
            always gives one.
    """

    images: int = 4
    every: int = 0

    def check(self) -> None:  # not on construction: the config parser would bury the message
        if min(self.images, self.every) < 0:
            raise SeglabError(f"{self}: give numbers of 0 or more; images 0 turns the panels off")


class Panels(Callback):
    """Writes image, truth and the predictions of all evaluated networks, and a sheet of the student's progress.

    Args:
        run: run directory.
        settings: which images, how often.
    """

    def __init__(self, run: Path, settings: PanelSettings) -> None:
        self.folder, self.settings = (run / PANELS).parent, settings
        self.keys: list[str] = []  # of the images wanted from the validation under way
        self.taken: dict[str, Panel] = {}  # those that this rank has seen

    @property
    def path(self) -> Path:
        return self.folder / Path(PANELS).name

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.path.is_file():  # a resumed run makes what comes after its checkpoint again
            self._save(_before(self._recorded(), trainer.global_step + 1), _data(trainer).space)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.keys, self.taken = [], {}
        if self._due(trainer):
            items = _seen(trainer)
            count = min(self.settings.images, len(items))
            self.keys = [items[(2 * i + 1) * len(items) // (2 * count)].key for i in range(count)]

    def _due(self, trainer: Trainer) -> bool:
        step, every = trainer.global_step, self.settings.every
        if trainer.sanity_checking:
            return False
        if not every or step >= trainer.max_steps or trainer.state.fn != TrainerFn.FITTING:
            return True
        interval = int(trainer.val_check_interval) // trainer.accumulate_grad_batches
        return step // every > (step - interval) // every

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: dict[str, Tensor],  # type: ignore[override]
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        (key,) = batch["key"]
        if key in self.keys:
            image = (batch["image"][0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            predictions = {name: _small(classes[0].cpu().numpy()) for name, classes in outputs.items()}
            self.taken[key] = Panel(key, _small(image), _small(batch["mask"][0].byte().cpu().numpy()), predictions)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.keys:
            return
        # Gathered rather than written where they are seen: one writer, and no rank that must wait for a file system.
        seen = {key: panel for part in gather_objects(self.taken) for key, panel in part.items()}
        if trainer.is_global_zero:
            space, panels = _data(trainer).space, [seen[key] for key in self.keys]
            self._write(trainer.global_step, panels, space)
            for logger in run_loggers(trainer):
                logger.show_panels(panels, space)

    # The folder.

    def _recorded(self) -> dict[str, Any]:
        return read_json(self.path) if self.path.is_file() else {"images": []}

    def _write(self, step: int, panels: list[Panel], space: LabelSpace) -> None:
        keys = [panel.key for panel in panels]
        record = self._recorded()
        if record["images"] and (keys, list(space.names)) != ([i["key"] for i in record["images"]], record["classes"]):
            kept = self.folder.rename(self.folder.with_name(f"{self.folder.name}-until-{datetime.now():%Y%m%d-%H%M%S}"))
            print(f"seglab: note: panels show other images from now on; the old ones are in {kept}", file=sys.stderr)
            record = {"images": []}
        if not record["images"]:
            record = {"classes": list(space.names), "palette": [list(colour) for colour in space.palette]}
            record["images"] = [
                {"key": key, "image": f"{i:03d}.jpg", "truth": f"{i:03d}_truth.png", "predictions": []}
                for i, key in enumerate(keys)
            ]
            for entry, panel in zip(record["images"], panels, strict=True):
                write_image(self.folder / entry["image"], panel.image)
                write_image(self.folder / entry["truth"], panel.truth, space.colours)
        record = _before(record, step)
        for i, (entry, panel) in enumerate(zip(record["images"], panels, strict=True)):
            names = {name: f"{i:03d}_{step:06d}_{name}.png" for name in panel.predictions}
            for name, classes in panel.predictions.items():
                write_image(self.folder / names[name], classes, space.colours)
            entry["predictions"].append({"step": step, **names})
        self._save(record, space)

    def _save(self, record: dict[str, Any], space: LabelSpace) -> None:
        """Write the list and the sheet, and remove pictures that the list no longer has."""
        write_json(self.path, record)
        listed = {name for entry in record["images"] for part in entry["predictions"] for name in _files(part).values()}
        for path in self.folder.glob("[0-9]*_[0-9]*_*.png"):
            if path.name not in listed:
                path.unlink()
        _write_sheet(self.folder, record, space)


def _data(trainer: Trainer) -> SegmentationData:
    return cast(SegmentationData, trainer.datamodule)  # type: ignore[attr-defined]


def _seen(trainer: Trainer) -> list[Item]:
    """The validation images that validation reads, whose ranks take every n-th; all but for limit_val_batches."""
    items, limit, ranks = _data(trainer).evaluation_items("val"), trainer.limit_val_batches, trainer.world_size
    if isinstance(limit, float):
        return items if limit == 1 else items[: int(limit * (len(items) // ranks)) * ranks]
    return items[: limit * ranks]


def _before(record: dict[str, Any], step: int) -> dict[str, Any]:
    """The record without predictions of ``step`` and later."""
    images = [
        entry | {"predictions": [part for part in entry["predictions"] if part["step"] < step]}
        for entry in record["images"]
    ]
    return record | {"images": images}


def _files(prediction: Mapping[str, Any]) -> dict[str, str]:
    """Name of the network -> file."""
    return {name: file for name, file in prediction.items() if name != "step"}


def _write_sheet(folder: Path, record: dict[str, Any], space: LabelSpace) -> None:
    """Image, truth, the student at up to ``COLUMNS`` steps, and the last prediction of any other network."""
    taken = record["images"][0]["predictions"]
    shown = sorted(set(np.linspace(0, len(taken) - 1, min(COLUMNS, len(taken))).round().astype(int).tolist()))
    others = [name for name in _files(taken[-1]) if name != "student"] if taken else []
    columns = [*((i, "student") for i in shown), *((-1, name) for name in others)]
    titles = [f"{f'{name}, ' if others else ''}step {taken[i]['step']}" for i, name in columns]
    rows = []
    for entry in record["images"]:
        files = [entry["image"], entry["truth"], *(entry["predictions"][i][name] for i, name in columns)]
        rows.append([np.asarray(Image.open(folder / file).convert("RGB")) for file in files])
    captions = [entry["key"] for entry in record["images"]]
    legend = dict(zip(space.names, space.palette, strict=True))
    contact_sheet(rows, ["image", "truth", *titles], folder / "progress.png", captions, WIDTH, legend)


def _small(picture: np.ndarray) -> np.ndarray:
    """At most ``SIDE`` pixels wide and high; class indices (H W) keep their values."""
    factor = SIDE / max(picture.shape[:2])
    if factor >= 1:
        return picture
    height, width = (max(round(side * factor), 1) for side in picture.shape[:2])
    filtering = Image.Resampling.NEAREST if picture.ndim == 2 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize((width, height), filtering))
