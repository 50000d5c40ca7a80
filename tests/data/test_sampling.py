from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import save

from seglab.data import GTA5, CamVid, Cityscapes, DomainAdaptation
from seglab.data.class_counts import ClassCounts
from seglab.data.files import Item
from seglab.data.sampling import Balanced, RareClasses, RareFirst, Shows, class_probabilities
from seglab.types import SeglabError

EVERY = np.ones(3, bool)


def test_probabilities_of_the_paper() -> None:
    frequency = np.array([0.9, 0.09, 0.01])
    assert np.allclose(class_probabilities(frequency, 0.01, EVERY), [0, 3.3535e-4, 0.999665], atol=1e-6)
    assert np.allclose(class_probabilities(frequency, 0.1, EVERY), [9.41e-5, 0.309996, 0.689910], atol=1e-6)


def test_classes_that_cannot_be_drawn_leave_the_others_their_ratio() -> None:
    frequency = np.array([0.6, 0.4, 0.0])
    probabilities = class_probabilities(frequency, 0.2, np.array([True, True, False]))
    assert probabilities[2] == 0
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[1] / probabilities[0] == pytest.approx(np.exp(0.2 / 0.2))


def test_a_cold_softmax_is_finite() -> None:
    assert class_probabilities(np.array([0.5, 0.3, 0.2]), 1e-5, EVERY).tolist() == [0, 0, 1]


def crop(**share: int) -> np.ndarray:
    values = {"a": 0, "b": 1, "void": 255}
    return np.concatenate([np.full(count, values[name], np.uint8) for name, count in share.items()]).reshape(10, 10)


@pytest.mark.parametrize(
    ("mask", "obeys"),
    [
        (crop(a=74, b=26), True),
        (crop(a=75, b=25), False),  # less than the share, not up to it
        (crop(a=100), False),  # one class alone, however small its share of the crop
        (crop(a=10, void=90), False),
        (crop(a=14, b=6, void=80), True),  # 70 % of what is labeled
        (crop(void=100), False),
    ],
)
def test_balanced_is_the_rule_of_mmsegmentation(mask: np.ndarray, obeys: bool) -> None:
    assert Balanced(0.75)(mask) is obeys


def test_shows_needs_more_than_the_count() -> None:
    assert [Shows(1, pixels)(crop(a=70, b=30)) for pixels in (0, 29, 29.5, 30)] == [True, True, True, False]
    assert not Shows(2, 0)(crop(a=70, b=30))


@pytest.mark.parametrize(("name", "value"), [("temperature", 0), ("min_pixels", -1), ("min_crop_ratio", -1)])
def test_impossible_laws_are_refused(camvid: Path, name: str, value: int) -> None:
    with pytest.raises(SeglabError, match=f"{name}={value}"):
        CamVid(str(camvid), rare_classes=RareClasses(**{name: value}))


def drawn(pixels: np.ndarray, rare: RareClasses, count: int) -> tuple[RareFirst, list[tuple[int, str]]]:
    items = [Item(str(i), Path(f"{i}.png"), Path(f"{i}.png")) for i in range(len(pixels))]
    order = RareFirst(items, ClassCounts(tuple(item.key for item in items), pixels), rare, 5, 0)
    picks = [order(position) for position in range(count)]
    return order, [(pick.rules[-1].category, pick.item.key) for pick in picks]


def test_classes_and_images_follow_the_law() -> None:
    common, rare, too_small, absent = [900, 800, 900, 700, 90], [0, 101, 100, 300, 0], [20, 0, 0, 10, 0], [0] * 5
    pixels = np.array([common, rare, too_small, absent], np.uint32).T
    order, picks = drawn(pixels, RareClasses(temperature=0.5, min_pixels=100), 6000)
    f = pixels.sum(0) / pixels.sum()
    expected = np.exp((1 - f[:2]) / 0.5) / np.exp((1 - f[:2]) / 0.5).sum()
    assert np.allclose(order.probabilities, [*expected, 0, 0])
    classes = Counter(category for category, _ in picks)
    assert set(classes) == {0, 1}
    assert classes[1] / 6000 == pytest.approx(expected[1], abs=0.02)
    images = {c: Counter(key for category, key in picks if category == c) for c in (0, 1)}
    assert set(images[0]) == {"0", "1", "2", "3"}  # uniformly, however many pixels they have
    assert set(images[1]) == {"1", "3"}  # 100 pixels are not more than 100
    for counts in images.values():
        share = np.array(list(counts.values())) / counts.total()
        assert np.allclose(share, 1 / len(counts), atol=0.04)


def test_a_position_is_drawn_the_same_in_any_order() -> None:
    pixels = np.random.default_rng(0).integers(0, 500, (20, 5)).astype(np.uint32)
    order, picks = drawn(pixels, RareClasses(0.1, 100), 50)
    assert [order(i).item.key for i in reversed(range(50))] == [key for _, key in reversed(picks)]


