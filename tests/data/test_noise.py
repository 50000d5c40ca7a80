"""Wrong masks on purpose: the same for a seed and a key, whoever reads them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seglab.data import GTA5, CamVid, Cityscapes, DomainAdaptation
from seglab.data.cache import write_cache
from seglab.data.noise import Noise
from seglab.labels import IGNORE
from seglab.types import SeglabError

STRONG = Noise(outlines=0.8, radius=3, classes=0.4)


def halves() -> np.ndarray:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 1
    mask[:4] = IGNORE
    return mask


def test_it_is_a_function_of_seed_and_key() -> None:
    mask = np.random.default_rng(0).integers(0, 11, (5, 6)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    mask[:3] = IGNORE
    wrong = STRONG(mask, "a", 11)
    assert np.array_equal(wrong, STRONG(mask, "a", 11))
    assert not np.array_equal(wrong, STRONG(mask, "b", 11))
    assert not np.array_equal(wrong, Noise(0.8, 3, 0.4, seed=1)(mask, "a", 11))
    assert np.array_equal(wrong == IGNORE, mask == IGNORE)
    assert np.array_equal(mask, Noise()(mask, "a", 11))


def test_outlines_move_by_the_radius_at_most() -> None:
    moved = set()
    for key in "abcdefghijklmnop":
        wrong = Noise(outlines=1, radius=5)(halves(), key, 2)
        assert (wrong[:4] == IGNORE).all()
        row = wrong[20]
        edge = int(np.argmax(row == 1)) if (row == 1).any() else 40
        assert np.array_equal(row, (np.arange(40) >= edge).astype(np.uint8))
        assert abs(edge - 20) <= 10, "both classes may move it"
        moved.add(edge)
    assert len(moved) > 3
    assert min(moved) < 20 < max(moved)


def test_a_class_is_called_another_one_everywhere() -> None:
    changed = [Noise(classes=1)(halves(), key, 5) for key in "abcdef"]
    assert all((wrong[4:, :20] != 0).all() and (wrong[4:, 20:] != 1).all() for wrong in changed)
    assert len({int(wrong[10, 0]) for wrong in changed}) > 1


def test_a_shrunk_class_that_fills_the_image_stays() -> None:
    mask = np.zeros((9, 9), np.uint8)
    assert np.array_equal(Noise(outlines=1, radius=2)(mask, "a", 3), mask)


def test_streams_have_wrong_masks_and_the_truth_for_curves_alone(camvid: Path, tmp_path: Path) -> None:
    options = {"crop": (32, 48), "counts": str(tmp_path)}
    clean, noisy = (CamVid(str(camvid), noise=noise, **options) for noise in (None, STRONG))
    differs = 0
    for position in range(6):
        one, other = (data.stream("labeled", 0)[position] for data in (clean, noisy))
        assert set(other) == {*one, "hidden"}
        assert torch.equal(one["mask"], other["hidden"])
        assert torch.equal(one["image"], other["image"])
        differs += int((other["mask"] != one["mask"]).sum())
    assert differs > 100
    assert "hidden" not in CamVid(str(camvid), noise=STRONG, hidden_masks=False, **options).stream("labeled", 0)[0]
    assert not np.array_equal(clean.class_counts().pixels, noisy.class_counts().pixels)
    masks = [next(iter(data.one_pass("labeled")))["mask"] for data in (clean, noisy)]
    assert not torch.equal(*masks)
    whole = noisy.evaluation_items("val")
    assert whole == clean.evaluation_items("val"), "nothing is wrong in what is scored"

    write_cache(clean.items("train"), clean.root, clean.own_space, tmp_path / "cache")
    cached = CamVid(str(camvid), noise=STRONG, cache=str(tmp_path / "cache"), **options)
    assert torch.equal(cached.stream("labeled", 0)[3]["mask"], noisy.stream("labeled", 0)[3]["mask"])


def test_one_side_of_an_adaptation(gta5: Path, cityscapes: Path) -> None:
    source = GTA5(str(gta5), crop=(32, 48), labeled_batch=2, noise=STRONG)
    target = Cityscapes(str(cityscapes), crop=(32, 48), labeled_batch=2, labeled="1/3")
    stream = DomainAdaptation(source, target, target_labeled_batch=1).stream("labeled", 0)
    assert {frozenset(stream[i]) for i in range(4)} == {frozenset(stream[0])}


@pytest.mark.parametrize("wrong", [Noise(outlines=2), Noise(classes=-1), Noise(radius=0), Noise(seed=-1)])
def test_impossible_noise_is_refused(wrong: Noise, camvid: Path) -> None:
    with pytest.raises(SeglabError, match=r"noise\."):
        CamVid(str(camvid), noise=wrong)
    with pytest.raises(SeglabError, match="choose one"):
        CamVid(str(camvid), noise=Noise(classes=1), points="points.csv")
