"""Rare classes, class counts and pseudo-labels through the command line."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from layouts import save, write_camvid, write_gta5
from probes import EXPERIMENTS, break_off, config, fit_command, only_run, run_seglab, same, weights

from seglab.cli import main
from seglab.data.sampling import RareFirst
from seglab.data.streams import Stream
from seglab.methods import Method, Supervised
from seglab.types import Batch


def streets(gta5: Path, cityscapes: Path, tmp_path: Path, *flags: str) -> list[str]:
    small = [("crop", "[32,48]"), ("workers", "0"), ("labeled_batch", "2"), ("unlabeled_batch", "2")]
    sides = [f"--data.{side}.{key}={value}" for side in ("source", "target") for key, value in small]
    return [
        "fit",
        *(
            "-c",
            str(EXPERIMENTS / "benchmark/streets_adaptation.yaml"),
            "-c",
            str(EXPERIMENTS / "method/fixmatch.yaml"),
        ),
        *("--network", str(EXPERIMENTS / "network/tiny.yaml"), "--trainer.max_steps", "4"),
        *("--trainer.accelerator", "cpu", "--runs", str(tmp_path / "runs"), *sides),
        *("--data.source.root", str(gta5), "--data.target.root", str(cityscapes)),
        *("--data.source.counts", str(tmp_path / "counts"), *flags),
    ]


RARE = ["--data.source.rare_classes.min_pixels", "100", "--data.source.rare_classes.temperature=0.1"]


def test_flags_of_rare_classes(gta5: Path, cityscapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[Stream] = []
    start = Stream.__init__
    monkeypatch.setattr(Stream, "__init__", lambda self, *args: streams.append(self) or start(self, *args))
    assert main(streets(gta5, cityscapes, tmp_path, *RARE, "--data.source.category_cap", "0.75")) == 0
    orders = [stream.order for stream in streams if "mask" in stream.masks]
    assert orders
    assert all(isinstance(order, RareFirst) for order in orders)
    assert (orders[0].rare.temperature, orders[0].rare.min_pixels, orders[0].rare.attempts) == (0.1, 100, 10)
    assert orders[0].rules[0].share == 0.75
    assert len(list((tmp_path / "counts").iterdir())) == 1
    saved = config(only_run(tmp_path / "runs"))["data"]["init_args"]["source"]["init_args"]["rare_classes"]
    assert saved == {"temperature": 0.1, "min_pixels": 100, "min_crop_ratio": 0.5, "attempts": 10}


def test_rare_classes_from_a_file_and_a_flag(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    fragment = tmp_path / "rare.yaml"
    source = {"init_args": {"rare_classes": {"min_pixels": 100, "min_crop_ratio": 2.0}}}
    fragment.write_text(json.dumps({"data": {"init_args": {"source": source}}}))
    flags = ["-c", str(fragment), "--data.source.rare_classes.temperature", "0.02", "--trainer.max_steps", "1"]
    assert main(streets(gta5, cityscapes, tmp_path, *flags)) == 0
    run = only_run(tmp_path / "runs")
    saved = config(run)["data"]["init_args"]["source"]["init_args"]["rare_classes"]
    assert saved == {"temperature": 0.02, "min_pixels": 100, "min_crop_ratio": 2.0, "attempts": 10}
    assert main(["validate", str(run)]) == 0


WRONG = {
    "rare_classes.temperature=0": "the temperature is above 0",
    "rare_classes.min_pixel=1": "there is no key data.source.rare_classes.min_pixel",
    "category_cap=75": "category_cap 75.0 is a share",
}


@pytest.mark.parametrize(("flag", "message"), WRONG.items())
def test_wrong_flags_are_named(
    gta5: Path, cityscapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, message: str
) -> None:
    assert main(streets(gta5, cityscapes, tmp_path, f"--data.source.{flag}")) == 1
    assert message in capsys.readouterr().err


def test_a_run_with_rare_classes_resumes_bit_for_bit(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    flags = [*RARE, "--trainer.val_check_interval", "2"]
    whole = streets(gta5, cityscapes, tmp_path / "whole", *flags)
    broken = streets(gta5, cityscapes, tmp_path / "broken", *flags)
    assert main(whole) == 0
    break_off(broken, 3)
    assert main([*broken, "--ckpt_path", "last"]) == 0
    runs = [weights(only_run(tmp_path / name / "runs")) for name in ("whole", "broken")]
    assert same(*runs)


def test_two_ranks_see_the_images_of_one(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    probe = json.dumps({"class_path": "probes.SaveRankState", "init_args": {"folder": str(tmp_path)}})
    batches = ["--data.source.labeled_batch", "4", "--data.target.unlabeled_batch", "4"]
    flags = [*RARE, *batches, f"--trainer.callbacks+={probe}"]
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = run_seglab(*streets(gta5, cityscapes, tmp_path, *flags, *ranks))
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "counts").iterdir())) == 1
    zero, one = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)["keys"] for rank in (0, 1))
    assert main(streets(gta5, cityscapes, tmp_path / "single", *flags)) == 0
    alone = torch.load(tmp_path / "rank0.pt", weights_only=True)["keys"]
    for both, left, right in zip(alone, zero, one, strict=True):
        assert sorted(both) == sorted(left + right)


def test_two_ranks_stop_at_a_damaged_mask(cityscapes: Path, tmp_path: Path) -> None:
    root = write_gta5(tmp_path / "gta5")
    (root / "labels/00003.png").write_bytes(b"damaged")
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = run_seglab(*streets(root, cityscapes, tmp_path, *RARE, *ranks))
    assert done.returncode != 0
    assert "00003.png is not an image" in done.stderr


class Weighted(Supervised):
    """Reads the class counts as a method would."""

    needs_class_counts = True
    seen: ClassVar[list[np.ndarray]] = []

    def on_fit_start(self) -> None:
        self.seen.append(self.class_counts.frequency)


def test_a_method_reads_the_class_counts(camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--model.class_path", f"{__name__}.Weighted", "--data.counts", str(tmp_path / "counts")]
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Weighted=Weighted))  # to be found by its class path
    assert main(fit_command("supervised", camvid, tmp_path / "runs", 1, *flags)) == 0
    assert [frequency.shape for frequency in Weighted.seen] == [(11,)]
    assert Weighted.seen[0].sum() == pytest.approx(1)
    assert len(list((tmp_path / "counts").iterdir())) == 1


def test_nothing_is_counted_unless_it_is_wanted(camvid: Path, tmp_path: Path) -> None:
    flags = ["--data.counts", str(tmp_path / "counts")]
    assert main(fit_command("fixmatch", camvid, tmp_path / "runs", 1, *flags)) == 0
    assert not (tmp_path / "counts").exists()


def test_pseudo_labels_reach_the_method_as_class_indices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_camvid(tmp_path / "camvid", train=4)
    folder = tmp_path / "pseudo"
    for index in (1, 3):
        save(folder / f"train_{index:05d}.png", np.full((64, 96), index, np.uint8))
    names = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    (folder / "pseudo_labels.json").write_text(json.dumps({"classes": names}))
    batches: list[Batch] = []
    step = Method.training_step

    def record(self: Method, batch: Batch, batch_idx: int) -> torch.Tensor:
        batches.append(batch)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Method, "training_step", record)
    flags = ["--data.pseudo_labels", str(folder), "--data.scale", "[1,1]"]
    assert main(fit_command("fixmatch", root, tmp_path / "runs", 2, *flags)) == 0
    assert len(batches) == 2
    for unlabeled in (batch["unlabeled"] for batch in batches):
        assert unlabeled["pseudo"].dtype == torch.int64
        assert unlabeled["pseudo"].shape == (2, 32, 48)
        for key, pseudo in zip(unlabeled["key"], unlabeled["pseudo"], strict=True):
            assert (pseudo == int(key[-1])).all()


def test_missing_pseudo_labels_stop_the_run(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command("fixmatch", camvid, tmp_path, 1, "--data.pseudo_labels", str(tmp_path / "none"))) == 1
    assert "none holds no pseudo-labels" in capsys.readouterr().err
