"""What an offline W&B run would upload, read back from its files."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from offline import OfflineRun
from PIL import Image
from probes import COLD, EXPERIMENTS, config, fit_command, only_run, rows, run_seglab

from seglab.cli import main
from seglab.labels import CAMVID
from seglab.runs.directory import flatten
from seglab.training.wandb import WandbRun

pytest.importorskip("wandb")
WANDB = ["-c", str(EXPERIMENTS / "logger/wandb.yaml")]


def segments(run: Path) -> list[OfflineRun]:
    """Sessions of a run in order of time."""
    return [OfflineRun(folder) for folder in sorted(run.glob("wandb/offline-run-*"))]


def logged(run: Path) -> dict[int, dict[str, float]]:
    """metrics.csv as step -> values."""
    steps: dict[int, dict[str, float]] = defaultdict(dict)
    for row in rows(run):
        steps[int(row["step"])] |= {key: float(value) for key, value in row.items() if value and key != "step"}
    return steps


def check_history(segment: OfflineRun, expected: dict[int, dict[str, float]]) -> None:
    assert [row["trainer/global_step"] for row in segment.history] == sorted(expected)
    for row in segment.history:
        values = expected[row["_step"]]
        assert {key: row[key] for key in values} == pytest.approx(values, nan_ok=True)


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FixMatch, 4 steps, in a process that stands elsewhere."""
    runs, elsewhere = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("elsewhere")
    done = run_seglab(*fit_command("fixmatch", camvid, runs, 4, *WANDB), cwd=elsewhere, launcher=COLD)
    assert done.returncode == 0, done.stderr
    assert not list(elsewhere.iterdir()), "everything is in the run directory"
    return only_run(runs)


def test_a_dashboard_groups_runs(run: Path) -> None:
    (segment,) = segments(run)
    assert segment.run.run_id.startswith(f"camvid-1_2-fixmatch-{run.name}")
    assert (segment.run.run_group, segment.run.job_type) == ("camvid@1/2/FixMatch", "FixMatch")
    assert set(segment.run.tags) == {"camvid@1/2", "FixMatch", "labeled 1/2", "seed 0"}
    assert segment.run.project == "seglab"
    told = {key: segment.config[key] for key in ("benchmark", "method", "split", "seed")}
    assert told == {"benchmark": "camvid@1/2", "method": "FixMatch", "split": "1/2", "seed": 0}
    saved = config(run)
    for section in ("model", "data", "trainer"):
        assert flatten(segment.config[section]) == flatten(saved[section])
    assert segment.config["environment"]["packages"]["torch"]
    assert {"git_revision", "device", "world_size", "parameters"} <= segment.config["environment"].keys()
    assert segment.summary["status"] == "finished"
    assert segment.exit_code == 0


def test_curves_are_those_of_metrics_csv(run: Path) -> None:
    (segment,) = segments(run)
    check_history(segment, logged(run))
    assert {"val/IoU/road", "train/pseudo/accuracy", "train/pseudo/coverage/road"} <= segment.history[-1].keys()
    assert segment.metrics["*"].step_metric == "trainer/global_step"
    scores = segment.values("val/mIoU")
    assert segment.summary["val/mIoU"] == scores[-1]
    assert segment.summary["best/val/mIoU"] == max(scores)


def test_tables(run: Path) -> None:
    (segment,) = segments(run)
    last = segment.history[-1]
    table = segment.table(last["val/classes"])
    assert table["columns"] == ["class", "IoU val", "IoU val_teacher"][: len(table["columns"])]
    assert [row[0] for row in table["data"]] == list(CAMVID.names)
    assert [row[1] for row in table["data"]] == [last[f"val/IoU/{name}"] for name in CAMVID.names]
    cells = segment.table(last["val/confusion_table"])
    assert cells["columns"] == ["Actual", "Predicted", "nPredictions"]
    counts = json.loads((run / "confusion.json").read_text())["val"]
    assert [row[2] for row in cells["data"]] == [count for line in counts for count in line]
    chart = segment.config["_wandb"]["visualize"]["val/confusion"]
    assert chart["panel_config"]["panelDefId"] == "wandb/confusion_matrix/v1"


