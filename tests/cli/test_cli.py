"""The command line as users meet it: what a flag does, what a wrong one says, what a run leaves behind."""

import json
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
import torch
from PIL import Image
from probes import COLD, EXPERIMENTS, column, config, fit_command, only_run, run_seglab, same, weights

import seglab as package
from seglab.cli import main
from seglab.labels import CAMVID


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished FixMatch run of 4 steps."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(fit_command("fixmatch", camvid, runs)) == 0
    return only_run(runs)


# What a run leaves behind.


def test_run_directory(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["benchmark"], summary["method"]) == ("finished", "camvid@1/2", "FixMatch")
    assert summary["step"] == summary["steps"] == 4
    assert summary["images_per_second"] > 0
    assert {f"val/IoU/{name}" for name in CAMVID.names} < set(summary["last"])
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert run.parent.name == "fixmatch"
    assert run.parent.parent.name == "camvid@1_2"


def test_config_runs_again_as_it_is(run: Path, tmp_path: Path) -> None:
    assert main(["fit", "-c", str(run / "config.yaml"), "--runs", str(tmp_path)]) == 0
    again = only_run(tmp_path)
    assert same(weights(run), weights(again))
    assert config(again) == config(run) | {"runs": str(tmp_path)}


def test_a_second_run_gets_a_directory_of_its_own(run: Path, camvid: Path, tmp_path: Path) -> None:
    for seed in ("0", "0", "1"):
        assert main(fit_command("supervised", camvid, tmp_path, 1, "--seed_everything", seed)) == 0
    assert len(list(tmp_path.glob("*/*/*/config.yaml"))) == 3


def test_a_directory_that_holds_a_run_is_not_overwritten(
    run: Path, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "config.yaml").read_bytes()
    assert main(fit_command("supervised", camvid, tmp_path, 1, "--run_dir", str(run))) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert (run / "config.yaml").read_bytes() == before


def test_the_last_step_is_validated_and_saved_whatever_the_interval(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 3)) == 0
    run = only_run(tmp_path)
    assert json.loads((run / "summary.json").read_text())["last"]["step"] == 3
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


# Evaluation, prediction, Python.


def test_validate_equals_the_validation_of_fit(run: Path) -> None:
    assert main(["validate", str(run)]) == 0
    scores = json.loads((run / "validate_last.json").read_text())
    last = json.loads((run / "summary.json").read_text())["last"]
    assert {key: value for key, value in scores.items() if key in last} == {
        k: v for k, v in last.items() if k != "step"
    }


def test_test_scores_the_test_part(run: Path) -> None:
    assert main(["test", str(run), "--ckpt_path", "best"]) == 0
    assert json.loads((run / "test_best.json").read_text())["test/mIoU"] > 0


