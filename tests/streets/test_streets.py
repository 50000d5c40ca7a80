"""The procedural data set: layout, determinism, classes, and the difference between its domains."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.labels import CITYSCAPES, IGNORE, UNKNOWN
from seglab.streets.scene import render
from seglab.streets.style import GAME, PHOTO, Domain
from seglab.streets.writer import write_streets
from seglab.types import SeglabError

SMALL = (64, 32)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("streets")
    counts = write_streets(root, images=6, seed=3, size=SMALL, workers=1)
    assert counts == {"source": 6, "train": 6, "val": 8, "test": 8}
    return root


def test_layout_is_that_of_gta5_and_cityscapes(root: Path) -> None:
    assert [path.name for path in sorted((root / "gta5/images").iterdir())] == [f"{i:05d}.png" for i in range(1, 7)]
    assert [path.name for path in sorted((root / "gta5/labels").iterdir())] == [f"{i:05d}.png" for i in range(1, 7)]
    cities: dict[str, set[str]] = {}
    for split, count in (("train", 6), ("val", 8), ("test", 8)):
        images = sorted((root / "cityscapes/leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
        assert len(images) == count
        cities[split] = {path.parent.name for path in images}
        assert len(cities[split]) > 1
        for path in images:
            city, sequence, frame, _ = path.name.split("_")
            assert city == path.parent.name
            assert (len(sequence), len(frame)) == (6, 6)
            name = path.name.replace("leftImg8bit", "gtFine_labelIds")
            assert (root / "cityscapes/gtFine" / split / city / name).is_file()
    assert not cities["train"] & cities["val"] | cities["train"] & cities["test"] | cities["val"] & cities["test"]


def test_images_and_labels_decode_to_one_size_and_known_ids(root: Path) -> None:
    for path in root.rglob("*.png"):
        stored = Image.open(path)
        assert stored.size == SMALL
        if "labels" in path.parts:
            assert stored.mode == "P"
            palette = np.array(stored.getpalette()).reshape(-1, 3)
            assert tuple(palette[7]) == (128, 64, 128)
            assert tuple(palette[26]) == (0, 0, 142)
        elif "gtFine" in path.parts:
            assert stored.mode == "L"
        else:
            assert stored.mode == "RGB"
            continue
        assert UNKNOWN not in CITYSCAPES.decode[np.array(stored)]


def test_same_seed_gives_the_same_bytes_for_any_number_of_workers(root: Path, tmp_path: Path) -> None:
    write_streets(tmp_path, images=6, seed=3, size=SMALL, workers=2)
    assert contents(tmp_path) == contents(root)


def test_scenes_differ_between_seeds_splits_and_positions(root: Path, tmp_path: Path) -> None:
    write_streets(tmp_path, images=1, seed=4, size=SMALL, workers=1)
    images = [data for name, data in [*contents(root).items(), *contents(tmp_path).items()] if "leftImg8bit" in name]
    assert len(set(images)) == len(images)


def test_a_frame_does_not_depend_on_how_many_are_written(root: Path, tmp_path: Path) -> None:
    write_streets(tmp_path, images=2, seed=3, size=SMALL, workers=1)
    for name in ("gta5/images/00002.png", "gta5/labels/00002.png"):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()


def test_a_complete_data_set_is_left_untouched(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_streets(root, images=6, seed=3, size=SMALL)["train"] == 6
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_interrupted_data_set_is_finished(tmp_path: Path) -> None:
    write_streets(tmp_path, images=1, size=SMALL, workers=1)
    whole = contents(tmp_path)
    (tmp_path / "streets.json").unlink()
    (tmp_path / "gta5/images/00001.png").write_bytes(b"half")
    write_streets(tmp_path, images=1, size=SMALL, workers=1)
    assert contents(tmp_path) == whole


def test_other_parameters_in_the_same_folder_are_an_error(root: Path) -> None:
    with pytest.raises(SeglabError, match=r"seed 3 instead of 5: choose another --root"):
        write_streets(root, images=6, seed=5, size=SMALL)
    assert json.loads((root / "streets.json").read_text())["seed"] == 3


@pytest.mark.parametrize("wrong", [{"images": 0}, {"seed": -1}, {"size": (16, 128)}])
def test_parameters_out_of_range_are_an_error(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(SeglabError, match="--"):
        write_streets(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("domain", "split"), [(GAME, 0), (PHOTO, 1)], ids=["game", "photo"])
def test_every_class_appears_and_the_tail_is_long(domain: Domain, split: int) -> None:
    pixels = np.zeros(256, np.int64)
    for i in range(60):
        _, labels = render(np.random.default_rng([0, split, i]), domain, (128, 64))
        pixels += np.bincount(CITYSCAPES.decode[labels].ravel(), minlength=256)
    classes = pixels[: CITYSCAPES.num_classes]
    missing = [CITYSCAPES.names[i] for i in np.flatnonzero(classes == 0)]
    assert not missing
    assert classes.max() > 15 * np.sort(classes)[4]
    assert pixels[IGNORE] < 0.15 * pixels.sum()


def test_domains_look_different() -> None:
    saturation, sharpness = [], []
    for split, domain in enumerate((GAME, PHOTO)):
        images = [render(np.random.default_rng([1, split, i]), domain, (128, 64))[0] for i in range(12)]
        stack = np.stack(images).astype(float)
        saturation.append((stack.max(-1) - stack.min(-1)).mean())
        flat = np.abs(np.diff(stack, axis=2)).max(-1) == 0
        sharpness.append(flat.mean())
    assert saturation[0] > 1.15 * saturation[1]  # the game is more colourful
    assert sharpness[0] > 2 * sharpness[1]  # and has flat surfaces without noise
