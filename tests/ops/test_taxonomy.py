"""Labels that leave the class open, and contrast of drawn cells."""

import math

import pytest
import torch

from seglab.ops.mixing import IDS, Pixels
from seglab.ops.sampled_contrast import sampled_contrast
from seglab.ops.taxonomy import keep_classes, of_domain, other_parts, relabelled, spread, unknown_classes

K = 5


def table(open_classes: tuple[int, ...] = (), **groups: tuple[int, ...]) -> torch.Tensor:
    """Every class may be itself; ``_1=(1, 2)``: what is labelled 1 may be 1 or 2."""
    found = torch.zeros(IDS, K, dtype=torch.bool)
    parts = [part for group in groups.values() for part in group]
    for index in range(K):
        found[index, index] = index not in (*parts, *open_classes)
    for name, group in groups.items():
        found[int(name[1:]), list(group)] = True
    found[255, list(open_classes)] = True
    return found


def test_the_teacher_fills_in_what_a_label_leaves_open() -> None:
    may = table((4,), _1=(1, 2))
    parts = other_parts(may)
    assert parts.nonzero().tolist() == [[1, 2], [2, 1]]
    label = torch.tensor([[[0, 1, 2, 1, 255, 255, 3]]])
    predicted = torch.tensor([[[1, 2, 1, 3, 4, 0, 4]]])
    assert relabelled(label, predicted, may, parts).tolist() == [[[0, 2, 1, 1, 4, 255, 3]]]
    assert unknown_classes(may).nonzero().flatten().tolist() == [1, 2, 4]
    nothing = torch.zeros(IDS, K, dtype=torch.bool)
    assert unknown_classes(nothing).nonzero().flatten().tolist() == list(range(K))
    assert relabelled(label, predicted, nothing, other_parts(nothing)).equal(label)


def test_a_coarse_label_is_one_of_its_classes_at_random() -> None:
    torch.manual_seed(0)
    parts = other_parts(table(_1=(1, 2, 3)))
    label = torch.tensor([0, 1, 4, 255]).repeat_interleave(3000).view(1, 4, 3000)
    shares = torch.stack([(spread(label, parts)[0, 1] == k).float().mean() for k in range(K)])
    torch.testing.assert_close(shares, torch.tensor([0, 1 / 3, 1 / 3, 1 / 3, 0]), atol=0.03, rtol=0)
    shares = torch.stack([(spread(label, parts, 0.45)[0, 1] == k).float().mean() for k in range(K)])
    torch.testing.assert_close(shares, torch.tensor([0, 0.55, 0.225, 0.225, 0]), atol=0.03, rtol=0)
    assert spread(label, parts)[0, [0, 2, 3]].equal(label[0, [0, 2, 3]])
    assert spread(label, parts, 0.0).equal(label)


def test_images_of_a_domain() -> None:
    domain, numbers = torch.tensor([1, 0, 1, 0, 0]), torch.arange(5.0)
    whole = torch.arange(5).view(5, 1, 1)
    pixels = Pixels(numbers.view(5, 1, 1, 1).expand(5, 3, 1, 1), whole, whole.float(), whole > 0)
    assert of_domain(pixels, domain, 1, 5).label.flatten().tolist() == [0, 2, 0, 2, 0]
    assert of_domain(pixels, domain, 0, 2).image[:, 0].flatten().tolist() == [1, 3]
    none = of_domain(pixels, torch.zeros(5), 1, 2)
    assert (none.label == 255).all()
    kept = torch.isin(torch.arange(IDS), torch.tensor([1, 3]))
    assert keep_classes(pixels, kept).label.flatten().tolist() == [255, 1, 255, 3, 255]


@pytest.mark.parametrize("trust", [1.0, 0.5])
@pytest.mark.parametrize("temperature", [1.0, 0.07])
def test_pairs_weigh_as_much_as_both_cells_are_trusted(trust: float, temperature: float) -> None:
    """As on the card, where half the trust in two cells leaves a quarter of their loss."""
    embedding = torch.tensor([[1.0, 0]] * 3 + [[0, 1.0]] * 3).T.view(1, 2, 1, 6)
    label = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    sure = torch.tensor([[[trust] * 3 + [1.0] * 3]])
    loss = sampled_contrast(embedding, label, label, sure, temperature, 2, views=2, samples=4)
    one = math.log(1 + 2 / math.exp(1 / temperature))  # two cells of each class: a positive against two negatives
    assert loss.item() == pytest.approx((2 * trust**2 * one + 2 * one) / 4, rel=1e-4, abs=1e-9)
    alone = sampled_contrast(embedding, label, label, sure, temperature, 2, views=1, samples=4)
    assert alone.item() == 0.0  # one cell of each class, without another one
    none = sampled_contrast(embedding, torch.full_like(label, 255), label, sure, temperature, 2, views=1, samples=4)
    assert none.item() == 0.0
