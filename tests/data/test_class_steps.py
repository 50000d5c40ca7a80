"""Classes that arrive in steps: which images and which labels a step has, and what its scores count."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import ids_of, save, scene
from PIL import Image

from seglab.data import ADE20K, VOC, CamVid
from seglab.data.cache import write_cache
from seglab.data.class_steps import ClassSteps
from seglab.labels import CAMVID, IGNORE, label_space
from seglab.labels import VOC as VOC_SPACE
from seglab.types import SeglabError

SPACE = label_space(["background", "a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("15-5", [15, 5]),
        ("15-1", [15, 1, 1, 1, 1, 1]),
        ("19-1", [19, 1]),
        ("10-1", [10] + [1] * 10),
        ("5-3", [5, 3, 3, 3, 3, 3]),
    ],
)
def test_the_steps_of_papers_are_in_the_order_of_the_classes(text: str, sizes: list[int]) -> None:
    steps = ClassSteps(text).classes(VOC_SPACE)
    assert [len(step) for step in steps] == sizes
    assert [name for step in steps for name in step] == list(VOC_SPACE.names[1:])


def test_masks_of_a_step_show_its_own_classes_and_scores_all_that_have_arrived() -> None:
    scored, taught = ClassSteps([["b", "a"], ["d"], ["c"]], step=1).spaces(SPACE)
    assert scored.names == taught.names == ("background", "b", "a", "d")
    assert scored.steps == (3, 1)
    assert scored.subsets == {"mIoU_old": (0, 1, 2), "mIoU_new": (3,)}
    assert taught.decode[:5].tolist() == [0, 0, 0, 0, 3]
    assert scored.decode[:5].tolist() == [0, 2, 1, IGNORE, 3]
    assert taught.decode[255] == scored.decode[255] == IGNORE
    assert scored.after_step(0).names == ("background", "b", "a")
    assert not ClassSteps([["b", "a"], ["d"]]).spaces(SPACE)[0].subsets


def test_a_data_set_without_a_background_gets_one() -> None:
    scored, taught = ClassSteps("100-50", step=1, void_is_background=True).spaces(ADE20K.space)
    assert scored.names[:2] == ("background", ADE20K.space.names[0])
    assert (scored.num_classes, scored.steps) == (151, (101, 50))
    assert taught.decode[[0, 1, 100, 101, 150, 255]].tolist() == [0, 0, 0, 101, 150, IGNORE]
    assert scored.decode[[0, 1, 100, 101, 150, 255]].tolist() == [0, 1, 100, 101, 150, IGNORE]
    kept, _ = ClassSteps("100-50", step=1).spaces(ADE20K.space)
    assert kept.decode[0] == IGNORE


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("15-6", "15-6: give two numbers"),
        ("0-5", "give two numbers"),
        ("bus", "give two numbers"),
        ([["aeroplane", "bus"], ["bus"]], "bus comes 2 times"),
        ([["aeroplane"], ["bux"]], "names bux, perhaps bus: the data set has aeroplane"),
        ([["aeroplane", "background"]], "leave background out"),
        ([["aeroplane"], []], "give every step a class"),
    ],
)
def test_wrong_steps_are_named(steps: Any, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        VOC("nowhere", class_steps=ClassSteps(steps))


def test_a_step_that_does_not_exist_is_named() -> None:
    with pytest.raises(SeglabError, match=r"class_steps.step is 6: give 0 to 5"):
        VOC("nowhere", class_steps=ClassSteps("15-1", step=6))


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """CamVid's layout; image 1 shows sky and building, image 2 sky and pole, image 3 sky, building and pole."""
    _, colours = ids_of(CAMVID)
    rng = np.random.default_rng(0)
    for index, ids in enumerate([(0, 1), (0, 2), (0, 1, 2)], 1):
        image, mask = scene(ids, colours, (48, 32), rng)
        for split in ("train", "val", "test"):
            save(tmp_path / split / f"{index}.png", image)
            save(tmp_path / f"{split}annot" / f"{index}.png", mask)
    return tmp_path


def camvid(root: Path, step: int, protocol: Any = "overlapped", **more: Any) -> CamVid:
    steps = ClassSteps([["building"], ["pole"], ["road"]], step, protocol, background="sky")
    return CamVid(str(root), class_steps=steps, counts=str(root / "counts"), crop=(32, 48), scale=(1, 1), **more)


@pytest.mark.parametrize(("protocol", "first"), [("overlapped", ["1", "3"]), ("disjoint", ["1"])])
def test_a_step_has_the_images_that_show_its_classes(shown: Path, protocol: str, first: list[str]) -> None:
    assert [item.key for item in camvid(shown, 0, protocol).labeled_items()] == first
    assert [item.key for item in camvid(shown, 1, protocol).labeled_items()] == ["2", "3"]
    with pytest.raises(SeglabError, match="none of the 3 labeled images belongs to step 2, that is, shows road"):
        camvid(shown, 2, protocol).labeled_items()


@pytest.mark.parametrize("cached", [False, True])
def test_streams_teach_the_step_and_evaluation_counts_every_class_so_far(shown: Path, cached: bool) -> None:
    if cached:
        write_cache(camvid(shown, 0).items("train") + camvid(shown, 0).items("val"), shown, CAMVID, shown / "cache")
    for step, classes, seen in ((0, [0, 1], [0, 1, IGNORE]), (1, [0, 2], [0, 1, 2])):
        data = camvid(shown, step, flip=0.0, cache=str(shown / "cache") if cached else "")
        sample = data.labeled_stream(0)[0]
        assert np.unique(sample["mask"]).tolist() == classes
        truth = np.asarray(Image.open(shown / f"trainannot/{sample['key']}.png"))
        assert (sample["mask"].numpy() == np.where(truth == step + 1, step + 1, 0)).all()
        (mask,) = [sample["mask"] for sample in data._evaluation_loader("val") if sample["key"] == ["3"]]
        assert np.unique(mask).tolist() == seen
        assert data.counted.pixels[:, classes].sum() == data.counted.pixels.sum()
        assert {int(x) for batch in data.one_pass("labeled") for x in np.unique(batch["mask"])} == set(classes)