def test_predict_writes_ids_and_overlays_of_any_size(run: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.b", (61, 97)), ("wide", (64, 200))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(images / f"{name}.png")
    assert main(["predict", str(run), "--images", str(images), "--output", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.b.png", "a.b_overlay.jpg", "wide.png", "wide_overlay.jpg",
    }  # fmt: skip
    ids = np.asarray(Image.open(tmp_path / "out/a.b.png"))
    assert ids.shape == (61, 97)
    assert set(np.unique(ids)) <= set(range(11))

    image = torch.from_numpy(np.asarray(Image.open(images / "a.b.png"))).permute(2, 0, 1)[None].float() / 255
    model = package.load(run)
    assert not model.training
    with torch.inference_mode():
        assert np.array_equal(model(image).argmax(1)[0].numpy(), ids)


# Flags that must not be ignored.


def test_a_flag_after_a_checkpoint_is_obeyed(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    run_seglab("fit", "-c", str(run / "config.yaml"), "--run_dir", str(copy))
    assert main(["fit", str(copy), "--optimizer.lr", "0.123", "--trainer.max_steps", "5"]) == 0
    assert config(copy)["optimizer"]["init_args"]["lr"] == 0.123
    assert list(copy.glob("config-until-*.yaml")), "the earlier config is kept"
    groups = torch.load(copy / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert {group["initial_lr"] for group in groups} == {0.123, 1.23}


def test_another_model_with_a_checkpoint_is_not_ignored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(run / "checkpoints/last.ckpt")
    other = ["--model", "Supervised", "--ckpt_path", checkpoint]
    assert main(["validate", "-c", str(run / "config.yaml"), *other]) == 1
    assert "another method" in capsys.readouterr().err


def test_arguments_dropped_by_another_model_class_are_named(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = ["--model.threshold", "0.5", "--model", "Supervised", "--criterion", "Dice"]
    assert main(fit_command("fixmatch", camvid, tmp_path, 1, *lost)) == 0
    said = capsys.readouterr().err
    assert "'threshold': 0.5" in said
    assert "label_smoothing" not in said, "nobody misses a default"


def test_resuming_another_configuration_names_the_difference(
    run: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = run.parent.parent.parent
    changed = fit_command("fixmatch", camvid, runs, 4, "--ckpt_path", "last", "--model.threshold", "0.5")
    assert main(changed) == 1
    assert "model.init_args.threshold: 0.95 -> 0.5" in capsys.readouterr().err


def test_a_named_run_that_died_before_its_first_checkpoint_starts_again(camvid: Path, tmp_path: Path) -> None:
    command = fit_command("supervised", camvid, tmp_path, 2, "--run_dir", str(tmp_path / "run"), "--ckpt_path", "last")
    for _ in range(2):
        assert main(command) == 0
        rmtree(tmp_path / "run/checkpoints")
    assert len(column(tmp_path / "run", "train/loss")) == 2


def test_resuming_with_nothing_to_resume_starts(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 1, "--ckpt_path", "last")) == 0
    assert only_run(tmp_path)


# Wrong input.


@pytest.mark.parametrize(
    ("flags", "culprit"),
    [
        (["--model.treshold", "0.5"], "treshold"),
        (["--optimiser.lr", "0.1"], "optimiser"),
        (["--trainer.max_step", "3"], "max_step"),
        (["--model", "FixMtch"], "FixMtch"),
        (["--model.threshold", "high"], "threshold"),
        (["--network.encoder", "tu-tf_efficientnet_lite"], "tf_efficientnet_lite4"),
        (["--network.decoder", "Unett"], "Unet"),
        (["--network.weights", "/nowhere/w.safetensors"], "/nowhere/w.safetensors"),
        (["--data.root", "/nowhere"], "/nowhere"),
        (["--data.labeled", "1/0"], "1/0"),
        (["--data.labeled", "lists/none.txt"], "lists/none.txt"),
        (["--model.strong", '{"hue": 3}'], "hue"),
        (["--evaluation", "Slide"], "window"),
        (["--trainer.max_steps", "-1"], "max_steps"),
        (["--trainer.max_epochs", "3"], "max_epochs"),
        (["--trainer.limit_train_batches", "3"], "limit_train_batches"),
        (["--trainer.enable_checkpointing", "false"], "enable_checkpointing"),
        (["--model.threshold", "1.5"], "FixMatch.threshold"),
        (["--data.labeled_batch", "0"], "batch"),
        (["--seed_everything", "-1"], "seed_everything"),
        (["--ckpt_path", "/nowhere/last.ckpt"], "/nowhere/last.ckpt"),
        (["-c", "experiments/benchmark/none.yaml"], "none.yaml"),
    ],
)
def test_wrong_input_is_named_in_a_short_message(
    flags: list[str], culprit: str, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command("fixmatch", camvid, tmp_path, 2, *flags)) == 1
    error = capsys.readouterr().err
    assert culprit in error
    assert "Traceback" not in error
    assert "Union" not in error
    assert len(error) < 2000


def test_a_run_directory_that_cannot_be_written(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    assert main(fit_command("supervised", camvid, tmp_path / "runs", 1)) == 1
    assert str(tmp_path / "runs") in capsys.readouterr().err


def test_a_corrupt_image_ends_training_with_its_name(tmp_path: Path) -> None:
    from layouts import write_camvid

    root = write_camvid(tmp_path / "data")
    victim = next(iter(sorted((root / "train").iterdir())))
    victim.write_bytes(victim.read_bytes()[:200])
    flags = ["--data.labeled", "all", "--data.workers", "2"]
    done = run_seglab(*fit_command("supervised", root, tmp_path / "runs", 20, *flags))
    assert done.returncode == 1
    assert victim.name in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((only_run(tmp_path / "runs") / "summary.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("damage", ["truncated", "pickle"])
def test_a_damaged_checkpoint_is_refused(
    damage: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.ckpt"
    if damage == "truncated":
        path.write_bytes((run / "checkpoints/last.ckpt").read_bytes()[:5000])
    else:
        torch.save({"state_dict": {}, "payload": Path("x")}, path)
    assert main(["validate", str(run), "--ckpt_path", str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_evaluating_without_weights_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-c", str(run / "config.yaml")]) == 1
    assert "which weights" in capsys.readouterr().err


def test_not_a_run_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(tmp_path)]) == 1
    assert f"{tmp_path} is not a run directory" in capsys.readouterr().err


def test_help_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "seglab fit" in capsys.readouterr().out
    assert main(["fti"]) == 1
    assert "fti" in capsys.readouterr().err


def test_wandb_works_offline_and_stays_in_the_run_directory(camvid: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    command = fit_command("supervised", camvid, tmp_path, 2, "-c", str(EXPERIMENTS / "logger/wandb.yaml"))
    done = run_seglab(*command, cwd=EXPERIMENTS, launcher=COLD)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    (record,) = run.glob("wandb/offline-run-*/*.wandb")
    assert f"camvid-1_2-supervised-{run.name}" in record.name  # W&B has its own letters for names
    assert not (EXPERIMENTS / "wandb").exists()


def test_a_test_part_without_labels_is_refused(
    cityscapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "Cityscapes", "--data.root", str(cityscapes)]
    assert main(fit_command("supervised", cityscapes, tmp_path, 1, *data)) == 0
    assert main(["test", str(only_run(tmp_path))]) == 1
    assert "no labeled pixel in test" in capsys.readouterr().err
