import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import save, write_cityscapes

from seglab.data import GTA5, Cityscapes, DomainAdaptation
from seglab.data.cache import write_cache
from seglab.data.decode import read_mask
from seglab.labels import CITYSCAPES
from seglab.types import SeglabError

OPTIONS: dict[str, Any] = {"labeled": "1/3", "crop": (32, 48)}


def write_pseudo_labels(folder: Path, data: Cityscapes, classes: list[str] | None = None) -> Path:
    """What ``seglab pseudo-label`` writes: here the truth, but none in the upper half and for the classes above 9."""
    for item in data.unlabeled_items():
        mask = read_mask(item.mask, data.space)
        mask[mask > 9] = 255
        mask[: mask.shape[0] // 2] = 255
        save(folder / f"{item.key}.png", mask)
    names = data.space.names if classes is None else classes
    content = {"classes": names, "thresholds": dict.fromkeys(names, 0.9), "run": "r", "checkpoint": "last"}
    (folder / "pseudo_labels.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(cityscapes: Path, tmp_path: Path) -> Path:
    return write_pseudo_labels(tmp_path / "pseudo", Cityscapes(str(cityscapes), **OPTIONS))


def test_they_go_through_the_view_of_their_image(cityscapes: Path, folder: Path) -> None:
    data = Cityscapes(str(cityscapes), pseudo_labels=str(folder), **OPTIONS)
    stream, bare = data.stream("unlabeled", 0), Cityscapes(str(cityscapes), **OPTIONS).stream("unlabeled", 0)
    known = 0
    for position in range(20):
        sample, other = stream[position], bare[position]
        assert set(sample) == {"image", "valid", "key", "hidden", "pseudo"}
        pseudo, hidden = sample["pseudo"], sample["hidden"]
        assert (pseudo.dtype, pseudo.shape) == (torch.uint8, (32, 48))
        assert torch.equal(pseudo[pseudo != 255], hidden[pseudo != 255])
        assert (pseudo[~sample["valid"]] == 255).all()
        assert all(torch.equal(sample[name], other[name]) for name in ("image", "valid", "hidden"))
        known += int((pseudo != 255).sum())
    assert known > 2000


def test_they_need_no_truth(cityscapes: Path, folder: Path) -> None:
    data = Cityscapes(str(cityscapes), pseudo_labels=str(folder), hidden_masks=False, **OPTIONS)
    assert set(data.stream("unlabeled", 0)[0]) == {"image", "valid", "key", "pseudo"}


def test_an_adaptation_has_those_of_its_target(gta5: Path, cityscapes: Path, folder: Path) -> None:
    target = Cityscapes(str(cityscapes), pseudo_labels=str(folder), **OPTIONS)
    data = DomainAdaptation(GTA5(str(gta5), crop=(32, 48)), target)
    assert "pseudo" in data.stream("unlabeled", 0)[0]
    assert "pseudo" not in data.stream("labeled", 0)[0]


def test_a_folder_without_pseudo_labels_is_refused(cityscapes: Path, folder: Path) -> None:
    data = Cityscapes(str(cityscapes), pseudo_labels=str(folder / "wrong"), **OPTIONS)
    with pytest.raises(SeglabError, match=r"wrong holds no pseudo-labels .*`seglab pseudo-label"):
        data.stream("unlabeled", 0)
    for content in ("{", "[]", "{}"):
        (folder / "pseudo_labels.json").write_text(content)
        data = Cityscapes(str(cityscapes), pseudo_labels=str(folder), **OPTIONS)
        with pytest.raises(SeglabError, match=r"pseudo_labels.json is damaged"):
            data.stream("unlabeled", 0)


def test_other_classes_are_refused(cityscapes: Path, folder: Path) -> None:
    data = Cityscapes(str(cityscapes), pseudo_labels=str(folder), **OPTIONS)
    write_pseudo_labels(folder, data, list(reversed(CITYSCAPES.names)))
    with pytest.raises(SeglabError, match=r"names the classes \['bicycle'.*the data \['road'"):
        data.stream("unlabeled", 0)


def test_images_without_pseudo_labels_are_named(cityscapes: Path, folder: Path) -> None:
    for key in ("aachen_000001_000019", "zurich_000008_000019"):
        (folder / f"{key}.png").unlink()
    with pytest.raises(SeglabError, match=r"2 of 6 .*aachen_000001_000019, zurich_000008_000019: write them with"):
        Cityscapes(str(cityscapes), pseudo_labels=str(folder), **OPTIONS).stream("unlabeled", 0)


def test_another_size_is_refused(cityscapes: Path, folder: Path) -> None:
    for path in folder.glob("*.png"):
        save(path, np.zeros((8, 8), np.uint8))
    stream = Cityscapes(str(cityscapes), pseudo_labels=str(folder), **OPTIONS).stream("unlabeled", 0)
    with pytest.raises(SeglabError, match=r"pseudo/.*png is 8x8 but its image .*leftImg8bit.png is 96x64"):
        stream[0]


def test_unlabeled_images_of_a_target_need_no_label_at_all(tmp_path: Path, gta5: Path) -> None:
    write_cityscapes(tmp_path / "cs", train=3)
    target = Cityscapes(str(tmp_path / "cs"), crop=(32, 48))
    folder = write_pseudo_labels(tmp_path / "pseudo", target)
    shutil.rmtree(tmp_path / "cs/gtFine/train")
    target = Cityscapes(str(tmp_path / "cs"), crop=(32, 48), pseudo_labels=str(folder))
    sample = DomainAdaptation(GTA5(str(gta5)), target).stream("unlabeled", 0)[0]
    assert set(sample) == {"image", "valid", "key", "pseudo"}


def test_they_follow_images_that_a_cache_holds_smaller(cityscapes: Path, folder: Path, tmp_path: Path) -> None:
    data = Cityscapes(str(cityscapes), **OPTIONS)
    write_cache(data.items("train"), data.root, data.space, tmp_path / "cache", scale=0.5)
    data = Cityscapes(str(cityscapes), pseudo_labels=str(folder), cache=str(tmp_path / "cache"), **OPTIONS)
    stream, known = data.stream("unlabeled", 0), 0
    for position in range(10):
        sample = stream[position]
        some = sample["pseudo"] != 255
        assert torch.equal(sample["pseudo"][some], sample["hidden"][some])
        known += int(some.sum())
    assert known > 1000
