"""List files of the known repositories, as they are written, on data sets in the real layouts."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from layouts import write_cityscapes, write_gta5

from seglab.data import GTA5, VOC, CamVid, Cityscapes
from seglab.data.files import Item
from seglab.data.lists import choose_labeled
from seglab.types import SeglabError

FIRST, LAST = "aachen_000000_000019", "zurich_000002_000019"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "line",
    [
        # UniMatch and ST++, U2PL, CPS
        "leftImg8bit/train/{c}/{k}_leftImg8bit.png gtFine/train/{c}/{k}_gtFine_labelTrainIds.png",
        "leftImg8bit/train/{c}/{k}_leftImg8bit.png",
        "/images/train/{k}.png\t/segmentation/train/{k}_gtFine.png",
    ],
)
@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_lists_of_cityscapes(tmp_path: Path, line: str, kind: str) -> None:
    root = str(write_cityscapes(tmp_path / "city", train=3, kind=kind))
    text = "\n".join(line.format(c=key.partition("_")[0], k=key) for key in (LAST, FIRST))
    data = Cityscapes(root, ids=kind, labeled=write(tmp_path / "l.txt", text))  # type: ignore[arg-type]
    assert [item.key for item in data.labeled_items()] == [LAST, FIRST]
    assert [item.key for item in data.unlabeled_items()] == ["bochum_000001_000019"]


@pytest.mark.parametrize(
    "line",
    [
        "JPEGImages/{0}.jpg SegmentationClass/{0}.png",  # UniMatch and ST++
        "{0}",  # U2PL, CPS
        "/VOC2012/JPEGImages/{0}.jpg\t/VOC2012/SegmentationClass/{0}.png",
    ],
)
@pytest.mark.parametrize("source", ["train", "train_aug"])
def test_lists_of_voc_name_any_training_image_with_a_mask(tmp_path: Path, voc: Path, line: str, source: str) -> None:
    keys = [item.key for item in VOC(str(voc)).items("train")][::-2]
    listed = write(tmp_path / "l.txt", "\r\n".join(line.format(key) for key in keys))
    data = VOC(str(voc), labeled=listed, labeled_from=source)  # type: ignore[arg-type]
    assert [item.key for item in data.labeled_items()] == keys
    assert len(data.unlabeled_items()) == 12 - len(keys)


@pytest.mark.parametrize("name", ["../train/train_00001.png", "train/../../etc/train_00001.png", "..", "../../"])
def test_no_line_leads_out_of_the_data_set(camvid: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SeglabError, match=r"l.txt:1: .* leads upwards, out of the data set"):
        CamVid(str(camvid), labeled=write(tmp_path / "l.txt", name)).labeled_items()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_line_chooses_among_the_images_of_the_data_set_and_opens_nothing(
    camvid: Path, tmp_path: Path, absolute: bool
) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes((camvid / "train/train_00001.png").read_bytes())
    name = str(outside) if absolute else "/"
    with pytest.raises(SeglabError, match=r"l.txt:1: .* is not in the data set"):
        CamVid(str(camvid), labeled=write(tmp_path / "l.txt", name)).labeled_items()


def test_links_inside_the_data_set_are_the_users_own(camvid: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(camvid)
    data = CamVid(str(tmp_path / "linked"), labeled=write(tmp_path / "l.txt", "train/train_00001.png"))
    assert [item.key for item in data.labeled_items()] == ["train_00001"]


def test_a_path_of_val_is_not_taken_for_the_training_image_of_that_name(tmp_path: Path) -> None:
    root = write_gta5(tmp_path / "train_part", images=3)
    for part in ("train", "val"):
        for old, new in (("images", part), ("labels", f"{part}annot")):
            (tmp_path / "camvid" / new).mkdir(parents=True)
            for path in (root / old).iterdir():
                (tmp_path / "camvid" / new / path.name).write_bytes(path.read_bytes())
    data = CamVid(str(tmp_path / "camvid"), labeled=write(tmp_path / "l.txt", "val/00001.png valannot/00001.png"))
    with pytest.raises(SeglabError, match=r"val/00001.png belongs to another split"):
        data.labeled_items()
    for own in ("train/00001.png", "00001"):
        (tmp_path / "l.txt").write_text(own)
        assert [item.image.parent.name for item in data.labeled_items()] == ["train"]


def test_one_list_cannot_be_labeled_and_unlabeled(camvid: Path, tmp_path: Path) -> None:
    both = write(tmp_path / "l.txt", "train_00001\ntrain_00002")
    with pytest.raises(SeglabError, match="2 images are in the labeled and in the unlabeled list"):
        CamVid(str(camvid), labeled=both, unlabeled=both).unlabeled_items()
    for empty in ({"labeled": write(tmp_path / "e.txt", "\n")}, {"unlabeled": str(tmp_path / "e.txt")}):
        with pytest.raises(SeglabError, match="lists no image"):
            CamVid(str(camvid), **(empty | {"labeled": empty.get("labeled", "1/2")})).unlabeled_items()
    val = write(tmp_path / "v.txt", "val/val_00001.png")
    with pytest.raises(SeglabError, match="belongs to another split"):
        CamVid(str(camvid), labeled="1/2", unlabeled=val).unlabeled_items()


def test_skipped_images_are_in_no_part(camvid: Path, gta5: Path, tmp_path: Path) -> None:
    data = GTA5(str(gta5), skip=write(tmp_path / "s.txt", "images/00003.png labels/00003.png\n00008\n"))
    assert [item.key for item in data.items("train")] == ["00001", "00002", "00004", "00005", "00006", "00007"]
    both = CamVid(str(camvid), skip=write(tmp_path / "c.txt", "val_00001\ntrain/train_00000.png"))
    assert [item.key for item in both.items("val")] == ["val_00000", "val_00002"]
    assert len(both.labeled_items()) == len(both.unlabeled_items()) == 15
    for text, message in (("nothing.png", "s.txt:1: nothing.png is not in the data set"), ("", "lists no image")):
        (tmp_path / "s.txt").write_text(text)
        with pytest.raises(SeglabError, match=message):
            data.items("train")
    with pytest.raises(SeglabError, match=r"none.txt does not exist"):
        GTA5(str(gta5), skip=str(tmp_path / "none.txt")).items("train")


def test_a_long_list_is_resolved_at_once(tmp_path: Path) -> None:
    home = tmp_path / "a/long/path/to/VOCdevkit/VOC2012"
    names = [f"2008_{index:06d}" for index in range(10_582)]
    items = [Item(name, home / f"JPEGImages/{name}.jpg", home / f"SegmentationClass/{name}.png") for name in names]
    listed = write(tmp_path / "l.txt", "".join(f"JPEGImages/{k}.jpg SegmentationClass/{k}.png\n" for k in names[::-1]))
    seconds = []
    for _ in range(3):  # other programs share the processor's cache
        start = time.process_time()
        chosen = choose_labeled(items, listed)
        seconds.append(time.process_time() - start)
    assert chosen == items[::-1]
    assert min(seconds) < 0.3


def test_a_list_of_ten_thousand_images_is_resolved_at_once(tmp_path: Path) -> None:
    items = [Item(f"k{i}", tmp_path / f"JPEGImages/k{i}.jpg", tmp_path / f"m/k{i}.png") for i in range(10_000)]
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"JPEGImages/k{i}.jpg SegmentationClass/k{i}.png\n" for i in range(10_000)))
    gc.collect()
    start = time.process_time()

    def elsewhere() -> Iterator[Item]:
        raise AssertionError("other parts are listed only where a name is not found")
        yield

    assert choose_labeled(items, str(listed), elsewhere()) == items
    assert time.process_time() - start < 1
