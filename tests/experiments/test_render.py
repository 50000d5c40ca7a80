"""The renderer of experiments/render_streets: its scenes, its files and, where bpy is installed, its labels."""

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data_check import check
from PIL import Image
from probes import EXPERIMENTS, ROOT

from experiments.render_streets.__main__ import HASHES, main
from experiments.render_streets.finish import finish
from experiments.render_streets.ids import DRAWN, PALETTE, SIDEWALK, UNLABELED
from experiments.render_streets.library import LIBRARY, make_model
from experiments.render_streets.scene import Scene, build_scene
from experiments.render_streets.street import Street
from seglab.labels import CITYSCAPES, IGNORE

SIZE = ("--size", "96", "64")
QUADS = {22: 39, 7: 530, 8: 467, 11: 7650, 13: 896, -13: 6, 12: 10}  # of frame 1, by label id
PLACED = {
    "bare": 22, "bicycle": 3, "bush": 14, "car": 31, "conifer": 14, "lamp": 4, "person": 4, "sign": 10, "tree": 28,
}  # fmt: skip


class PaintedStudio:
    """In Blender's place: a label with all ids, and a picture of them. ``loaded`` counts the frames."""

    loaded = 0
    interrupt_at = 0  # the frame that Ctrl-C ends, counted from 1; 0: none

    def __init__(self, size: tuple[int, int], samples: int, seed: int, threads: int, open_holes: bool) -> None:
        width, height = size
        self.ids = np.resize(np.repeat(np.array(DRAWN, np.uint8), 8), (height, width))

    def load(self, scene: Scene) -> None:
        PaintedStudio.loaded += 1

    def picture(self, seed: int) -> np.ndarray:
        return PALETTE[self.ids]

    def label(self, seed: int) -> np.ndarray:
        if PaintedStudio.loaded == PaintedStudio.interrupt_at:
            raise KeyboardInterrupt
        return self.ids


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> type[PaintedStudio]:
    module = SimpleNamespace(Studio=PaintedStudio)
    monkeypatch.setitem(sys.modules, "experiments.render_streets.studio", module)
    monkeypatch.setattr(PaintedStudio, "loaded", 0)
    monkeypatch.setattr(PaintedStudio, "interrupt_at", 0)
    return PaintedStudio


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(a: Scene, b: Scene) -> bool:
    return a.soups.keys() == b.soups.keys() and all(
        np.array_equal(x, y)
        for label in a.soups
        for x, y in zip(a.soups[label].quads(), b.soups[label].quads(), strict=True)
    )


def test_ids_and_colours_are_those_of_cityscapes() -> None:
    for label in DRAWN:
        index = CITYSCAPES.decode[label]
        assert (index == IGNORE) == (label == UNLABELED)
        assert tuple(PALETTE[label]) == ((0, 0, 0) if label == UNLABELED else CITYSCAPES.palette[index])
    assert len(DRAWN) == len(set(DRAWN)) == 18
    assert SIDEWALK == 8


def test_a_frame_is_that_of_the_first_rendering() -> None:
    """One more or less random number in any part of a street changes all that follows."""
    scene = build_scene(0, 1, 0.75)
    assert {label: len(soup.quads().corners) for label, soup in scene.soups.items()} == QUADS
    assert Counter(placement.thing for placement in scene.placements) == PLACED
    assert scene.light.transform == "Filmic"
    assert scene.light.exposure == pytest.approx(0.117862, abs=1e-6)


def test_a_frame_depends_on_its_seed_and_number_alone() -> None:
    first = build_scene(0, 1, 0.75)
    assert not same(first, build_scene(0, 2, 0.75))
    assert not same(first, build_scene(1, 1, 0.75))
    assert same(first, build_scene(0, 1, 0.75))


@pytest.mark.parametrize("thing", LIBRARY)
def test_models_stand_on_the_ground(thing: str) -> None:
    heights = []
    for variant in range(len(LIBRARY[thing].kinds)):
        for label, soup in make_model(0, thing, variant).items():
            quads = soup.quads()
            assert abs(label) in DRAWN
            assert np.isfinite(quads.vertices).all()
            assert quads.corners.max() < len(quads.vertices)
            assert quads.vertices[:, 2].min() > -0.3
            heights.append(quads.vertices[:, 2].max())
    assert 0.5 < max(heights) < 16


def test_a_place_is_taken_once() -> None:
    street = Street(np.random.default_rng(0))
    assert street.claim(10, 2, 4, 2)
    assert not street.claim(12, 2.5, 4, 2)
    assert street.claim(14.1, 2, 4, 2)


