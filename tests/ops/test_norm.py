from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from probes import on_two_ranks
from timm.layers import BatchNormAct2d
from torch import nn

from seglab.ops.norm import (
    apart,
    frozen_statistics,
    local_statistics,
    replace_norms,
    synchronised,
    tells_apart,
)
from seglab.ops.ranks import average_
from seglab.types import SeglabError


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


CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    own = nn.BatchNorm2d(5, momentum=None, affine=False)
    return nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 5, 1), own).train()


def train(module: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output, gradients and buffers of two steps, the second with frozen statistics."""
    output = module(images)
    with frozen_statistics(module):
        output = output + module(2 * images)
    output.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    return {"output": output.detach(), **gradients, **dict(module.named_buffers())}


IMAGES = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1)) + 3


def train_a_half(rank: int, folder: Path) -> None:
    module = synchronised(network(), CPU)
    assert not local_statistics(module)
    own = network()
    own(IMAGES[rank::2])
    average_(list(local_statistics(own).values()))
    shared = {f"shared.{name}": buffer for name, buffer in own.named_buffers()}
    torch.save(train(module, IMAGES[rank::2]) | shared, folder / f"{rank}.pt")


def test_synchronised_halves_equal_the_whole(tmp_path: Path) -> None:
    zero, one = on_two_ranks(train_a_half, tmp_path)
    whole = train(network(), IMAGES)
    for name, expected in whole.items():
        if name == "output":
            torch.testing.assert_close(torch.stack([zero[name], one[name]], 1).flatten(0, 1), expected)
        elif name in dict(network().named_parameters()):
            torch.testing.assert_close(zero[name] + one[name], expected, rtol=1e-4, atol=1e-4)
        else:
            torch.testing.assert_close(zero[name], expected)
            assert torch.equal(zero[name], one[name])

    halves = [network(), network()]
    for rank, half in enumerate(halves):
        half(IMAGES[rank::2])
    expected = (halves[0][1].running_var + halves[1][1].running_var) / 2
    torch.testing.assert_close(zero["shared.1.running_var"], expected)
    assert torch.equal(zero["shared.1.running_var"], one["shared.1.running_var"])


def test_a_converted_network_is_the_same_network() -> None:
    plain, converted = network(), synchronised(network(), CPU)
    assert plain.state_dict().keys() == converted.state_dict().keys()
    results = train(converted, IMAGES)
    for name, expected in train(plain, IMAGES).items():
        torch.testing.assert_close(results[name], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(converted.eval()(IMAGES), plain.eval()(IMAGES))

    for_gpus = synchronised(network(), torch.device("cuda"))
    assert all(isinstance(for_gpus[index], nn.SyncBatchNorm) for index in (1, 3))
    assert not local_statistics(for_gpus)
    torch.testing.assert_close(for_gpus.eval()(IMAGES), network().eval()(IMAGES))


def test_an_unknown_normalisation_is_refused() -> None:
    class Odd(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    with pytest.raises(SeglabError, match=r"Odd.*sync_batchnorm"):
        synchronised(nn.Sequential(Odd(3)), CPU)


@pytest.mark.parametrize("convert", [lambda module: module, lambda module: synchronised(module, CPU)])
def test_parts_of_a_batch_are_normalised_as_in_forwards_of_their_own(convert: Callable) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5, momentum=0.3))
    replace_norms(layers)
    one, two = convert(deepcopy(layers).double().train()), convert(deepcopy(layers).double().train())
    parts = [torch.rand(size, 3, 6, 6, dtype=torch.double) + shift for size, shift in ((2, 0.0), (3, 5.0), (1, 9.0))]
    with apart(one, [2, 3, 1], [False, True, False]):
        together = one(torch.cat(parts))
    alone = [two(parts[0])]
    with frozen_statistics(two):
        alone.append(two(parts[1]))
    alone.append(two(parts[2]))
    torch.testing.assert_close(together, torch.cat(alone))
    for output in (together, torch.cat(alone)):
        output.square().sum().backward()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(one.buffers(), two.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(one(parts[0]), two(parts[0]), msg="behind the block the batch is one again")


def test_a_normalisation_that_cannot_tell_parts_apart_says_so() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3, momentum=None)).train()
    replace_norms(module)
    assert not tells_apart(module)
    with pytest.raises(SeglabError, match="BatchNorm2d"), apart(module, [1, 1], [False, False]):
        pass
