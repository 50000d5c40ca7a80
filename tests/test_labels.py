import numpy as np
import pytest

from seglab.labels import CAMVID, CITYSCAPES, IGNORE, UNKNOWN, LabelSpace, distinct_palette, label_space
from seglab.types import SeglabError


@pytest.mark.parametrize(
    ("stored", "index"),
    [
        (7, 0),
        (8, 1),
        (11, 2),
        (26, 13),
        (33, 18),
        (0, IGNORE),
        (29, IGNORE),
        (34, IGNORE),
        (255, IGNORE),
        (200, UNKNOWN),
    ],
)
def test_cityscapes_decodes_label_ids(stored: int, index: int) -> None:
    assert CITYSCAPES.decode[stored] == index


def test_cityscapes_knows_the_ids_of_its_35_labels_and_no_other() -> None:
    assert np.flatnonzero(CITYSCAPES.decode != UNKNOWN).tolist() == [*range(35), 255]
    assert (CITYSCAPES.decode < 19).sum() == 19


def test_cityscapes_encodes_for_the_benchmark_server() -> None:
    assert CITYSCAPES.encode[[0, 1, 13, 16, 18, IGNORE]].tolist() == [7, 8, 26, 31, 33, 255]
    assert CITYSCAPES.decode[CITYSCAPES.encode[:19]].tolist() == list(range(19))


def test_camvid_stores_class_indices() -> None:
    assert CAMVID.decode[:13].tolist() == [*range(11), IGNORE, UNKNOWN]
    assert CAMVID.encode[:12].tolist() == [*range(11), 255]


@pytest.mark.parametrize("space", [CITYSCAPES, CAMVID])
def test_one_distinct_colour_per_class(space: LabelSpace) -> None:
    assert len(space.palette) == space.num_classes == len(set(space.palette))
    assert space.colours[: space.num_classes].tolist() == [list(colour) for colour in space.palette]
    assert not space.colours[space.num_classes :].any()


@pytest.mark.parametrize(
    ("subset", "excluded"),
    [("mIoU16", {"terrain", "truck", "train"}), ("mIoU13", {"terrain", "truck", "train", "wall", "fence", "pole"})],
)
def test_synthia_subsets(subset: str, excluded: set[str]) -> None:
    averaged = {CITYSCAPES.names[index] for index in CITYSCAPES.subsets[subset]}
    assert set(CITYSCAPES.names) - averaged == excluded
    assert len(CITYSCAPES.subsets[subset]) == len(averaged) == int(subset.removeprefix("mIoU"))


def test_several_ids_share_a_class_and_the_lowest_is_written() -> None:
    space = label_space(["ground", "thing"], {4: "thing", 3: "thing", 9: "ground"}, [0])
    assert space.decode[[3, 4, 9, 0, 1, 255]].tolist() == [1, 1, 0, IGNORE, UNKNOWN, UNKNOWN]
    assert space.encode[:2].tolist() == [9, 3]


def test_palette_of_a_class_list_is_that_of_voc_from_its_second_entry_on() -> None:
    assert distinct_palette(8) == (
        (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128), (64, 0, 0),
    )  # fmt: skip
    assert len(set(distinct_palette(253))) == 253


@pytest.mark.parametrize(
    ("names", "ids", "void", "message"),
    [
        (["a", "b"], {0: "a", 1: "b", 2: "c"}, [255], "names c"),
        (["a", "b"], {0: "a"}, [255], "no id to b"),
        (["a", "a"], {}, [255], "repeat"),
        ([], {}, [255], "1 to 253"),
        (["a"], {300: "a"}, [255], "300"),
        (["a"], {7: "a"}, [7], r"\[7\]"),
        (["a", "b"], {}, [0, 255], r"\[0\]"),  # without a map, 0 is the first class
        (["a"], {}, [65535], "65535"),
        (["a"], {}, [-1], "-1"),
    ],
)
def test_bad_label_space_is_refused(names: list[str], ids: dict[int, str], void: list[int], message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        label_space(names, ids, void)


def test_classes_and_colours_must_agree_in_number() -> None:
    with pytest.raises(SeglabError, match="2 class names but 1 colours"):
        LabelSpace(("a", "b"), ((0, 0, 0),))
