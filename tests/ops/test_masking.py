import pytest
import torch

from seglab.ops.masking import block_mask, stretch


def test_blocks_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([[[0.2, 0.8], [0.71, 0.69]]]))
    mask = block_mask((1, 128, 128), 64, 0.7, torch.device("cpu"))
    quadrants = mask.view(1, 2, 64, 2, 64).sum((2, 4))
    assert quadrants.tolist() == [[[0, 4096], [4096, 0]]]


def test_a_side_that_is_no_multiple_has_blocks_of_equal_size() -> None:
    grid = torch.tensor([[[True], [False]]])
    assert stretch(grid, 96, 32).sum((1, 2)).tolist() == [48 * 32]
    assert block_mask((3, 96, 20), 64, 0.5, torch.device("cpu")).shape == (3, 96, 20)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_share_of_hidden_blocks(ratio: float) -> None:
    torch.manual_seed(0)
    mask = block_mask((50, 100, 100), 10, ratio, torch.device("cpu"))
    assert 1 - mask.float().mean().item() == pytest.approx(ratio, abs=0.02)
    assert mask[0].ne(mask[1]).any() == (0 < ratio < 1), "each image has a mask of its own"
