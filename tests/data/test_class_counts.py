import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import save, write_camvid, write_gta5
from PIL import Image

from seglab.data import GTA5, CamVid, SegmentationData
from seglab.data import class_counts as module
from seglab.data.class_counts import ClassCounts
from seglab.data.decode import read_mask
from seglab.types import SeglabError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / "camvid", train=6)


@pytest.fixture
def fresh(root: Path, tmp_path: Path) -> Callable[[], SegmentationData]:
    """The data set as a new process sees it."""
    return lambda: CamVid(str(root), labeled="1/2", counts=str(tmp_path / "counts"))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The masks that were opened."""
    opened: list[Path] = []
    read = module.read_labels
    monkeypatch.setattr(module, "read_labels", lambda path, space: opened.append(path) or read(path, space))
    return opened


@pytest.mark.parametrize("data_class", [CamVid, GTA5])
def test_pixels_are_those_of_the_decoded_masks(
    data_class: type[SegmentationData], camvid: Path, gta5: Path, tmp_path: Path
) -> None:
    data = data_class(str(camvid if data_class is CamVid else gta5), counts=str(tmp_path))
    counts = data.class_counts()
    items = data.labeled_items()
    assert counts.keys == tuple(item.key for item in items)
    assert counts.pixels.dtype == np.uint32
    for item, pixels in zip(items, counts.pixels, strict=True):
        histogram = np.bincount(read_mask(item.mask, data.space).ravel(), minlength=256)
        assert pixels.tolist() == histogram[: data.space.num_classes].tolist()
        assert 0 < pixels.sum() < 64 * 96  # void does not count


def test_frequency_and_presence() -> None:
    counts = ClassCounts(("a", "b"), np.array([[10, 0, 5], [80, 5, 0]], np.uint32))
    assert counts.frequency.tolist() == [0.9, 0.05, 0.05]
    assert [images.tolist() for images in counts.presence()] == [[0, 1], [1], [0]]
    assert [images.tolist() for images in counts.presence(5)] == [[0, 1], [], []]
    assert ClassCounts(("a",), np.zeros((1, 2), np.uint32)).frequency.tolist() == [0, 0]
    many = ClassCounts(("a", "b"), np.full((2, 2), 2**32 - 1, np.uint32))
    assert many.frequency.tolist() == [0.5, 0.5]


def test_they_are_counted_once(
    fresh: Callable[[], SegmentationData], counted: list[Path], root: Path, tmp_path: Path
) -> None:
    before = sorted(root.rglob("*"))
    first = fresh().class_counts()
    assert len(counted) == 3
    data = fresh()
    for _ in range(2):
        assert np.array_equal(data.class_counts().pixels, first.pixels)
    assert len(counted) == 3
    (file,) = (tmp_path / "counts").iterdir()  # and no partial file
    assert np.array_equal(np.load(file), first.pixels)
    assert sorted(root.rglob("*")) == before


def test_a_moved_data_set_is_the_same(
    fresh: Callable[[], SegmentationData], counted: list[Path], root: Path, tmp_path: Path
) -> None:
    fresh().class_counts()
    shutil.copytree(root, tmp_path / "elsewhere")  # keeps times
    CamVid(str(tmp_path / "elsewhere"), labeled="1/2", counts=str(tmp_path / "counts")).class_counts()
    assert len(counted) == 3


def test_changed_masks_are_counted_anew(fresh: Callable[[], SegmentationData], counted: list[Path]) -> None:
    fresh().class_counts()
    mask = fresh().labeled_items()[1].mask
    save(mask, np.full((64, 96), 2, np.uint8))
    assert fresh().class_counts().pixels[1].tolist() == [0, 0, 64 * 96] + [0] * 8
    assert len(counted) == 6


def test_another_choice_of_labels_has_its_own_file(
    fresh: Callable[[], SegmentationData], counted: list[Path], root: Path, tmp_path: Path
) -> None:
    fresh().class_counts()
    assert len(CamVid(str(root), counts=str(tmp_path / "counts")).class_counts().keys) == 6
    assert len(counted) == 3 + 6
    fresh().class_counts()
    assert len(counted) == 3 + 6


@pytest.mark.parametrize("damage", ["header", "count", "checksum", "half", "empty"])
def test_a_damaged_file_is_replaced(
    fresh: Callable[[], SegmentationData], counted: list[Path], tmp_path: Path, damage: str
) -> None:
    first = fresh().class_counts()
    (file,) = (tmp_path / "counts").iterdir()
    content = bytearray(file.read_bytes())
    if damage in ("half", "empty"):
        content = content[: len(content) // 2 if damage == "half" else 0]
    else:
        content[{"header": 20, "count": -20, "checksum": -1}[damage]] ^= 1
    file.write_bytes(content)
    assert np.array_equal(fresh().class_counts().pixels, first.pixels)
    assert len(counted) == 6
    fresh().class_counts()
    assert len(counted) == 6


def test_a_folder_that_cannot_be_written_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SeglabError, match=r"file/below.* cannot be written .*--data.counts"):
        CamVid(str(root), counts=str(tmp_path / "file/below")).class_counts()


def test_bad_masks_are_named(tmp_path: Path) -> None:
    root = write_gta5(tmp_path / "gta5", images=3)
    mask = root / "labels/00002.png"
    Image.fromarray(np.full((64, 96), 99, np.uint8)).save(mask)
    with pytest.raises(SeglabError, match=r"00002.png has ids \[99\] outside"):
        GTA5(str(root), counts=str(tmp_path)).class_counts()
    mask.write_bytes(mask.read_bytes()[:60])
    with pytest.raises(SeglabError, match=r"00002.png is damaged"):
        GTA5(str(root), counts=str(tmp_path)).class_counts()
    assert not list(tmp_path.glob("*.npy"))
