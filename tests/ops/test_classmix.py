import pytest
import torch

from seglab.labels import IGNORE
from seglab.ops.classmix import class_mask, classes_present, half, select

LABEL = torch.tensor([[[0, 0], [1, 2]]])


def chosen(*classes: int) -> torch.Tensor:
    return torch.isin(torch.arange(256), torch.tensor(classes)).unsqueeze(0)


def test_the_mask_covers_the_chosen_classes():
    assert select(LABEL, chosen(0)).tolist() == [[[True, True], [False, False]]]
    assert select(LABEL, chosen(0, 2)).tolist() == [[[True, True], [False, True]]]


@pytest.mark.parametrize(("classes", "pasted"), [(1, 1), (2, 1), (3, 2), (4, 2), (19, 10)])
def test_half_of_the_classes_rounded_up(classes, pasted):
    torch.manual_seed(0)
    label = torch.arange(classes).repeat(50, 2, 1)
    counts = class_mask(label)[:, 0].sum(1)
    assert counts.tolist() == [pasted] * 50


def test_every_class_is_as_likely_and_images_are_drawn_apart():
    torch.manual_seed(0)
    masks = class_mask(torch.tensor([3, 7, 11]).repeat(6000, 1, 1))[:, 0]
    assert masks.float().mean(0).sub(2 / 3).abs().max() < 0.02
    assert len(masks.unique(dim=0)) == 3


def test_whole_classes_are_in_or_out_whatever_the_image_next_to_it_shows():
    torch.manual_seed(0)
    label = torch.randint(0, 6, (8, 20, 30))
    label[4:] += 10
    mask = class_mask(label)
    for image, inside in zip(label, mask, strict=True):
        assert not set(image[inside].tolist()) & set(image[~inside].tolist())
        assert len(image[inside].unique()) == 3


def test_ignored_pixels_are_neither_pasted_nor_counted():
    torch.manual_seed(0)
    label = torch.tensor([0, 1, IGNORE]).repeat(100, 1, 1)
    mask = class_mask(label)[:, 0]
    assert not mask[:, 2].any()
    assert mask.sum(1).tolist() == [1] * 100
    assert not class_mask(torch.full((2, 3, 3), IGNORE)).any()


def test_classes_present_are_those_of_each_image():
    present = classes_present(torch.tensor([[[0, 4]], [[IGNORE, 2]]]))
    assert present.nonzero().tolist() == [[0, 0], [0, 4], [1, 2]]


def test_it_draws_without_waiting_for_the_device_and_repeats_with_the_seed(no_host_sync):
    label = torch.randint(0, 19, (2, 8, 8))
    torch.manual_seed(1)
    with no_host_sync:
        first = class_mask(label)
    torch.manual_seed(1)
    assert torch.equal(first, class_mask(label))
    assert half(torch.zeros(1, 256, dtype=torch.bool)).sum() == 0
