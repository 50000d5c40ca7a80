import pytest
import torch

from seglab.ops.thresholds import masked_quantile


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.83, 1.0])
def test_masked_quantile_is_the_quantile_of_what_the_mask_shows(share):
    torch.manual_seed(0)
    value, mask = torch.randn(2, 7, 9), torch.rand(2, 7, 9) < 0.6
    assert masked_quantile(value, mask, share).item() == pytest.approx(value[mask].quantile(share).item(), abs=1e-6)


def test_masked_quantile_of_nothing_is_infinite_and_of_one_value_that_value():
    value = torch.tensor([3.0, 4.0])
    assert masked_quantile(value, torch.zeros(2, dtype=torch.bool), 0.5).item() == float("inf")
    assert masked_quantile(value, torch.tensor([False, True]), 0.2).item() == 4.0


def test_masked_quantile_does_not_wait_for_the_device(no_host_sync):
    with no_host_sync:
        masked_quantile(torch.randn(5), torch.rand(5) < 0.5, 0.8)
