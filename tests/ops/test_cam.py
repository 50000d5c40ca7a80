"""Class activation maps on the numbers of their formulas."""

import pytest
import torch

from seglab.labels import IGNORE
from seglab.ops.cam import confident_seeds, label_with_background, multi_label_loss, multi_scale, normalised, scores
from seglab.ops.crf import DenseCRF

CLASSES = torch.tensor([1, 2])


def test_maps_are_divided_by_their_maximum_and_absent_classes_have_none() -> None:
    maps = torch.tensor([[[1.0, 2.0], [0.0, 4.0]], [[1.0, -2.0], [3.0, 1.0]]])[None]
    found = normalised(maps, torch.tensor([[True, False]]))
    expected = torch.tensor([[0.249999, 0.499999], [0.0, 0.999998]])
    torch.testing.assert_close(found[0, 0], expected, atol=1e-6, rtol=0)
    assert not found[0, 1].any()


@pytest.mark.parametrize(
    ("score", "tags", "loss"), [((1.0, -2.0), (True, False), 0.220095), ((0.0, 0.0), (False, False), 0.693147)]
)
def test_the_loss_of_several_labels(score: tuple, tags: tuple, loss: float) -> None:
    assert multi_label_loss(torch.tensor([score]), torch.tensor([tags])).item() == pytest.approx(loss, abs=1e-6)


def test_scores_are_means_of_maps() -> None:
    assert scores(torch.tensor([[[[1.0, 2.0], [0.0, 5.0]]]])).item() == 2


def test_scales_and_mirror_images_are_summed() -> None:
    image = torch.rand(1, 3, 8, 12)
    torch.testing.assert_close(multi_scale(lambda x: x - 0.1, image, (1.0,)), 2 * (image - 0.1).relu())
    assert multi_scale(lambda x: x[:, :, ::2, ::2], image, (1.0, 0.5)).shape == image.shape


def test_two_background_scores_leave_what_is_unsure() -> None:
    maps = torch.tensor([[0.1, 0.2, 0.9], [0.0, 0.0, 0.3]]).view(1, 2, 1, 3)
    tags, image = torch.tensor([[False, True, True]]), torch.zeros(1, 3, 1, 3)
    label = confident_seeds(maps, image, tags, CLASSES, 0, (0.15, 0.3), None)
    assert label.flatten().tolist() == [0, IGNORE, 1]
    assert label_with_background(maps, 0.95, CLASSES, -1).flatten().tolist() == [1, 1, 1], "no background to fall to"


def test_a_crf_gives_colours_to_their_class() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0
    maps = torch.zeros(1, 2, 8, 8)
    maps[:, 0, :, 4:] = 1.0
    maps[:, 0, 2, 6] = 0.0  # a hole
    tags = torch.tensor([[False, True, False]])
    label = confident_seeds(maps, image, tags, CLASSES, 0, (0.15, 0.3), DenseCRF(10, 3, 3, 10, 50, 5))
    assert label[0, :, 4:].eq(1).all()
    assert label[0, :, :4].eq(0).all()
