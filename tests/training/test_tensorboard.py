"""TensorBoard's event files, read back with its own reader."""

from pathlib import Path

import pytest
from probes import EXPERIMENTS, break_off, fit_command, only_run, rows

from seglab.cli import main
from seglab.training.tensorboard import TensorBoardRun
from seglab.types import SeglabError

TENSORBOARD = ["-c", str(EXPERIMENTS / "logger/tensorboard.yaml")]
reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_a_resumed_run_has_every_score_once_beside_another_logger(camvid: Path, tmp_path: Path) -> None:
    other = ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir", str(tmp_path / "mine")]
    command = fit_command("mean_teacher", camvid, tmp_path / "runs", 7, *TENSORBOARD, *other)
    command += ["--checkpoint_every", "3", "--ckpt_path", "last"]
    break_off(command, 6)  # saved at 6
    (tmp_path / "runs").rename(tmp_path / "moved")
    command[command.index("--runs") + 1] = str(tmp_path / "moved")
    assert main(command) == 0
    run = only_run(tmp_path / "moved")
    assert {path.name.split(".")[0] for path in (run / "tensorboard").iterdir()} == {"events"}
    events = reader.EventAccumulator(str(run / "tensorboard"), {reader.SCALARS: 0, reader.IMAGES: 0})
    events.Reload()
    for name in ("train/loss", "val/mIoU", "val_teacher/IoU/car"):
        expected = [(int(row["step"]), pytest.approx(float(row[name]))) for row in rows(run) if row[name]]
        assert [(event.step, event.value) for event in events.Scalars(name)] == expected
    images = events.Tags()["images"]
    assert "image/truth/student/teacher/val_00000" in images
    assert [event.step for event in events.Images(images[0])] == [1, 3, 5, 7]
    assert {"config/text_summary", "environment/text_summary"} <= set(events.Tags()["tensors"])
    assert list((tmp_path / "mine").rglob("metrics.csv")), "a logger that is not ours goes where the user says"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.loggers import tensorboard

    monkeypatch.setattr(tensorboard, "_TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr(tensorboard, "_TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(SeglabError, match=r'pip install "seglab\[tensorboard\]"'):
        TensorBoardRun()
