"""Masks and images as people have them: colours, grey in three channels, TIFF, BMP and WebP."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data_check import check, config
from PIL import Image

from seglab.data import Folder
from seglab.data.cache import write_cache
from seglab.data.decode import is_deep, read_ids, read_image, read_mask
from seglab.evaluation.writer import Export
from seglab.labels import IGNORE, colour_space, label_space
from seglab.types import SeglabError

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8)
COLOURS: dict[str, Any] = {"road": [128, 64, 128], "car": [[0, 0, 142], [0, 0, 70]]}
SPACE = colour_space(["road", "car"], COLOURS, [[0, 0, 0]])
PAINTED = np.array([[[128, 64, 128], [0, 0, 142]], [[0, 0, 70], [0, 0, 0]]], np.uint8)


def test_colours_are_read_as_classes_and_the_rest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for picture in (PAINTED, np.dstack([PAINTED, np.full((2, 2), 255, np.uint8)])):
        Image.fromarray(picture).save(path)
        assert read_mask(path, SPACE).tolist() == [[0, 1], [1, IGNORE]]
    Image.fromarray(PAINTED).quantize(8).save(path)  # a palette PNG
    assert read_mask(path, SPACE).tolist() == [[0, 1], [1, IGNORE]]
    assert SPACE.palette == ((128, 64, 128), (0, 0, 142))
    other = PAINTED.copy()
    other[0, 0] = 1, 2, 3
    Image.fromarray(other).save(path)
    data = folder(tmp_path, path, classes=["road", "car"], colors=COLOURS, void_colors=[[0, 0, 0]])
    with pytest.raises(SeglabError, match=r"a.png has pixels in colours .*\[1, 2, 3\] \(25.00 %\). Add them to colors"):
        data.reader([]).labels(data.items("val")[0])


def folder(root: Path, mask: Path, **arguments: Any) -> Folder:
    (root / "i").mkdir(exist_ok=True)
    Image.fromarray(PHOTO[:2, :2]).save(root / "i" / f"{mask.stem}.png")
    return Folder(str(root), "i/*.png", "*.png", **arguments, crop=(2, 2), scale=(1.0, 1.0), flip=0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colors": {"a": [1, 2]}}, r"colour \[1, 2\] of a: give red, green and blue"),
        ({"colors": {"a": [1, 2, 300], "b": [0, 0, 0]}}, "each from 0 to 255"),
        ({"colors": {"a": [1, 2, 3], "b": [1, 2, 3]}}, r"\[1, 2, 3\] stands for b and for a"),
        ({"colors": {"a": [1, 2, 3], "b": [0, 0, 0]}, "void_colors": [[0, 0, 0]]}, "stands for b and for void"),
        ({"colors": {"a": [1, 2, 3]}, "classes": ["a", "b"]}, "colors gives no colour to b"),
        ({"colors": {"a": [1, 2, 3], "b": [0, 0, 0]}, "ids": {0: "a"}}, "both ids and colors"),
        ({"void_colors": [[0, 0, 0]], "classes": ["a", "b"]}, "give colors for the classes too"),
        ({}, "no classes: name them"),
    ],
)
def test_colours_that_contradict_themselves(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        Folder(str(tmp_path), "i/*.png", "m/*.png", **arguments)


def test_classes_are_in_the_order_of_colours_or_ids(tmp_path: Path) -> None:
    patterns = (str(tmp_path), "i/*.png", "m/*.png")
    assert Folder(*patterns, colors=COLOURS).space.names == ("road", "car")
    assert Folder(*patterns, ids={3: "b", 1: "a", 2: "b"}).space.names == ("b", "a")


def test_a_cache_of_other_colours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PAINTED).save(path)
    data = folder(tmp_path, path, colors=COLOURS, void_colors=[[0, 0, 0]])
    write_cache(data.items("val"), data.root, data.own_space, tmp_path / "c")
    cached = folder(tmp_path, path, colors=COLOURS, void_colors=[[0, 0, 0]], cache=str(tmp_path / "c"))
    assert cached.reader(data.items("val")).labels(data.items("val")[0]).tolist() == [[0, 1], [1, IGNORE]]
    other = folder(tmp_path, path, colors=COLOURS, void_colors=[[1, 1, 1]], cache=str(tmp_path / "c"))
    with pytest.raises(SeglabError, match="written with other colours"):
        other.reader(data.items("val"))


def test_grey_in_three_channels_holds_ids_in_own_folders(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    for name, picture in {
        "rgb.png": np.dstack([ids] * 3),
        "rgba.png": np.dstack([*[ids] * 3, np.full_like(ids, 255)]),
        "rgb.bmp": np.dstack([ids] * 3),
        "l.tif": ids,
        "l.bmp": ids,
        "deep.tif": ids.astype(np.uint16),
    }.items():
        Image.fromarray(picture).save(tmp_path / name)
        assert read_ids(tmp_path / name, label_space(["a", "b", "c"])).tolist() == ids.tolist(), name
    Image.fromarray(PAINTED).save(tmp_path / "painted.png")
    with pytest.raises(SeglabError, match=r"name its colours in place of ids.* \[0, 0, 0\] \(25.00 %\)"):
        read_ids(tmp_path / "painted.png", label_space(["a", "b"]))
    Image.fromarray(ids).save(tmp_path / "a.webp")
    with pytest.raises(SeglabError, match="WEBP file, which cannot hold exact ids: make it a PNG"):
        read_ids(tmp_path / "a.webp", label_space(["a", "b"]))


@pytest.mark.parametrize("suffix", ["tif", "tiff", "bmp", "webp"])
def test_images_of_other_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PHOTO).save(path, lossless=True)
    assert np.array_equal(read_image(path), PHOTO)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SeglabError, match=rf"a.{suffix} is damaged"):
        read_image(path)


def test_tiff_of_16_bits_grey_and_alpha(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for pixels, expected in (
        (PHOTO[..., ::-1].astype(np.uint16) * 257, PHOTO),
        (PHOTO[..., 0], np.dstack([PHOTO[..., 0]] * 3)),
        (PHOTO[..., 0].astype(np.uint16) * 256, np.dstack([PHOTO[..., 0]] * 3)),
        (np.dstack([PHOTO[..., ::-1], PHOTO[..., 0]]), PHOTO),
    ):
        cv2.imwrite(str(path), pixels)
        assert np.array_equal(read_image(path), expected)
        assert is_deep(path) == (pixels.dtype == np.uint16)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_images_without_a_known_range_are_refused(tmp_path: Path, dtype: str) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), PHOTO.astype(dtype))
    with pytest.raises(SeglabError, match=rf"a.tif holds {dtype} pixels, .* scale it to 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.eye(6, 8, dtype=np.uint8)
        Image.fromarray(mask if name.startswith("m") else np.zeros((6, 8, 3), np.uint8)).save(path)


def test_several_endings_in_one_pattern(tmp_path: Path) -> None:
    put(tmp_path, "i/c.JPG", "i/a.jpg", "i/b.jpeg", "i/d.tif", "m/a.png", "m/b.tif")
    data = Folder(str(tmp_path), "i/*.{jpg,jpeg,JPG}", "m/*.{png,tif}", ["a", "b"])
    items = data.items("train") + data.items("val")
    assert sorted((i.key, i.mask is not None) for i in items) == [("a", True), ("b", True), ("c", False)]
    put(tmp_path, "i/a.jpeg")
    with pytest.raises(SeglabError, match=r"i/a.jpg and .*i/a.jpeg match i/\*.{jpg,jpeg,JPG} alike"):
        Folder(str(tmp_path), "i/*.{jpg,jpeg,JPG}", "m/*.{png,tif}", ["a", "b"]).items("train")
    with pytest.raises(SeglabError, match="chooses between plain texts"):
        Folder(str(tmp_path), "{a*,b}/*.jpg", "m/*.png", ["a", "b"])


def test_lists_name_the_parts(tmp_path: Path) -> None:
    put(tmp_path, *(f"i/{name}.jpg" for name in "abcd"), *(f"m/{name}.png" for name in "abc"))
    (tmp_path / "val.txt").write_text("b\n")
    (tmp_path / "train.txt").write_text("i/a.jpg m/a.png\nd\n")
    both = Folder(str(tmp_path), "i/*.jpg", "m/*.png", ["a", "b"], splits={"train": "train.txt", "val": "val.txt"})
    assert [[item.key for item in both.items(split)] for split in ("train", "val")] == [["a", "d"], ["b"]]
    val = Folder(str(tmp_path), "i/*.jpg", "m/*.png", ["a", "b"], splits={"val": "val.txt"})
    assert [item.key for item in val.items("train")] == ["a", "c", "d"]
    with pytest.raises(SeglabError, match="splits names no list of test"):
        val.items("test")
    with pytest.raises(SeglabError, match="lists go without it"):
        Folder(str(tmp_path), "i/{split}/*.jpg", "m/*.png", ["a", "b"], splits={"val": "val.txt"})


def test_a_pattern_that_matches_nothing_says_what_is_there(tmp_path: Path) -> None:
    put(tmp_path, "i/a.tif", "m/a.png")
    (tmp_path / "i/b.gif").write_bytes(b"GIF89a")
    for pattern, message in (
        ("i/*.jpg", r"i has \*.tif \(1\), \*.gif \(1\)"),
        ("x/*.jpg", r"x does not exist, .* has i, m; "),
        ("i/*.gif", "1 files match .*, but PNG, JPEG, TIFF, BMP and WebP alone are read: .*b.gif"),
    ):
        with pytest.raises(SeglabError, match=message):
            Folder(str(tmp_path), pattern, "m/*.png", ["a", "b"]).items("train")


def test_masks_of_jpeg_become_the_nearest_where_that_is_wanted(tmp_path: Path) -> None:
    ids = np.zeros((32, 48), np.uint8)
    ids[8:24, 8:40] = 255
    noisy = np.clip(ids.astype(int) + RNG.integers(-60, 60, ids.shape), 0, 255).astype(np.uint8)
    names: dict[int, str] = {0: "background", 255: "object"}
    exact, near = label_space([*names.values()], names), label_space([*names.values()], names, nearest=True)
    for picture in (ids, np.dstack([ids] * 3)):
        Image.fromarray(picture).save(tmp_path / "a.jpg", quality=60)
        assert np.array_equal(read_mask(tmp_path / "a.jpg", near), ids // 255)
        with pytest.raises(SeglabError, match=r"cannot hold exact ids: .*set --data.nearest true"):
            read_ids(tmp_path / "a.jpg", exact)
    Image.fromarray(noisy).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png", near), ids // 255)
    assert near.nearest_id[[0, 127, 128, 255]].tolist() == [0, 0, 255, 255]


def test_colours_become_the_nearest_where_that_is_wanted(tmp_path: Path) -> None:
    picture = np.repeat(np.repeat(PAINTED, 16, 0), 16, 1)
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=80, subsampling=0)
    near = colour_space(["road", "car"], COLOURS, [[0, 0, 0]], nearest=True)
    mask = read_mask(tmp_path / "a.jpg", near)
    assert [[int(np.median(mask[y : y + 16, x : x + 16])) for x in (0, 16)] for y in (0, 16)] == [[0, 1], [1, IGNORE]]
    with pytest.raises(SeglabError, match="cannot hold exact colours"):
        read_mask(tmp_path / "a.jpg", SPACE)


def test_predictions_are_written_in_the_colours_of_the_masks(tmp_path: Path) -> None:
    classes = np.array([[0, 1], [1, 0]], np.uint8)
    Export(tmp_path, SPACE).write("a", classes)
    assert np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))[0].tolist() == [[128, 64, 128], [0, 0, 142]]
    assert np.array_equal(read_mask(tmp_path / "a.png", SPACE), classes)


def test_the_check_shows_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        (tmp_path / "i").mkdir(exist_ok=True)
        Image.fromarray(np.roll(PHOTO, index, 0)).save(tmp_path / f"i/{index}.png")
        Image.fromarray(np.resize(PAINTED[0], PHOTO.shape)).save(tmp_path / f"{index}.png")
    colours = {"road": [128, 64, 128], "car": [9, 9, 9]}
    arguments = {"root": str(tmp_path), "images": "i/*.png", "masks": "*.png", "colors": colours}
    content = {"class_path": "Folder", "init_args": arguments | {"void_colors": [[0, 0, 142]]}}
    code, out, _ = check(capsys, "-c", config(tmp_path / "c.yaml", data=content))
    assert code == 1
    assert "[128, 64, 128]" in out
    assert "no mask shows car, and 50 % of the pixels are ignored (colours [0, 0, 142]): map the colours" in out
