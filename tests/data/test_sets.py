"""Every named data set on disk as it is distributed: which files it finds and what its masks decode to."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from layouts import save, write_camvid, write_cityscapes, write_synthia, write_voc
from PIL import Image

from seglab.data import ACDC, SYNTHIA, VOC, CamVid, Cityscapes, DarkZurich, Synscapes
from seglab.data.decode import read_mask, read_pair
from seglab.data.files import Item
from seglab.labels import CITYSCAPES
from seglab.labels import SYNTHIA as SYNTHIA_SPACE
from seglab.types import SeglabError


def keys(items: list[Item]) -> list[str]:
    return [item.key for item in items]


# Cityscapes


def test_cityscapes_with_train_ids(tmp_path: Path, cityscapes: Path) -> None:
    root = str(write_cityscapes(tmp_path, kind="labelTrainIds"))
    data, raw = Cityscapes(root, ids="labelTrainIds"), Cityscapes(str(cityscapes))
    for one, other in zip(data.items("train"), raw.items("train"), strict=True):
        assert np.array_equal(read_pair(one, data.space)[1], read_pair(other, raw.space)[1])
    with pytest.raises(SeglabError, match=r"stored as labelTrainIds only.*--data.ids labelTrainIds"):
        Cityscapes(root).items("train")
    with pytest.raises(SeglabError, match=r"stored as labelIds only.*--data.ids labelIds"):
        Cityscapes(str(cityscapes), ids="labelTrainIds").items("val")


def test_extra_images_are_unlabeled_only(tmp_path: Path) -> None:
    root = str(write_cityscapes(tmp_path, train=4, extra=3))
    assert len(Cityscapes(root).items("train")) == 4
    data = Cityscapes(root, extra=True, labeled="1/2")
    assert len(data.labeled_items()) == 2
    assert len(data.unlabeled_items()) == 2 + 3
    every = Cityscapes(root, extra=True)
    assert len(every.labeled_items()) == 4
    assert len(every.unlabeled_items()) == 3
    listed = tmp_path / "l.txt"
    listed.write_text("/images/train_extra/augsburg_000000_000001.png\t/segmentation/train_extra/x_gtCoarse.png")
    assert keys(Cityscapes(root, extra=True, labeled="1/2", unlabeled=str(listed)).unlabeled_items()) == [
        "augsburg_000000_000001"
    ]
    with pytest.raises(SeglabError, match="has no mask"):
        Cityscapes(root, extra=True, labeled=str(listed)).labeled_items()


# SYNTHIA


def test_synthia_reads_the_red_channel_of_16_bits(synthia: Path) -> None:
    data = SYNTHIA(str(synthia))
    item = data.items("train")[0]
    stored = cv2.imread(str(item.mask), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert stored[..., 1].max() > 255, "instances are above 255"
    mask = read_pair(item, data.space)[1]
    assert np.array_equal(mask, SYNTHIA_SPACE.decode[stored[..., 2]])
    assert set(np.unique(mask)) == {*range(19), 255} - {9, 14, 16}


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (1, "sky"), (2, "building"), (3, "road"), (4, "sidewalk"), (5, "fence"), (6, "vegetation"), (7, "pole"),
        (8, "car"), (9, "traffic sign"), (10, "person"), (11, "bicycle"), (12, "motorcycle"), (15, "traffic light"),
        (17, "rider"), (19, "bus"), (21, "wall"),
    ],
)  # fmt: skip
def test_ids_of_synthia(stored: int, name: str) -> None:
    assert CITYSCAPES.names[SYNTHIA_SPACE.decode[stored]] == name


def test_masks_that_are_not_synthias_are_refused(tmp_path: Path) -> None:
    root = write_synthia(tmp_path, images=3)
    data = SYNTHIA(str(root))
    paths = [item.mask for item in data.items("train")]
    ids = np.full((64, 96), 3, np.uint8)
    save(paths[0], ids)
    save(paths[1], np.stack([ids] * 3, -1))
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    for path, message in zip(paths, ("no 16-bit colour PNG", "no 16-bit colour PNG", "is damaged"), strict=True):
        with pytest.raises(SeglabError, match=f"{path.name} .*{message}|{path.name} {message}"):
            read_mask(path, data.space)
    cv2.imwrite(str(paths[0]), np.full((64, 96, 3), 300, np.uint16))
    with pytest.raises(SeglabError, match=r"ids \[300\] outside"):
        read_pair(data.items("train")[0], data.space)


def test_synscapes_stores_cityscapes_ids(synscapes: Path, tmp_path: Path) -> None:
    data = Synscapes(str(synscapes), holdout=4)
    item = data.items("train")[0]
    stored = np.asarray(Image.open(item.mask))
    assert np.array_equal(read_pair(item, data.space)[1], CITYSCAPES.decode[stored])
    assert (len(data.items("train")), len(data.items("val"))) == (6, 2)
    with pytest.raises(SeglabError, match="img/rgb"):
        Synscapes(str(tmp_path)).items("train")


def test_a_source_may_hold_out_its_own_val(synthia: Path) -> None:
    data = SYNTHIA(str(synthia), holdout=4)
    assert keys(data.items("val")) == ["0000000", "0000004"]
    assert len(data.items("train")) == 6
    with pytest.raises(SeglabError, match="SYNTHIA has no val part"):
        SYNTHIA(str(synthia)).items("val")


# VOC


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
@pytest.mark.parametrize("merged", [True, False])
def test_voc_wherever_the_root_is(tmp_path: Path, below: str, merged: bool) -> None:
    data = VOC(str(write_voc(tmp_path, merged=merged) / below))
    train, val, test = (data.items(split) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [12, 3, 2]
    assert keys(train) == sorted(keys(train))
    assert not set(keys(train)) & set(keys(val))
    assert all(item.mask for item in train + val)
    assert not any(item.mask for item in test)
    assert set(np.unique(read_pair(train[0], data.space)[1])) == {*range(21), 255}


def test_voc_classic_and_blended_fractions(voc: Path) -> None:
    listed = (voc / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").read_text().split()
    classic = VOC(str(voc), labeled="1/2", labeled_from="train")
    assert keys(classic.labeled_items()) == listed[::2]
    assert len(classic.unlabeled_items()) == 12 - 3
    blended = VOC(str(voc), labeled="1/2")
    assert keys(blended.labeled_items()) == keys(blended.items("train"))[::2]


def test_voc_with_a_list_of_its_blended_training_set(tmp_path: Path) -> None:
    home = write_voc(tmp_path) / "VOCdevkit/VOC2012"
    lists = home / "ImageSets/Segmentation"
    some = keys(VOC(str(home)).items("train"))[:5]
    (lists / "trainaug.txt").write_text("\n".join(f"JPEGImages/{k}.jpg SegmentationClassAug/{k}.png" for k in some))
    assert keys(VOC(str(home)).items("train")) == some
    for path in (home / "SegmentationClassAug").iterdir():
        path.unlink()
    assert keys(VOC(str(home)).items("train")) == some, "images without a mask stay, as unlabeled ones"
    with pytest.raises(SeglabError, match=r"labeled images have no mask.*SegmentationClassAug"):
        VOC(str(home)).labeled_items()
    (lists / "trainaug.txt").write_text((lists / "val.txt").read_text())
    with pytest.raises(SeglabError, match=r"3 images are in trainaug.txt and in val.txt"):
        VOC(str(home)).items("train")


def test_voc_prefers_its_own_masks_and_needs_a_list_of_val(tmp_path: Path) -> None:
    home = write_voc(tmp_path, sbd=0) / "VOCdevkit/VOC2012"
    data = VOC(str(home))
    assert len(data.items("train")) == 6, "the devkit alone"
    item = data.items("train")[0]
    save(home / "SegmentationClassAug" / f"{item.key}.png", np.zeros((64, 96), np.uint8))
    assert data.items("train")[0].mask.parent.name == "SegmentationClass"
    assert Image.open(item.mask).mode == "P"
    (home / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(SeglabError, match=r"val.txt does not exist: copy the list"):
        VOC(str(home)).items("train")
    with pytest.raises(SeglabError, match="holds no JPEGImages"):
        VOC(str(home.parents[2] / "elsewhere")).items("train")


# CamVid's sequences


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("seq"), 24, sequences=("0001TP", "0006R0", "0016E5"))


def test_sequences_are_kept_in_every_part(sequences: Path) -> None:
    data = CamVid(str(sequences), sequences=["0006R0_", "0016E5_"])
    assert {key.partition("_")[0] for key in keys(data.items("train"))} == {"0006R0", "0016E5"}
    assert len(data.items("train")) == 16
    assert len(data.items("val")) == 3
    with pytest.raises(SeglabError, match=r"val has no frame of 0001TP_, only of 0016E5: .* set holdout"):
        CamVid(str(sequences), sequences=["0001TP_"]).items("val")
    with pytest.raises(SeglabError, match="no frame of 0002_"):
        CamVid(str(sequences), sequences=["0001TP_", "0002_"]).items("train")


def test_val_is_the_end_of_each_sequence(sequences: Path) -> None:
    data = CamVid(str(sequences), holdout=4)
    train, val = keys(data.items("train")), keys(data.items("val"))
    assert len(train) == 18
    assert len(val) == 6
    assert not set(train) & set(val)
    for name in ("0001TP", "0006R0", "0016E5"):
        assert max(key for key in train if key.startswith(name)) < min(key for key in val if key.startswith(name))
    with pytest.raises(SeglabError, match="holdout 1 leaves nothing"):
        CamVid(str(sequences), holdout=1)


def test_labels_can_be_of_one_sequence(sequences: Path) -> None:
    data = CamVid(str(sequences), holdout=4, labeled="1/3", labeled_from=["0006R0_"])
    labeled, unlabeled = keys(data.labeled_items()), keys(data.unlabeled_items())
    assert len(labeled) == 2, "every third of six"
    assert all(key.startswith("0006R0_") for key in labeled)
    assert {key.partition("_")[0] for key in unlabeled} == {"0001TP", "0006R0", "0016E5"}
    assert sorted(labeled + unlabeled) == sorted(keys(data.items("train"))), "val stays out of both"
    all_of_it = CamVid(str(sequences), holdout=4, labeled_from=["0006R0_"])
    assert len(all_of_it.labeled_items()) == 6
    with pytest.raises(SeglabError, match=r"labeled_from: no training frame in .* begins with 0007_; there are 0001TP"):
        CamVid(str(sequences), labeled_from=["0006R0_", "0007_"]).labeled_items()


# ACDC, Dark Zurich


@pytest.mark.parametrize("ids", ["labelIds", "labelTrainIds"])
def test_acdc(acdc: Path, ids: str) -> None:
    data = ACDC(str(acdc), ids=ids)  # type: ignore[arg-type]
    assert [len(data.items(split)) for split in ("train", "val", "test")] == [8, 4, 4]
    assert all(item.mask for item in data.items("train") + data.items("val"))
    assert set(np.unique(read_pair(data.items("train")[0], data.space)[1])) == {*range(19), 255}
    night = ACDC(str(acdc), conditions=["night"])
    assert keys(night.items("train")) == ["GOPR0351_frame_000000", "GOPR0351_frame_000001"]
    with pytest.raises(SeglabError, match="4 test images have no mask"):
        data.evaluation_items("test")
    with pytest.raises(SeglabError, match="choose one or more of fog"):
        ACDC(str(acdc), conditions=["dusk"])


def test_dark_zurich(dark_zurich: Path) -> None:
    data = DarkZurich(str(dark_zurich))
    assert [len(data.items(split)) for split in ("train", "val", "test")] == [4, 2, 2]
    assert len(DarkZurich(str(dark_zurich), times=["night", "twilight"]).items("train")) == 6
    assert not any(item.mask for item in data.items("train"))
    assert set(np.unique(read_pair(data.evaluation_items("val")[0], data.space)[1])) == {*range(19), 255}
    with pytest.raises(SeglabError, match="choose one or more of night"):
        DarkZurich(str(dark_zurich), times=["noon"])
