"""Pictures packed into a page."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from fake_runs import scene, write_run
from PIL import Image

from seglab.report import panels
from seglab.runs.reading import Run, find_runs


def runs_of(folder: Path) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in find_runs([folder]):
        found.setdefault(run.method, []).append(run)
    return found


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_masks_keep_their_class_indices(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "FixMatch", pictures=1)
    (image,) = panels.pack_panels(runs_of(tmp_path))["images"]
    assert np.array_equal(decoded(image["truth"]), scene(0)[1])
    with Image.open(tmp_path / "a/panels/000_000600_teacher.png") as file:
        assert np.array_equal(decoded(image["predictions"]["FixMatch"]["teacher"]), np.asarray(file))


def test_every_method_shows_the_seed_that_most_have(tmp_path: Path) -> None:
    write_run(tmp_path / "a1", "FixMatch", 1, pictures=1)
    write_run(tmp_path / "a2", "FixMatch", 2, pictures=1)
    write_run(tmp_path / "b2", "UniMatch", 2, pictures=1)
    assert "(seed 2)" in panels.pack_panels(runs_of(tmp_path))["caption"]


def test_large_pictures_are_scaled_and_too_many_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", "FixMatch", pictures=3)
    for file in (run / "panels").glob("000*"):
        with Image.open(file) as picture:
            picture.resize((2048, 1024), Image.Resampling.NEAREST).save(file)
    packed = panels.pack_panels(runs_of(tmp_path), budget=1)
    assert [image["key"] for image in packed["images"]] == ["val/000"]
    assert decoded(packed["images"][0]["truth"]).shape == (512, 1024)
    assert "2 more" in packed["caption"]


def test_images_are_chosen_by_key(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "FixMatch", pictures=3)
    packed = panels.pack_panels(runs_of(tmp_path), ["val/002", "val/000", "elsewhere"])
    assert [image["key"] for image in packed["images"]] == ["val/002", "val/000"]


def test_a_broken_list_of_pictures_is_none(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", "FixMatch", pictures=1)
    for content in ({"images": [{"key": "x"}]}, {"images": 3}, {"classes": []}):
        (run / "panels/panels.json").write_text(json.dumps(content))
        assert panels.pack_panels(runs_of(tmp_path))["images"] == []


def test_pictures_outside_a_run_are_not_published(tmp_path: Path) -> None:
    """The list of a foreign run directory may name any file of this machine, and so may its links."""
    write_run(tmp_path / "a", "FixMatch", pictures=1)
    folder = tmp_path / "a/panels"
    (folder / "000.jpg").rename(tmp_path / "private.jpg")
    for name in ("../../private.jpg", str(tmp_path / "private.jpg"), "link.jpg"):
        (folder / "link.jpg").unlink(missing_ok=True)
        (folder / "link.jpg").symlink_to(tmp_path / "private.jpg")
        content = json.loads((folder / "panels.json").read_text())
        content["images"][0]["image"] = name
        (folder / "panels.json").write_text(json.dumps(content))
        assert panels.pack_panels(runs_of(tmp_path))["images"] == []