def test_panels_have_masks_and_class_names(run: Path) -> None:
    (segment,) = segments(run)
    panels = segment.history[-1]["panels"]
    assert panels["captions"] == ["val_00000", "val_00001", "val_00002"]
    for index, masks in enumerate(panels["all_masks"]):
        shown = {"ground_truth": f"{index:03d}_truth.png", "prediction": f"{index:03d}_000004_student.png"}
        for name, file in shown.items():
            mask = np.asarray(Image.open(segment.files / masks[name]["path"]))
            assert np.array_equal(mask, np.asarray(Image.open(run / "panels" / file)))
    labels = segment.config["_wandb"]["mask/class_labels"]["panels_wandb_delimeter_prediction"]["value"]
    assert labels == {**{str(i): name for i, name in enumerate(CAMVID.names)}, "255": "ignored"}


def test_a_killed_run_goes_on_as_the_same_and_lacks_no_score(camvid: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    place = ["--run_dir", str(run), "--checkpoint_every", "3", "--ckpt_path", "last"]
    command = fit_command("supervised", camvid, tmp_path, 6, *WANDB, *place)
    kill = ["--trainer.callbacks+=probes.KillAt", "--trainer.callbacks.step=5"]
    assert run_seglab(*command, *kill, launcher=COLD).returncode == -9
    assert run_seglab(*command, launcher=COLD).returncode == 0
    killed, resumed = segments(run)
    assert killed.run.run_id == resumed.run.run_id
    assert (killed.exit_code, resumed.exit_code) == (None, 0)
    check_history(resumed, logged(run))  # W&B wrote the first part with delay, so the second repeats it
    # A run that ended in order is not repeated, and the steps go on.
    assert main(["fit", str(run), "--trainer.max_steps", "8"]) == 0
    *_, longer = segments(run)
    assert longer.run.run_id == killed.run.run_id
    check_history(longer, {step: values for step, values in logged(run).items() if step >= 6})


def test_a_failed_run_ends_as_failed(camvid: Path, tmp_path: Path) -> None:
    command = fit_command("supervised", camvid, tmp_path, 4, *WANDB)
    broken = run_seglab(*command, "--trainer.callbacks+=probes.RaiseAt", "--trainer.callbacks.step=1", launcher=COLD)
    assert broken.returncode == 1
    (segment,) = segments(only_run(tmp_path))
    assert (segment.summary["status"], segment.exit_code) == ("failed", 1)


def test_of_two_ranks_one_logs(camvid: Path, tmp_path: Path) -> None:
    place = ["--run_dir", str(tmp_path / "run"), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = fit_command("supervised", camvid, tmp_path, 2, *place, *WANDB, "--data.labeled_batch", "4")
    done = run_seglab(*command, launcher=COLD)
    assert done.returncode == 0, done.stderr[-3000:]
    (segment,) = segments(tmp_path / "run")
    check_history(segment, logged(tmp_path / "run"))
    assert segment.history[-1]["panels"]["count"] == 3


IDENTITY = {"benchmark": "b", "method": "M", "split": "1/8", "seed": 1}


def test_an_agent_says_which_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    monkeypatch.setenv("WANDB_SWEEP_ID", "def")
    logger = WandbRun(project="mine", entity="us", offline=False)
    logger.bind(tmp_path, IDENTITY, {})
    assert (logger._wandb_init["id"], logger._wandb_init["project"], logger._wandb_init["entity"]) == (None,) * 3
    assert not list(tmp_path.iterdir())


def test_ids_differ_between_runs_of_one_name_and_stay_with_the_folder(tmp_path: Path) -> None:
    ids = []
    for parent in ("a", "b", "a"):
        (tmp_path / parent / "run").mkdir(parents=True, exist_ok=True)
        logger = WandbRun()
        logger.bind(tmp_path / parent / "run", IDENTITY, {})
        ids.append(logger._wandb_init["id"])
    assert ids[0] == ids[2] != ids[1]
    (tmp_path / "a").rename(tmp_path / "c")
    logger.bind(tmp_path / "c/run", IDENTITY, {})
    assert logger._wandb_init["id"] == ids[0]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.loggers import wandb

    from seglab.types import SeglabError

    monkeypatch.setattr(wandb, "_WANDB_AVAILABLE", False)
    with pytest.raises(SeglabError, match=r'pip install "seglab\[wandb\]"'):
        WandbRun()
