"""ops/uncertainty.py"""

import pytest
import torch

from seglab.ops.uncertainty import UNCERTAINTY, least_confidence, narrow_margin, shannon_entropy


def test_the_scores_of_one_pixel() -> None:
    p = torch.tensor([0.5, 0.3, 0.2]).reshape(1, 3, 1, 1)
    assert least_confidence(p).item() == pytest.approx(0.5)
    assert 1 - narrow_margin(p).item() == pytest.approx(0.2)
    assert shannon_entropy(p).item() == pytest.approx(1.029653)


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_a_sure_pixel_is_last_and_no_score_is_nan(name: str) -> None:
    p = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.9, 0.05, 0.05]]).T.reshape(1, 3, 1, 3)
    score = UNCERTAINTY[name](p)
    assert score.shape == (1, 1, 3)
    assert score.isfinite().all()
    assert score.argsort(dim=2).flatten().tolist() == [0, 2, 1]
