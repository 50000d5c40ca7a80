"""Lists of labeled pixels: what they may say, and where their points are after scaling, cropping and flipping."""

from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import FOLDER, write_folder
from PIL import Image

from seglab.cli import main
from seglab.data import CamVid, Folder
from seglab.data.cache import write_cache
from seglab.data.decode import scaled_size
from seglab.data.geometry import resize_mask, weak_view
from seglab.data.points import Point, Points, format_points, image_size, read_points
from seglab.data.sampling import RareClasses
from seglab.labels import CAMVID, IGNORE
from seglab.types import SeglabError


def points_on(mask: np.ndarray, number: int, seed: int = 0) -> Points:
    places = np.random.default_rng(seed).choice(mask.size, number, replace=False)
    rows, columns = np.divmod(places, mask.shape[1])
    return Points(rows, columns, mask[rows, columns], (mask.shape[0], mask.shape[1]))


def listed(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["key,row,column,class", *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.5, 0.77, 1.0, 1.3, 2.0])
def test_no_point_vanishes_and_none_doubles(scale: float) -> None:
    mask = np.random.default_rng(1).integers(0, 11, (47, 61), dtype=np.uint8)
    scaled = scaled_size(mask.shape, scale)
    for seed in range(20):
        points = points_on(mask, 1, seed)
        whole = points.cut(scaled, 0, 0, scaled).mask()
        assert (whole != IGNORE).sum() == 1, "a mask resized to the nearest would lose it, or show it twice"
        (row,), (column,) = np.nonzero(whole != IGNORE)
        assert row == (2 * points.rows[0] + 1) * scaled[0] // (2 * 47)
        assert column == (2 * points.columns[0] + 1) * scaled[1] // (2 * 61)
        assert whole[row, column] == points.labels[0]
        if scale >= 1:  # where each pixel survives, the label is that of the resized mask
            assert resize_mask(mask, scaled)[row, column] == points.labels[0]


def test_of_several_points_in_one_pixel_the_one_next_to_its_centre_stays() -> None:
    points = Points(np.array([4, 0, 2]), np.array([2, 0, 1]), np.array([3, 1, 2], np.uint8), (5, 5))
    assert points.cut((1, 1), 0, 0, (1, 1)).mask().item() == 2


def test_points_go_where_the_image_goes() -> None:
    """The image is bright at the points alone, so at scale 1 the crop is bright just where its mask has a label."""
    mask = np.random.default_rng(2).integers(0, 11, (48, 64), dtype=np.uint8)
    points = points_on(mask, 60)
    image = np.zeros((48, 64, 3), np.uint8)
    image[points.rows, points.columns] = 255
    for seed in range(20):
        view = weak_view((30, 40), (1.0, 1.0))
        view.set_random_seed(seed)
        out = view(image=image, points=points, valid=np.zeros_like(mask))
        plain = view_again(seed, image, mask)
        labels = out["points"].mask()
        assert np.array_equal(labels != IGNORE, out["image"][..., 0] > 0)
        assert np.array_equal(out["image"], plain["image"]), "points change no draw"
        assert np.array_equal(labels[labels != IGNORE], plain["mask"][labels != IGNORE])


