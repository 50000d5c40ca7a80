"""What every method must do, found by its file in experiments/method: a new one cannot escape."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from host_sync import NoHostSync
from probes import (
    EXPERIMENTS,
    METHODS,
    TWO_RANKS,
    break_off,
    column,
    fit_command,
    only_run,
    reads,
    rows,
    run_on_two_ranks,
    same,
    weights,
)

import seglab.methods
from seglab.cli import main
from seglab.methods import Method
from seglab.ops.teacher import Teacher

pytestmark = pytest.mark.parametrize("method", METHODS, scope="module")  # all of a method, then the next one


BARE = ("--panels.images", "0")  # pictures, which take a tenth of a short run, are looked at in one of them
LEARNS = {"bas": "tags", "wood": "tags"}  # the term that an overfitted batch shows, where it is not the first


class Watched(NamedTuple):
    """A run of five steps in which no step waited for the device or read a label of an unlabeled image."""

    run: Path
    updates: list[int]  # steps at which a teacher was updated
    killed: Path  # the folder of its runs as a process that is killed before the fourth step leaves it


@pytest.fixture(scope="module")
def watched(method: str, camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Watched]:
    """By the number of batches per step; several tests look at one run."""

    @cache
    def run(accumulate: int) -> Watched:
        folder, updates, guarded = tmp_path_factory.mktemp(method), [], []
        killed = folder.with_name(f"{folder.name}-killed")
        command = fit_command(method, camvid, folder, 5, *accumulating(accumulate))
        update, step = Teacher.update, Method.training_step

        def count(self: Teacher, student: torch.nn.Module, number: int) -> None:
            updates.append(number)
            update(self, student, number)

        def without_labels(self: Method, batch: dict, batch_idx: int) -> torch.Tensor:
            if self.global_step == 3 and not killed.exists():
                shutil.copytree(folder, killed)
            for name in batch.keys() - {"labeled"}:  # tags are not labels of pixels
                batch[name] = Unlabeled(batch[name])
            return step(self, batch, batch_idx)

        def without_sync(of: Any) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                guarded.append(of)
                with NoHostSync():
                    return of(*args, **kwargs)

            return call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Teacher, "update", without_sync(count))
            patch.setattr(Method, "training_step", without_sync(without_labels))
            for name in ("on_train_batch_start", "backward"):  # the optimiser is torch's
                patch.setattr(Method, name, without_sync(getattr(Method, name)))
            assert main(command) == 0
        assert guarded.count(without_labels) == 5 * accumulate
        return Watched(only_run(folder), updates, killed)

    return run


class Unlabeled(dict):
    """A sample whose labels nobody may read."""

    def __getitem__(self, key: str) -> object:
        assert key not in ("mask", "hidden"), "a label of an unlabeled image was read"
        return super().__getitem__(key)


def accumulating(batches: int) -> list[str]:
    return ["--trainer.accumulate_grad_batches", str(batches)]


def test_every_class_has_a_file(method: str) -> None:
    classes = {name for name in seglab.methods.__all__ if issubclass_of_method(name)}
    named = {yaml.safe_load((EXPERIMENTS / f"method/{m}.yaml").read_text())["model"]["class_path"] for m in METHODS}
    assert named == classes


def test_every_file_has_a_name_of_its_own(method: str) -> None:
    def name(of: str) -> str:
        content = yaml.safe_load((EXPERIMENTS / f"method/{of}.yaml").read_text())
        return content.get("method", content["model"]["class_path"]).lower()

    assert name(method) not in [name(other) for other in METHODS if other != method]


def issubclass_of_method(name: str) -> bool:
    part = getattr(seglab.methods, name)
    return isinstance(part, type) and issubclass(part, Method) and part is not Method


def test_runs_and_logs_its_terms(method: str, watched: Callable[[int], Watched]) -> None:
    run = watched(1).run
    assert len(column(run, "train/loss")) == 5
    assert all(torch.isfinite(torch.tensor(column(run, "train/loss"))))
    assert len(column(run, "val/mIoU")) == 3
    assert (run / "summary.json").is_file()
    curves = [row for row in rows(run) if row.get("train/pseudo/coverage")]
    assert bool(curves) == ("unlabeled" in reads(method)), "the curves of pseudo-labels come from hidden ground truth"


def test_runs_in_bf16(method: str, camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command(method, camvid, tmp_path, 2, *BARE, "--trainer.precision", "bf16-mixed")) == 0
    assert all(torch.isfinite(torch.tensor(column(only_run(tmp_path), "train/loss"))))


def test_overfits_one_batch(method: str, camvid: Path, tmp_path: Path) -> None:
    """Within forty steps; it ends as soon as it has."""
    flags = ["--data.labeled", "1/8", "--data.crop", "[64,96]", "--data.scale", "[1,1]", "--optimizer.lr", "0.003"]
    rarely = ["--trainer.val_check_interval", "40", "--checkpoint_every", "40"]
    name, loss = f"train/loss/{LEARNS.get(method, 'supervised')}", []

    def has_learned(module: Method) -> bool:
        told = module.trainer.logged_metrics  # of the step before
        if told:
            loss.append(float(told.get(name, told["train/loss"])))
        return len(loss) >= 10 and sum(loss[-5:]) < 0.7 * sum(loss[:5])

    break_off(fit_command(method, camvid, tmp_path, 41, *flags, *rarely, *BARE), has_learned)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumes_bit_for_bit(
    method: str,
    accumulate: int,
    camvid: Path,
    tmp_path: Path,
    watched: Callable[[int], Watched],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One run goes on where a process was killed, one where an error ended another process than the one watched."""
    if accumulate == 1:
        shutil.copytree(watched(accumulate).killed, tmp_path, dirs_exist_ok=True)
    command = fit_command(method, camvid, tmp_path, 5, *accumulating(accumulate))
    if accumulate == 2:
        break_off(command, 3)
    assert main([*command, "--ckpt_path", "last"]) == 0
    assert "seglab: resuming" in capsys.readouterr().err

    a, b = watched(accumulate).run, only_run(tmp_path)
    assert same(weights(a), weights(b))
    assert rows(a) == rows(b)
    optimizers = [torch.load(r / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"] for r in (a, b)]
    for left, right in zip(optimizers[0][0]["state"].values(), optimizers[1][0]["state"].values(), strict=True):
        assert all(torch.equal(left[key], right[key]) for key in left)


def test_two_ranks_agree(method: str, camvid: Path, tmp_path: Path) -> None:
    probe = json.dumps({"class_path": "probes.SaveRankState", "init_args": {"folder": str(tmp_path)}})
    flags = [*BARE, "--data.labeled_batch", "4", "--data.unlabeled_batch", "4", f"--trainer.callbacks+={probe}"]
    run = tmp_path / "run"
    run_on_two_ranks(*fit_command(method, camvid, tmp_path, 3, *flags, *TWO_RANKS, "--run_dir", str(run)))

    zero, one = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(zero["state"], one["state"]), "parameters, teachers, other networks, banks and queues"
    saved = weights(run)
    for name in zero["local"].keys() & saved.keys():  # frozen copies are not saved
        mean = (zero["local"][name].double() + one["local"][name].double()) / 2
        assert torch.equal(saved[name], mean.float()), "a checkpoint has the mean of the ranks' statistics"

    assert main(["validate", str(run), "--trainer.devices", "1"]) == 0
    alone = yaml.safe_load((run / "validate_last.json").read_text())
    for name in [key for key in alone if key.startswith("val")]:  # every pixel counted once, by the same statistics
        assert column(run, name)[-1:] == ([alone[name]] if alone[name] is not None else [])

    assert main(fit_command(method, camvid, tmp_path / "single", 3, *flags)) == 0
    single = torch.load(tmp_path / "rank0.pt", weights_only=True)["keys"]
    for both, left, right in zip(single, zero["keys"], one["keys"], strict=True):
        assert sorted(both) == sorted(left + right)
    seen = "pseudo_quality.seen"
    assert torch.equal(saved[seen], weights(only_run(tmp_path / "single"))[seen]), "the counts of both ranks"


def test_accumulation_updates_the_teacher_once_per_step(method: str, watched: Callable[[int], Watched]) -> None:
    run, updates, _ = watched(2)
    assert updates in ([], [0, 1, 2, 3, 4])
    assert bool(updates) == any(key.startswith("teacher.") for key in weights(run))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_on_a_gpu_never_waits_for_it(method: str, camvid: Path, tmp_path: Path) -> None:
    gpu = ["--trainer.accelerator", "gpu", "--trainer.devices", "1", "--trainer.log_every_n_steps", "100"]
    probe = json.dumps({"class_path": "probes.RaiseOnSync"})
    assert main(fit_command(method, camvid, tmp_path, 6, *gpu, f"--trainer.callbacks+={probe}")) == 0


def test_works_with_one_image_per_stream_any_criterion_and_without_unlabeled_masks(
    method: str, camvid: Path, tmp_path: Path
) -> None:
    parts = [{"class_path": name} for name in ("Dice", "Tversky", "Focal", "Lovasz", "OhemCrossEntropy")]
    balanced = {"class_path": "CrossEntropy", "init_args": {"weights": "balanced"}}
    criterion = {"class_path": "Sum", "init_args": {"parts": [balanced, *parts]}}
    flags = [*BARE, "--data.hidden_masks", "false", "--data.labeled_batch", "1", "--data.unlabeled_batch", "1"]
    flags += ["--criterion", json.dumps(criterion), "--data.counts", str(tmp_path / "counts")]
    assert main(fit_command(method, camvid, tmp_path, 2, *flags)) == 0  # behind the ASPP's pooling one value remains
    assert all(torch.isfinite(torch.tensor(column(only_run(tmp_path), "train/loss"))))
