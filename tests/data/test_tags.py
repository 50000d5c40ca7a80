"""Image tags: from masks that no method sees, or from a file; images outside; pseudo-labels as masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seglab.data import Folder
from seglab.labels import IGNORE
from seglab.pictures import write_image
from seglab.shapes import write_shapes
from seglab.shapes.writer import CLASSES
from seglab.types import SeglabError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    assert write_shapes(root, images=6, seed=1, size=48) == {"train": 6, "val": 8, "outside": 8}
    return root


def shapes(root: Path, **options: object) -> Folder:
    common = {"images": "{split}/images/*.png", "masks": "{split}/masks/*.png", "classes": list(CLASSES)}
    counts = str(root / "counts")
    return Folder(str(root), **common, crop=(32, 32), workers=0, counts=counts, **options)  # type: ignore[arg-type]


def test_scenes_are_a_function_of_the_seed(root: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "again", images=6, seed=1, size=48)
    write_shapes(tmp_path / "other", images=6, seed=2, size=48)
    name = "train/images/00003.png"
    assert (tmp_path / "again" / name).read_bytes() == (root / name).read_bytes()
    assert (tmp_path / "other" / name).read_bytes() != (root / name).read_bytes()
    with pytest.raises(SeglabError, match="other parameters"):
        write_shapes(root, images=7, seed=1, size=48)


def test_tags_of_masks_are_those_of_the_file(root: Path) -> None:
    from_masks, from_file = shapes(root).tagged, shapes(root, tags=str(root / "tags.txt")).tagged
    assert from_masks.keys() == from_file.keys()
    for key, tags in from_masks.items():
        assert np.array_equal(tags[1:], from_file[key][1:])
        assert tags[0], "the background is a class of the mask, and no tag of the file"


def test_samples_have_tags_of_the_whole_image_and_no_mask(root: Path) -> None:
    data = shapes(root)
    data.require({"tagged": ("tags",)})
    sample = data.stream("tagged", 0)[0]
    assert sample.keys() == {"image", "valid", "key", "tags"}
    assert np.array_equal(sample["tags"], data.tagged[sample["key"]])
    whole = next(iter(data.one_pass("tagged")))
    assert "mask" not in whole
    assert whole["tags"].shape == (1, len(CLASSES))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train/images/00000: disk", "'disk' is no class, did you mean 'disc'"),
        ("nonsense", "has no colon"),
        ("x: disc", "is not in the data set"),
        ("", "has no tags"),
    ],
)
def test_wrong_tags_are_named(root: Path, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "tags.txt"
    file.write_text(text)
    with pytest.raises(SeglabError, match=message):
        shapes(root, tags=str(file)).stream("tagged", 0)


def test_images_outside_are_a_stream_where_there_are_any(root: Path) -> None:
    with pytest.raises(SeglabError, match=r"data\.outside"):
        shapes(root).require({"outside": ()})
    data = shapes(root, outside=str(root / "outside"))
    data.require({"outside": ()})
    assert data.stream("outside", 0)[0].keys() == {"image", "valid", "key"}
    assert len(data.stream_items("outside")) == 8


def test_pseudo_labels_become_the_masks_of_labeled_images(root: Path, tmp_path: Path) -> None:
    items = shapes(root).labeled_items()
    for item in items[:4]:
        write_image(tmp_path / f"{item.key}.png", np.full((48, 48), 3, np.uint8))
    (tmp_path / "pseudo_labels.json").write_text(json.dumps({"classes": list(CLASSES)}))
    data = shapes(root, pseudo_labels=str(tmp_path), pseudo_masks=True)
    assert [item.key for item in data.labeled_items()] == [item.key for item in items[:4]]
    mask = data.stream("labeled", 0)[0]["mask"]
    assert isinstance(mask, torch.Tensor)
    assert set(mask.unique().tolist()) <= {3, IGNORE}
    with pytest.raises(SeglabError, match="pseudo_masks"):
        shapes(root, pseudo_masks=True)
