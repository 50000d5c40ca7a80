import math

import pytest
import torch
from torch import nn

from seglab.networks.discriminator import SOURCE, TARGET, Discriminator, domain_loss
from seglab.types import SeglabError


def test_widths_strides_and_slopes_are_those_of_the_paper() -> None:
    convolutions = [part for part in Discriminator(19).modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [64, 128, 256, 512, 1]
    assert {(part.kernel_size, part.stride, part.padding) for part in convolutions} == {((4, 4), (2, 2), (1, 1))}
    assert [part.negative_slope for part in Discriminator(19).modules() if isinstance(part, nn.LeakyReLU)] == [0.2] * 4


@pytest.mark.parametrize("size", [(32, 48), (33, 65), (128, 256)])
def test_one_answer_per_32_pixels(size: tuple[int, int]) -> None:
    assert Discriminator(5, 4)(torch.rand(2, 5, *size)).shape == (2, 1, size[0] // 32, size[1] // 32)


def test_an_undecided_answer_costs_ln_2_in_both_domains() -> None:
    logits = torch.zeros(2, 1, 3, 3)
    assert domain_loss(logits, SOURCE).item() == pytest.approx(math.log(2))
    assert domain_loss(logits, TARGET).item() == pytest.approx(math.log(2))
    assert domain_loss(logits - 3, SOURCE).item() == pytest.approx(math.log1p(math.exp(-3)))
    assert domain_loss(logits - 3, TARGET).item() == pytest.approx(math.log1p(math.exp(3)))


def test_fooling_reaches_the_maps_alone_and_says_the_opposite_of_the_own_loss() -> None:
    discriminator = Discriminator(3, 4)
    source, target = (torch.rand(2, 3, 64, 64).requires_grad_() for _ in range(2))
    discriminator.fooling_loss(target).backward()
    assert target.grad is not None
    assert target.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    torch.testing.assert_close(discriminator.fooling_loss(target), domain_loss(discriminator(target), SOURCE))

    target.grad = None
    own = discriminator.own_loss(source, target)
    own.backward()
    assert source.grad is None
    assert target.grad is None
    assert all(parameter.grad is not None for parameter in discriminator.parameters())
    expected = (domain_loss(discriminator(source), SOURCE) + domain_loss(discriminator(target), TARGET)) / 2
    torch.testing.assert_close(own, expected)


def test_it_learns_to_tell_maps_apart_that_differ() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(3, 16)
    optimizer = torch.optim.Adam(discriminator.parameters(), 5e-3, betas=(0.9, 0.99))
    for _ in range(50):
        loss = discriminator.own_loss(0.2 * torch.rand(4, 3, 32, 32), 1 - 0.2 * torch.rand(4, 3, 32, 32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * math.log(2)


def test_maps_that_are_too_small_are_refused() -> None:
    with pytest.raises(SeglabError, match=r"31 x 64.*larger crops"):
        Discriminator(3, 4)(torch.rand(1, 3, 31, 64))
