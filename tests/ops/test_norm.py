import pytest
import torch
from torch import nn

from seglab.ops.norm import frozen_statistics


def test_frozen_statistics_normalise_by_the_batch_and_remember_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3)).train()
    image = torch.rand(4, 3, 8, 8) + 5
    before = network[1].running_mean.clone()
    with frozen_statistics(network):
        inside = network(image)
    assert torch.equal(network[1].running_mean, before)
    assert torch.equal(inside, network(image))
    assert not torch.equal(network[1].running_mean, before)


def test_momentum_comes_back_even_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm2d(4, momentum=0.3), nn.BatchNorm2d(4, momentum=None))
    with pytest.raises(ZeroDivisionError), frozen_statistics(network):
        raise ZeroDivisionError
    assert [network[0].momentum, network[1].momentum] == [0.3, None]