def test_side_streets_part_the_stretches() -> None:
    streets = (Street(np.random.default_rng(seed)) for seed in range(20))
    street = next(street for street in streets if street.gaps[1])
    stretches = list(street.stretches(1, -30.0, margin=1.0))
    assert stretches[0][0] == -30.0
    assert stretches[-1][1] == street.end
    for (_, stop), (start, _), gap in zip(stretches, stretches[1:], sorted(street.gaps[1]), strict=False):
        assert (stop, start) == pytest.approx((gap.centre - gap.width / 2 - 1, gap.centre + gap.width / 2 + 1))
        assert street.crosses(gap.centre, 1)
        assert not street.crosses(stop - 0.1, 1, margin=1.0)


def test_finish_keeps_what_is_shown() -> None:
    grey = np.full((60, 80, 3), 128, np.uint8)
    picture = finish(grey, np.random.default_rng(0))
    assert picture.dtype == np.uint8
    assert picture.shape == grey.shape
    assert abs(picture[20:40, 30:50].mean() - 128) < 16
    assert picture.std() > 0.5
    assert np.array_equal(picture, finish(grey, np.random.default_rng(0)))


def test_files_are_those_of_gta5_and_the_benchmark_reads_them(
    painted: type[PaintedStudio], tmp_path: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rendered"
    assert main(["--out", str(out), "--first", "3", "--count", "2", *SIZE]) == 0
    assert names(out) == ["images", "labels", "render_streets.json"]
    assert names(out / "images") == names(out / "labels") == ["00003.png", "00004.png"]
    label = Image.open(out / "labels/00003.png")
    assert (label.mode, label.size) == ("P", (96, 64))
    assert set(np.unique(np.asarray(label))) == set(DRAWN)
    assert np.array_equal(np.asarray(label.convert("RGB")), PALETTE[np.asarray(label)])
    assert Image.open(out / "images/00004.png").mode == "RGB"
    file = EXPERIMENTS / "benchmark/streets_to_camvid.yaml"
    code, text, error = check(capsys, "-c", file, "--data.source.root", out, "--data.target.root", camvid)
    assert code == 0, error
    assert "bicyclist" in text


def test_finished_frames_are_kept_and_an_interrupted_one_is_rendered_again(
    painted: type[PaintedStudio], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--out", str(tmp_path), "--count", "3", *SIZE]
    monkeypatch.setattr(painted, "interrupt_at", 2)
    assert main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert names(tmp_path / "labels") == ["00001.png"]
    first = (tmp_path / "labels/00001.png").stat().st_mtime_ns
    monkeypatch.setattr(painted, "interrupt_at", 0)
    assert main(command) == 0
    assert "1 of 3 frames are there already" in capsys.readouterr().out
    assert names(tmp_path / "images") == names(tmp_path / "labels") == ["00001.png", "00002.png", "00003.png"]
    assert (tmp_path / "labels/00001.png").stat().st_mtime_ns == first
    assert main(command) == 0
    assert painted.loaded == 4
    assert main([*command, "--seed", "1"]) == 1
    assert "holds frames of seed 0" in capsys.readouterr().err


def test_labels_alone(painted: type[PaintedStudio], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--count", "1", "--labels_only", *SIZE]) == 0
    assert names(tmp_path / "images") == []
    assert names(tmp_path / "labels") == ["00001.png"]
    assert main(["--out", str(tmp_path), "--check"]) == 1
    assert "frames 1 in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--count", "0"], "--count 0: give 1 or more"),
        (["--size", "16", "64"], "--size 16 64: both sides need"),
        (["--check"], "has none of the frames 1, 113"),
    ],
)
def test_bad_flags(flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), *flags]) == 1
    assert words in capsys.readouterr().err


def test_a_file_is_no_folder_to_write_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["--out", str(tmp_path / "taken"), "--count", "1"]) == 1
    assert "choose another --out" in capsys.readouterr().err


def test_without_blender_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bpy", None)
    assert main(["--out", str(tmp_path), "--count", "1"]) == 1
    error = capsys.readouterr().err
    assert "pip install bpy==5.0.1" in error
    assert "Python 3.11" in error
    assert names(tmp_path / "labels") == []


@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed: no label is rendered")
def test_a_rendered_label_is_the_known_one(tmp_path: Path) -> None:
    assert 1 in HASHES
    module = [sys.executable, "-m", "experiments.render_streets", "--out", str(tmp_path)]
    subprocess.run([*module, "--labels_only", "--count", "1", "--threads", "1"], cwd=ROOT, check=True, timeout=600)
    done = subprocess.run([*module, "--check"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert "the labels of frames 1 are those" in done.stdout