def test_images_without_enough_of_any_class_are_refused() -> None:
    with pytest.raises(SeglabError, match=r"more than 3000 pixels of any class: lower rare_classes.min_pixels"):
        drawn(np.full((3, 4), 3000, np.uint32), RareClasses(), 1)


# On the layouts of real data sets


def test_the_drawn_class_is_in_the_crop(gta5: Path, tmp_path: Path) -> None:
    rare = RareClasses(min_pixels=100, attempts=200)  # every class covers 256 pixels of an image or more
    options = {"crop": (32, 40), "scale": (0.9, 1.1), "counts": str(tmp_path)}
    stream = GTA5(str(gta5), rare_classes=rare, **options).stream("labeled", 0)
    plain = GTA5(str(gta5), **options).stream("labeled", 0)
    shown, by_chance = 0, 0
    for position in range(120):
        wanted = stream.order(position).rules[-1].category
        shown += int((stream[position]["mask"] == wanted).sum() > 50)
        by_chance += int((plain[position]["mask"] == wanted).sum() > 50)
    assert shown == 120
    assert by_chance < 70


@pytest.fixture
def lopsided(tmp_path: Path) -> Path:
    """CamVid's layout: one class but for a strip of another at the right, as wide as a third of a crop."""
    mask = np.zeros((64, 96), np.uint8)
    mask[:, 80:] = 3
    for index in range(4):
        save(tmp_path / f"train/{index}.png", np.repeat(mask[..., None] * 50, 3, -1))
        save(tmp_path / f"trainannot/{index}.png", mask)
    return tmp_path


@pytest.mark.parametrize(("cap", "least", "most"), [(1.0, 0, 20), (0.75, 45, 77)])
def test_the_cap_prefers_crops_of_several_classes(lopsided: Path, cap: float, least: int, most: int) -> None:
    data = CamVid(str(lopsided), crop=(32, 48), scale=(1.0, 1.0), category_cap=cap)
    stream = data.stream("labeled", 0)
    # the strip covers more than a quarter of the crop at 4 of 49 offsets: 8 % of single crops, 61 % of 11 tries
    capped = sum(bool(0 < (stream[i]["mask"] == 0).float().mean() < 0.75) for i in range(100))
    assert least <= capped <= most


def test_the_cap_does_not_touch_unlabeled_crops(camvid: Path) -> None:
    streams = [CamVid(str(camvid), crop=(16, 16), category_cap=cap).stream("unlabeled", 0) for cap in (0.3, 1.0)]
    for position in range(10):
        assert torch.equal(*(stream[position]["image"] for stream in streams))


@pytest.mark.parametrize("cap", [0.0, 1.5])
def test_impossible_caps_are_refused(camvid: Path, cap: float) -> None:
    with pytest.raises(SeglabError, match=f"category_cap {cap}"):
        CamVid(str(camvid), category_cap=cap)


def test_adaptation_draws_rare_classes_of_the_source(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    source = GTA5(str(gta5), crop=(24, 32), rare_classes=RareClasses(min_pixels=100), counts=str(tmp_path))
    data = DomainAdaptation(source, Cityscapes(str(cityscapes), crop=(24, 32)))
    stream = data.stream("labeled", 0)
    assert isinstance(stream.order, RareFirst)
    assert data.class_counts().keys == tuple(item.key for item in source.labeled_items())


def test_adaptation_refuses_what_would_have_no_effect(gta5: Path, cityscapes: Path) -> None:
    with pytest.raises(SeglabError, match="give them to the source"):
        DomainAdaptation(GTA5(str(gta5)), Cityscapes(str(cityscapes), rare_classes=RareClasses()))
    with pytest.raises(SeglabError, match="give them to the source"):
        DomainAdaptation(GTA5(str(gta5)), Cityscapes(str(cityscapes), category_cap=0.75))
    with pytest.raises(SeglabError, match="give them to the target"):
        DomainAdaptation(GTA5(str(gta5), pseudo_labels="folder"), Cityscapes(str(cityscapes)))


def test_an_adaptation_with_labels_of_both_counts_both(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    options = {"crop": (24, 32), "rare_classes": RareClasses(min_pixels=100), "counts": str(tmp_path)}
    source = GTA5(str(gta5), labeled_batch=4, **options)
    target = Cityscapes(str(cityscapes), labeled="1/3", **options)
    data = DomainAdaptation(source, target, target_labeled_batch=1)
    parts = [source.class_counts(), target.class_counts()]
    assert data.class_counts().keys == parts[1].keys + parts[0].keys
    assert np.array_equal(data.class_counts().pixels, np.concatenate([part.pixels for part in reversed(parts)]))
    stream = data.stream("labeled", 0)
    for position in range(8):
        pick = stream.order(position)
        assert isinstance(pick.rules[-1], Shows)
        assert (pick.item in target.labeled_items()) == (position % 4 == 0)


def test_flip_is_a_probability_of_the_data(camvid: Path) -> None:
    assert CamVid(str(camvid), flip=0.0).labeled_stream(0).view.transforms[1].p == 0.0
    with pytest.raises(SeglabError, match=r"CamVid\.flip"):
        CamVid(str(camvid), flip=1.5)
