import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import FOLDER, save, write_camvid, write_cityscapes, write_folder, write_gta5
from PIL import Image

from seglab.data import GTA5, CamVid, Cityscapes, DomainAdaptation, Folder
from seglab.data.decode import read_pair
from seglab.types import SeglabError

CROP = (32, 48)
PLAIN: dict[str, Any] = {"images": "images/*.png", "masks": "masks/*.png", "classes": ["a", "b"]}


def keys(items: list[Any]) -> list[str]:
    return [item.key for item in items]


def put(root: Path, *names: str) -> Path:
    """Images for names with ``image`` or ``rgb`` in them, masks of the ids 0 and 1 for the others."""
    for name in names:
        is_image = "image" in name or "rgb" in name
        save(root / name, np.zeros((6, 8, 3), np.uint8) if is_image else np.eye(6, 8, dtype=np.uint8))
    return root


# CamVid, Cityscapes, GTA5


def test_camvid_pairs_by_stem(camvid: Path) -> None:
    items = CamVid(str(camvid)).items("val")
    assert keys(items) == ["val_00000", "val_00001", "val_00002"]
    assert items[1].mask == camvid / "valannot" / "val_00001.png"


def test_camvid_as_jpeg(tmp_path: Path) -> None:
    data = CamVid(str(write_camvid(tmp_path, train=2, suffix=".jpg")))
    image, mask = read_pair(data.items("train")[0], data.space)
    assert image.shape == (*mask.shape, 3)


def test_cityscapes_finds_every_city_in_order(cityscapes: Path) -> None:
    items = Cityscapes(str(cityscapes)).items("train")
    assert [item.key.partition("_")[0] for item in items] == ["aachen"] * 3 + ["bochum"] * 3 + ["zurich"] * 3
    assert items[3].mask == cityscapes / "gtFine/train/bochum/bochum_000003_000019_gtFine_labelIds.png"


@pytest.mark.parametrize("data_class", [CamVid, Cityscapes, GTA5])
def test_a_wrong_root_names_the_expected_layout(tmp_path: Path, data_class: Any) -> None:
    with pytest.raises(SeglabError, match=rf"{tmp_path}.*root.*folder with .*\.png"):
        data_class(str(tmp_path)).items("train")


def test_gta5_has_a_training_part_only(gta5: Path) -> None:
    data = GTA5(str(gta5))
    assert len(data.items("train")) == 8
    assert Image.open(data.items("train")[0].mask).mode == "P"
    with pytest.raises(SeglabError, match="no val part: evaluate on the target"):
        data.evaluation_items("val")


def test_labeled_images_need_masks_and_unlabeled_ones_do_not(tmp_path: Path) -> None:
    write_camvid(tmp_path, train=8)
    for index in (0, 3):
        (tmp_path / "trainannot" / f"train_{index:05d}.png").unlink()
    with pytest.raises(SeglabError, match=r"1 labeled images have no mask: .*train_00000.png.*layout"):
        CamVid(str(tmp_path), labeled="1/4").labeled_items()
    listed = tmp_path / "list.txt"
    listed.write_text("train_00001\ntrain_00002")
    data = CamVid(str(tmp_path), labeled=str(listed))
    assert keys(data.labeled_items()) == ["train_00001", "train_00002"]
    assert keys(data.unlabeled_items()) == [f"train_{i:05d}" for i in (0, 3, 4, 5, 6, 7)]


def test_unlabeled_choices(camvid: Path, tmp_path: Path) -> None:
    listed = tmp_path / "unlabeled.txt"
    listed.write_text("train/train_00001.png\ntrain/train_00002.png")
    root = str(camvid)
    assert len(CamVid(root, labeled="1/4").unlabeled_items()) == 12
    assert len(CamVid(root, labeled="1/4", unlabeled="all").unlabeled_items()) == 16
    assert len(CamVid(root).unlabeled_items()) == 16  # nothing is left over: every image is also unlabeled
    assert keys(CamVid(root, labeled="1/4", unlabeled=str(listed)).unlabeled_items()) == ["train_00001", "train_00002"]
    with pytest.raises(SeglabError, match="2 images are in the labeled and in the unlabeled list: train_00001"):
        CamVid(root, unlabeled=str(listed)).unlabeled_items()
    with pytest.raises(SeglabError, match=r"labeled.txt, or set unlabeled to rest"):
        CamVid(root, unlabeled=str(listed)).unlabeled_items()
    with pytest.raises(SeglabError, match="'most' chooses no images"):
        CamVid(root, labeled="1/4", unlabeled="most").unlabeled_items()