def view_again(seed: int, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    view = weak_view((30, 40), (1.0, 1.0))
    view.set_random_seed(seed)
    return view(image=image, mask=mask, valid=np.zeros_like(mask))


def test_a_stream_shows_every_point_of_the_crop(camvid: Path, tmp_path: Path) -> None:
    data = CamVid(str(camvid))
    items = data.items("train")
    size = image_size(items[0].image)
    lines = [f"{item.key},{row},{column},{CAMVID.names[(row + column) % 11]}" for item in items[:2]
             for row, column in ((0, 0), (7, 9), (size[0] - 1, size[1] - 1), (11, 20))]  # fmt: skip
    path = listed(tmp_path / "points.csv", *lines)
    data = CamVid(str(camvid), points=path, crop=(2 * size[0], 2 * size[1]), scale=(0.4, 1.6))
    assert [item.key for item in data.labeled_items()] == [item.key for item in items[:2]]
    assert [item.key for item in data.unlabeled_items()] == [item.key for item in items[2:]]
    stream = data.stream("labeled", 0)
    for position in range(8):
        sample = stream[position]
        known = sample["mask"][sample["mask"] != IGNORE]
        assert sorted(known.tolist()) == sorted((r + c) % 11 for r, c in ((0, 0), (7, 9), (11, 20),
                                                                           (size[0] - 1, size[1] - 1)))  # fmt: skip
        assert sample["valid"][sample["mask"] != IGNORE].all()
    whole = next(iter(data.one_pass("labeled")))["mask"]
    assert whole.shape[1:] == size
    assert whole[0, 7, 9] == 5
    assert (whole != IGNORE).sum() == 4


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_cache_has_the_same_points(scale: float, camvid: Path, tmp_path: Path) -> None:
    data = CamVid(str(camvid))
    items = data.items("train")
    write_cache(items, data.root, data.own_space, tmp_path / "cache", scale)
    path = listed(tmp_path / "points.csv", *[f"{item.key},{i},{2 * i},road" for item in items for i in range(9)])
    options = {"points": path, "crop": (40, 60), "scale": (0.4, 0.5)}
    files, cached = (CamVid(str(camvid), **options, cache=cache) for cache in ("", str(tmp_path / "cache")))
    for position in range(6):
        one, other = (data.stream("labeled", 3)[position] for data in (files, cached))
        if scale == 1:
            assert torch.equal(one["image"], other["image"])
            assert torch.equal(one["mask"], other["mask"])
        else:
            assert abs(int((one["mask"] == 3).sum()) - int((other["mask"] == 3).sum())) <= 3


def test_a_folder_without_any_mask_trains_on_points(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for mask in (tmp_path / "masks").glob("*"):
        mask.unlink()
    keys = [path.stem for path in sorted((tmp_path / "images").glob("*.jpg"))]
    path = listed(tmp_path / "points.csv", f"{keys[0]},0,0,plant", f"{keys[1]},1,1,2", f"{keys[2]},0,0,void")
    data = Folder(str(tmp_path), **FOLDER | {"masks": "masks/*.png"}, points=path, crop=(16, 16))
    assert [item.key for item in data.labeled_items()] == keys[:2]
    assert len(data.askable) == len(data.items("train"))


def test_classes_are_counted_by_points(camvid: Path, tmp_path: Path) -> None:
    keys = [item.key for item in CamVid(str(camvid)).items("train")]
    path = listed(tmp_path / "points.csv", f"{keys[0]},0,0,road", f"{keys[0]},0,1,road", f"{keys[1]},0,0,sky")
    law = RareClasses(temperature=0.1, min_pixels=0, min_crop_ratio=0)
    data = CamVid(str(camvid), points=path, counts=str(tmp_path / "counts"), crop=(32, 48), rare_classes=law)
    assert data.class_counts().pixels.sum(0)[[0, 3]].tolist() == [1, 2]
    assert not (tmp_path / "counts").exists()
    assert data.stream("labeled", 0)[0]["mask"].shape == (32, 48)


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    points = [Point("a, b", 1, 2, 3), Point("c", 0, 0), Point("c", 5, 5, IGNORE)]
    path = tmp_path / "points.csv"
    path.write_text(format_points(points, CAMVID))
    assert read_points(path, CAMVID) == points
    listed(path, "a,1,2,", "a,1,2,road", "a,1,2,", "b,0,0,5")
    assert read_points(path, CAMVID) == [Point("a", 1, 2, 3), Point("b", 0, 0, 5)]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["KEY,0,0,rode"], ["points.csv:2", "'rode'", "road"]),
        (["KEY,0,0,11"], ["points.csv:2", "no class '11'"]),
        (["KEY,4,5,road", "KEY,4,5,sky"], ["points.csv:3", "(4, 5)", "sky", "points.csv:2", "road"]),
        (["KEY,4,5,road", "KEY,4,5,void"], ["points.csv:3", "void"]),
        (["KEY,-1,5,road"], ["points.csv:2", "row '-1'"]),
        (["KEY,1,5"], ["points.csv:2", "3 fields"]),
        (["KEY,9999,0,road"], ["row 9999", "outside", "KEY"]),
        (["nobody,0,0,road"], ["nobody", "training images"]),
        (["VAL,0,0,road"], ["VAL", "another part"]),
        (["KEY,0,0,"], ["no pixel", "seglab pick"]),
    ],
)
def test_wrong_lists_are_named(
    lines: list[str], told: list[str], camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = CamVid(str(camvid))
    keys = {"KEY": data.items("train")[0].key, "VAL": data.items("val")[0].key}
    for name, key in keys.items():
        lines = [line.replace(name, key) for line in lines]
        told = [part.replace(name, key) for part in told]
    path = listed(tmp_path / "points.csv", *lines)
    with pytest.raises(SeglabError) as error:
        CamVid(str(camvid), points=path).stream("labeled", 0)
    assert all(part in str(error.value) for part in told), error.value
    flags = ["--data", "CamVid", "--data.root", str(camvid), "--data.points", path]
    assert main(["data", "check", *flags]) == 1
    assert told[0].split(".csv")[0] in capsys.readouterr().out


def test_a_header_and_a_file_are_asked_for(camvid: Path, tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match="no such file"):
        CamVid(str(camvid), points=str(tmp_path / "points.csv")).labeled_items()
    (tmp_path / "points.csv").write_text("a,1,2,road\n")
    with pytest.raises(SeglabError, match="key,row,column,class"):
        read_points(tmp_path / "points.csv", CAMVID)


def test_the_place_is_that_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == (20, 10)
