"""ops/components.py"""

import numpy as np
import pytest
import torch
from scipy import ndimage

from seglab.ops.components import component_box, components


def mask(*lines: str) -> torch.Tensor:
    return torch.tensor([[[character == "x" for character in line] for line in lines]])


def test_components_are_joined_at_corners_and_told_apart_elsewhere(no_host_sync) -> None:
    with no_host_sync:
        label = components(mask("x..xx", ".x...", "....x", "xx..x"))[0]
    assert (label > 0).tolist() == mask("x..xx", ".x...", "....x", "xx..x")[0].tolist()
    assert label[0, 0] == label[1, 1]
    assert label[0, 3] == label[0, 4]
    assert label[2, 4] == label[3, 4]
    assert label[3, 0] == label[3, 1]
    assert len({int(label[i, j]) for i, j in ((0, 0), (0, 3), (2, 4), (3, 0))}) == 4


def test_a_winding_component_is_one() -> None:
    label = components(mask("xxxxx", "....x", "xxxxx", "x....", "xxxxx"))
    assert len(label[label > 0].unique()) == 1


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6])
def test_components_are_those_of_scipy(share: float) -> None:
    torch.manual_seed(0)
    found = torch.rand(20, 40, 50) < share
    ours = components(found)
    for label, single in zip(ours, found, strict=True):
        theirs, number = ndimage.label(single.numpy(), structure=np.ones((3, 3)))
        pairs = {(int(a), int(b)) for a, b in zip(label[single], torch.from_numpy(theirs)[single], strict=True)}
        assert len(pairs) == number == len({a for a, _ in pairs})


def test_a_spiral_is_one_component() -> None:
    size, found = 41, torch.zeros(1, 41, 41, dtype=torch.bool)
    row, column, step, turn = 0, 0, size - 1, 0
    while step > 0:
        for _ in range(step):
            found[0, row, column] = True
            row, column = row + (0, 1, 0, -1)[turn % 4], column + (1, 0, -1, 0)[turn % 4]
        turn += 1
        step -= 2 * (turn > 2 and turn % 2 == 1)
    assert found.sum() > 400
    assert len(components(found)[found].unique()) == 1


def test_images_have_components_of_their_own() -> None:
    label = components(torch.cat([mask("x.x"), mask("xxx")]))
    assert len(label[0].unique()) == 3
    assert label[1].unique().numel() == 1


def test_the_box_of_the_only_large_component() -> None:
    found = mask("........", ".xx...x.", ".x......", "........")
    box, any_found = component_box(found, 2 / 32, cell=1)
    assert any_found.tolist() == [True]
    expected = torch.zeros(1, 4, 8, dtype=torch.bool)
    expected[:, 1:3, 1:3] = True
    assert torch.equal(box, expected)


def test_the_area_is_more_than_the_share() -> None:
    found = mask("xx..", "....")
    assert component_box(found, 1.9 / 8, cell=1)[1].item()
    box, any_found = component_box(found, 2 / 8, cell=1)
    assert not any_found.item()
    assert not box.any()
    assert not component_box(torch.zeros(1, 3, 3, dtype=torch.bool), 0.0, cell=1)[1].item()


def test_large_components_are_drawn_alike_and_each_image_has_its_own(no_host_sync) -> None:
    torch.manual_seed(0)
    found = mask("xx....x", "xx....x", "x......").expand(2000, -1, -1)
    with no_host_sync:
        box, any_found = component_box(found, 0.0, cell=1)
    assert any_found.all()
    assert box[:, 0, 0].float().mean().item() == pytest.approx(0.5, abs=0.05)  # areas are 5 and 2
    assert torch.equal(box[:, 0, 0], ~box[:, 0, 6])


def test_cells_join_what_shares_one_and_boxes_keep_their_pixels() -> None:
    found = torch.zeros(1, 20, 30, dtype=torch.bool)
    found[0, 1, 1] = found[0, 6, 7] = True  # in one cell of 8
    found[0, 17, 26] = True  # two cells away
    torch.manual_seed(0)
    boxes = {tuple(component_box(found, 0.0)[0].sum((1, 2)).tolist()) for _ in range(20)}
    assert boxes == {(6 * 7,), (1,)}