def test_the_disk_is_listed_once(camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_camvid(tmp_path, train=3)
    listings: list[str] = []
    find = CamVid.find
    monkeypatch.setattr(CamVid, "find", lambda self, split: listings.append(split) or find(self, split))
    data = CamVid(str(tmp_path))
    data.labeled_items().clear()
    assert len(data.items("train")) == len(data.unlabeled_items()) == 3
    assert listings == ["train"]
    adapted = DomainAdaptation(CamVid(str(camvid)), data)
    assert len(adapted.stream_items("unlabeled")) == 3
    assert listings == ["train"]


def test_a_list_that_names_a_validation_image_is_refused(camvid: Path, tmp_path: Path) -> None:
    listed = tmp_path / "labeled.txt"
    listed.write_text("train_00001\nval/val_00001.png valannot/val_00001.png\n")
    with pytest.raises(SeglabError, match=r"labeled.txt:2: val/val_00001.png belongs to another split"):
        CamVid(str(camvid), labeled=str(listed)).labeled_items()


def test_validation_needs_every_mask(tmp_path: Path) -> None:
    write_camvid(tmp_path, train=1)
    (tmp_path / "valannot" / "val_00001.png").unlink()
    with pytest.raises(SeglabError, match=r"1 val images have no mask: .*val_00001.png"):
        CamVid(str(tmp_path)).evaluation_items("val")


# Folder


def test_folder_holds_out_and_leaves_images_without_masks_unlabeled(folder: Path) -> None:
    data = Folder(str(folder), **FOLDER)
    assert keys(data.items("val")) == keys(data.items("test")) == ["000", "005", "010"]
    assert keys(data.labeled_items()) == ["001", "002", "003", "004", "006", "007", "008", "009", "011"]
    assert keys(data.unlabeled_items()) == ["012", "013", "014", "015"]
    half = Folder(str(folder), **FOLDER, labeled="1/2", holdout=12)
    assert keys(half.items("val")) == ["000"]
    assert keys(half.labeled_items()) == ["001", "003", "005", "007", "009", "011"]
    assert keys(half.unlabeled_items())[:2] == ["002", "004"]


def test_folder_maps_many_ids_to_one_class(folder: Path) -> None:
    data = Folder(str(folder), **FOLDER)
    item = data.items("train")[0]
    ids = np.asarray(Image.open(item.mask))
    mask = read_pair(item, data.space)[1]
    assert np.array_equal(mask == 2, (ids == 30) | (ids == 31))
    assert np.array_equal(mask == 255, ids == 0)


def test_folder_with_splits(tmp_path: Path) -> None:
    put(tmp_path, "train/image/1.png", "train/gt/1.png", "val/image/1.png", "val/gt/1.png")
    data = Folder(str(tmp_path), "{split}/image/*.png", "{split}/gt/*.png", ["a", "b"])
    assert [item.mask for item in data.items("train")] == [tmp_path / "train/gt/1.png"]
    assert [item.image for item in data.items("val")] == [tmp_path / "val/image/1.png"]
    with pytest.raises(SeglabError, match=r"no image matches .*test/image/\*.png"):
        data.items("test")


def test_folder_searches_nested_folders(tmp_path: Path) -> None:
    names = ("1", "seq/1", "seq/a/2")
    put(tmp_path, *(f"image/{n}.png" for n in names), *(f"gt/{n}_id.png" for n in names[1:]))
    data = Folder(str(tmp_path), "image/**/*.png", "gt/**/*_id.png", ["a", "b"])
    items = data._paired(data.images, data.masks)
    assert {item.key: item.mask and item.mask.relative_to(tmp_path).as_posix() for item in items} == {
        "1": None,
        "seq_1": "gt/seq/1_id.png",
        "seq_a_2": "gt/seq/a/2_id.png",
    }


def test_folder_pairs_files_in_one_folder(tmp_path: Path) -> None:
    put(tmp_path, *(f"all/rgb{i}.png" for i in range(4)))
    for index in range(3):
        save(tmp_path / f"all/rgb{index}_label.png", np.eye(6, 8, dtype=np.uint8))
    data = Folder(str(tmp_path), "all/*.png", "all/*_label.png", ["a", "b"], holdout=3)
    assert keys(data.items("train")) == ["rgb1", "rgb2", "rgb3"]
    assert keys(data.unlabeled_items()) == ["rgb3"]
    for path in (tmp_path / "all").glob("*_label.png"):
        path.rename(path.with_name(path.name.replace("_label", "")[3:]))
    data = Folder(str(tmp_path), "all/rgb*.png", "all/*.png", ["a", "b"], holdout=3)
    assert keys(data.items("train")) == ["1", "2", "3"]


def test_folder_reads_patterns_literally_but_for_stars(tmp_path: Path) -> None:
    put(tmp_path, "image [v1.0] (a+b)/x.png", "gt?/x$.png")
    put(tmp_path, "image v/y.png", "gtX/y$.png")  # what [v1.0] and ? would match in a shell
    data = Folder(str(tmp_path), "image [v1.0] (a+b)/*.png", "gt?/*$.png", ["a", "b"])
    assert keys(data.items("val")) == ["x"]


def test_folder_with_a_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "images/1.png", "masks/1.png", "images/2.png", "masks/2.png")
    monkeypatch.chdir(tmp_path)
    for root in (".", f"../{tmp_path.name}"):
        assert keys(Folder(root, **PLAIN).items("train")) == ["2"]
    assert keys(Folder(".", "./images/*.png", "masks//*.png", ["a", "b"]).items("train")) == ["2"]


