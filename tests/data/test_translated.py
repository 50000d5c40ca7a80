"""Stored translations: they go through the geometry of their images, and each image has one."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from layouts import write_camvid

from seglab.cli import main
from seglab.data import CamVid
from seglab.data.cache import write_cache
from seglab.types import SeglabError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """CamVid, and its training images with other colours in ``translated``."""
    write_camvid(tmp_path / "data", 4, 2, 1)
    (tmp_path / "translated").mkdir()
    for path in (tmp_path / "data/train").glob("*.png"):
        cv2.imwrite(str(tmp_path / "translated" / path.name), 255 - cv2.imread(str(path)))
    return tmp_path


def camvid(root: Path, **more: Any) -> CamVid:
    return CamVid(str(root / "data"), crop=(32, 48), translated=str(root / "translated"), **more)


@pytest.mark.parametrize("cached", [False, True])
def test_a_crop_and_its_translation_share_their_geometry(root: Path, cached: bool) -> None:
    scale: dict[str, Any] = {"scale": (1.0, 1.0)}
    if cached:
        data = camvid(root)
        write_cache(data.items("train"), data.root, data.own_space, root / "cache", 0.5)
        scale = {"scale": (0.5, 0.5), "cache": str(root / "cache")}
    data = camvid(root, **scale)
    data.require({"labeled": ("mask", "translated")})
    stream = data.stream("labeled", 0)
    for position in range(6):
        sample = stream[position]
        assert sample["translated"].shape == sample["image"].shape  # type: ignore[union-attr]
        seen = sample["valid"].expand(3, -1, -1)  # type: ignore[union-attr]
        total = sample["image"].int() + sample["translated"].int()  # type: ignore[union-attr]
        assert (total[seen] - 255).abs().max() <= 2


def test_whatever_the_scale_they_are_resized_alike(root: Path) -> None:
    sample = camvid(root, scale=(0.4, 2.0)).stream("labeled", 1)[3]
    total = sample["image"].int() + sample["translated"].int()  # type: ignore[union-attr]
    assert (total[sample["valid"].expand(3, -1, -1)] - 255).abs().max() <= 2  # type: ignore[union-attr]


def test_what_lacks_is_named_before_training(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "translated/train_00002.png").unlink()
    with pytest.raises(SeglabError, match=r"1 of 4 labeled images have no translation in .*: train_00002: store one"):
        camvid(root).stream("labeled", 0)
    with pytest.raises(SeglabError, match=r"translated .*nowhere does not exist"):
        CamVid(str(root / "data"), translated=str(root / "nowhere")).stream("labeled", 0)
    with pytest.raises(SeglabError, match="reads translated of stream 'labeled'"):
        CamVid(str(root / "data")).require({"labeled": ("translated",)})


def test_another_size_is_named(root: Path) -> None:
    cv2.imwrite(str(root / "translated/train_00000.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SeglabError, match=r"has 8 x 8 pixels, its image .* 96 x 64"):
        [camvid(root, scale=(1, 1)).stream("labeled", 0)[position] for position in range(4)]


def test_translations_of_a_source_teach_a_run(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    sides = [
        f"--data.{side}.{key}={value}"
        for side in ("source", "target")
        for key, value in {"workers": 0, "crop": "[32,48]", "scale": "[1,1]"}.items()
    ]
    words = ["fit", "streets_adaptation", "dacs", "translation_consistency", *sides, "--network=tiny"]
    words += [f"--data.source.root={gta5}", f"--data.target.root={cityscapes}", "--trainer.max_steps=2"]
    words += ["--trainer.val_check_interval=2", "--trainer.accelerator=cpu", "--runs", str(tmp_path)]
    assert main([*words, f"--data.source.translated={gta5 / 'images'}"]) == 0
    assert main(words) == 1