def test_folder_ignores_hidden_files_and_what_is_no_image(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png", "masks/1.png")
    (tmp_path / "images/._1.png").touch()
    (tmp_path / "masks/._1.png").touch()
    assert keys(Folder(str(tmp_path), **PLAIN).items("val")) == ["1"]
    (tmp_path / "images/notes.txt").touch()
    everything = Folder(str(tmp_path), "images/*", "masks/*", ["a", "b"])
    assert keys(everything.items("val")) == ["1.png"]
    assert everything.items("train") == []


def test_folder_without_any_mask_serves_as_unlabeled_target_only(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png", "images/2.png")
    data = Folder(str(tmp_path), **PLAIN)
    assert keys(data.unlabeled_items()) == ["1", "2"]
    with pytest.raises(SeglabError, match=r"no training image in .* has a mask"):
        data.labeled_items()
    with pytest.raises(SeglabError, match=r"no mask matches .*masks/\*.png: check --data.masks"):
        data.evaluation_items("val")


def test_folder_names_masks_without_image(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png", "masks/1.png", "masks/2.png", "masks/3.png")
    with pytest.raises(
        SeglabError, match=r"2 masks have no image: .*masks/2.png, .*masks/3.png. Remove them, or check"
    ):
        Folder(str(tmp_path), **PLAIN).items("train")


def test_folder_says_that_a_listed_image_has_no_mask(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    for line, message in (
        ("012.jpg", "has no mask"),
        ("005", "belongs to another split"),
        ("99", "is not in the data"),
    ):
        listed.write_text(f"001\n{line}")
        with pytest.raises(SeglabError, match=f"list.txt:2: {line} {message}"):
            Folder(str(folder), **FOLDER, labeled=str(listed)).labeled_items()


def test_folder_refuses_two_images_of_one_name(tmp_path: Path) -> None:
    put(tmp_path, "image/a/b_c.png", "image/a_b/c.png")
    data = Folder(str(tmp_path), "image/**/*.png", "gt/**/*.png", ["a", "b"])
    with pytest.raises(SeglabError, match=r"a/b_c.png and .*a_b/c.png match image/\*\*/\*.png alike"):
        data.items("train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": "masks/*_*.png"}, "same wildcards"),
        ({"masks": "**/*.png", "images": "*/*/*.png"}, "same wildcards"),
        ({"images": "images/a.png", "masks": "masks/a.png"}, r"at least one \*"),
        ({"splits": {"train": "training"}}, "write {split} in images"),
        ({"images": "{split}/*.png", "splits": {"training": "train"}}, "splits names training: .* of train, val, test"),
        ({"classes": ["road"]}, r"one class alone, road: .*classes: \[background, road\]"),
        ({"masks": "images/*.png"}, "nothing tells them apart"),
        ({"images": "/data/*.png"}, "relative to --data.root"),
        ({"images": "images/**.png", "masks": "masks/**.png"}, r"\*\* stands for whole folders"),
        ({"images": "a**/*.png", "masks": "b**/*.png"}, r"\*\* stands for whole folders"),
        ({"images": ""}, "same wildcards"),
        ({"holdout": 1}, "holdout 1 leaves nothing"),
        ({"ids": {0: "a", 1: "c"}}, "names c"),
        ({"ids": {0: "a"}}, "no id to b"),
        ({"void": [1]}, r"\[1\]"),
    ],
)
def test_folder_refuses_what_it_cannot_read(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        Folder(str(tmp_path), **(PLAIN | changes))


def test_folder_with_parts_of_other_names(tmp_path: Path) -> None:
    put(tmp_path, *(f"images/{part}/{name}.png" for part, name in (("training", "a"), ("validation", "b"))))
    put(tmp_path, *(f"masks/{part}/{name}.png" for part, name in (("training", "a"), ("validation", "b"))))
    patterns = {"images": "images/{split}/*.png", "masks": "masks/{split}/*.png", "classes": ["a", "b"]}
    data = Folder(str(tmp_path), **patterns, splits={"train": "training", "val": "validation"})
    assert [keys(data.items(split)) for split in ("train", "val")] == [["a"], ["b"]]
    assert data.items("val")[0].mask == tmp_path / "masks/validation/b.png"


def test_folder_with_parts_of_images_and_masks_together(tmp_path: Path) -> None:
    put(tmp_path, "image/train2017/1.png", "image/train2017/2.png", "image/val2017/3.png", "m/1.png", "m/3.png")
    patterns = {"images": "image/{split}2017/*.png", "masks": "m/*.png", "classes": ["a", "b"]}
    data = Folder(str(tmp_path), **patterns)
    assert [(item.key, item.mask is not None) for item in data.items("train")] == [("1", True), ("2", False)]
    assert [(item.key, item.mask) for item in data.items("val")] == [("3", tmp_path / "m/3.png")]


def test_folder_with_parts_of_masks_and_images_together(tmp_path: Path) -> None:
    put(tmp_path, *(f"image/{name}.png" for name in "123"), "m/train/1.png", "m/val/3.png")
    data = Folder(str(tmp_path), images="image/*.png", masks="m/{split}/*.png", classes=["a", "b"])
    assert [(item.key, item.mask is not None) for item in data.items("train")] == [("1", True), ("2", False)]
    assert keys(data.items("val")) == ["3"]


# Domain adaptation


def test_adaptation_takes_labels_from_the_source_and_the_rest_from_the_target(gta5: Path, tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    shutil.rmtree(tmp_path / "gtFine" / "train")  # labels of the target are not needed
    data = DomainAdaptation(
        GTA5(str(gta5), crop=CROP, labeled_batch=3), Cityscapes(str(tmp_path), crop=(16, 24), unlabeled_batch=5)
    )
    assert [data.streams[name].batch for name in ("labeled", "unlabeled")] == [3, 5]
    assert keys(data.stream_items("labeled")) == keys(GTA5(str(gta5)).items("train"))
    assert len(data.stream_items("unlabeled")) == 9
    assert {item.image.parents[2] for item in data.evaluation_items("val")} == {tmp_path / "leftImg8bit"}
    source, target = data.stream("labeled", 0)[0], data.stream("unlabeled", 0)[0]
    assert source["image"].shape == (3, *CROP)
    assert set(target) == {"image", "valid", "key"}
    assert target["image"].shape == (3, 16, 24)
    assert "mIoU16" in data.space.subsets


def test_adaptation_may_learn_from_part_of_the_source(tmp_path: Path, cityscapes: Path) -> None:
    source = GTA5(str(write_gta5(tmp_path)), labeled="1/4")
    data = DomainAdaptation(source, Cityscapes(str(cityscapes), hidden_masks=True))
    assert keys(data.stream_items("labeled")) == ["00001", "00005"]
    assert "hidden" in data.stream("unlabeled", 0)[0]


def test_adaptation_needs_one_class_list(camvid: Path, gta5: Path) -> None:
    with pytest.raises(SeglabError, match="name different classes"):
        DomainAdaptation(GTA5(str(gta5)), CamVid(str(camvid)))


def test_adaptation_of_own_folders_with_their_own_ids(tmp_path: Path, folder: Path) -> None:
    write_folder(tmp_path, images=4, unlabeled=0)
    for path in (tmp_path / "masks").iterdir():
        save(path, np.asarray(Image.open(path)) // 10)  # 1, 2, 3 and 0
    target = Folder(str(tmp_path), **(FOLDER | {"ids": {1: "ground", 2: "plant", 3: "thing"}}))
    data = DomainAdaptation(Folder(str(folder), **FOLDER, crop=(64, 96), scale=(1.0, 1.0)), target)
    assert set(np.unique(data.stream("labeled", 0)[0]["mask"])) == {0, 1, 2, 255}
    assert set(np.unique(read_pair(data.evaluation_items("val")[0], data.space)[1])) == {0, 1, 2, 255}
