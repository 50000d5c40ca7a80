"""Contrast between two views against its formulas."""

import pytest
import torch
import torch.nn.functional as F

from seglab.ops.components import edge
from seglab.ops.domain_prototypes import class_means
from seglab.ops.mixing import Pixels, half
from seglab.ops.two_views import multi_level_contrast, two_view_contrast
from seglab.ops.views import ResizedCropView
from seglab.types import SeglabError


@pytest.mark.parametrize(("scale", "loss"), [(7, 0.001822), (20, 4.1223e-9)])
def test_prototypes_of_one_class_each(scale: float, loss: float) -> None:
    """The numbers of the card: two classes, both views one-hot and equal."""
    one_hot = torch.eye(2, dtype=torch.float64)[None]
    assert two_view_contrast(one_hot, one_hot, 1 / scale).item() == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("pairs", [1 << 22, 40, 1])
def test_each_row_finds_its_own_in_the_other_view(pairs: int) -> None:
    torch.manual_seed(0)
    first, second = (torch.randn(2, 5, 3, requires_grad=True) for _ in range(2))
    present = torch.tensor([[True, True, False, True, True], [False] * 5])
    losses = []
    for kept, a, b in zip(present, first, second, strict=True):
        rows = torch.cat([a[kept], b[kept]])
        number = len(rows) // 2
        logits = (rows @ rows.T / 0.3).fill_diagonal_(-1e5) if number else rows
        answer = torch.arange(2 * number).roll(number)
        losses.append(F.cross_entropy(logits, answer) if number else torch.zeros(()))
    loss = two_view_contrast(first, second, 0.3, present, pairs=pairs)
    torch.testing.assert_close(loss, torch.stack(losses))
    ours, theirs = (torch.autograd.grad(x.sum(), (first, second)) for x in (loss, torch.stack(losses)))
    torch.testing.assert_close(ours, theirs)
    whole = two_view_contrast(first, second, 0.3, pairs=pairs)[0]
    rows = torch.cat([first[0], second[0]])
    torch.testing.assert_close(
        whole, F.cross_entropy((rows @ rows.T / 0.3).fill_diagonal_(-1e5), torch.arange(10).roll(5))
    )


def test_classes_are_compared_by_the_softmax_of_their_mean_logits() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 2, 4), torch.randn(2, 3, 2, 4)
    label = torch.tensor([[[0, 0, 2, 255], [2, 2, 255, 255]], [[255] * 4] * 2])
    mean, present = class_means(first, label, 3)
    assert present.tolist() == [[True, False, True], [False] * 3]
    torch.testing.assert_close(mean[0, 2], first[0][:, label[0] == 2].mean(1))
    classes, cells = multi_level_contrast(first, second, label)
    rows = torch.stack([x[0][:, label[0] == k].mean(1).softmax(0) for x in (first, second) for k in (0, 2)])
    expected = F.cross_entropy((7 * rows @ rows.T).fill_diagonal_(-1e5), torch.tensor([2, 3, 0, 1])) / 2
    torch.testing.assert_close(classes, expected)
    every = []
    for a, b in zip(first, second, strict=True):
        rows = torch.cat([a.flatten(1).T, b.flatten(1).T]).softmax(1)
        every.append(F.cross_entropy((20 * rows @ rows.T).fill_diagonal_(-1e5), torch.arange(16).roll(8)))
    torch.testing.assert_close(cells, torch.stack(every).mean())


def test_the_edge_of_a_mask() -> None:
    mask = torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[0, 1:3, 1:4] = True
    expected = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 0, 0, 1], [0, 1, 1, 1, 1]]).bool()
    assert torch.equal(edge(mask)[0], expected)
    assert not edge(torch.ones(1, 3, 3, dtype=torch.bool)).any()


def test_half_rounded_down() -> None:
    classes = torch.tensor([[True] * n + [False] * (5 - n) for n in range(6)])
    for down, numbers in ((True, [0, 1, 1, 1, 2, 2]), (False, [0, 1, 1, 2, 2, 3])):
        chosen = half(classes, down)
        assert chosen.sum(1).tolist() == numbers
        assert not (chosen & ~classes).any()


def test_a_resized_crop_keeps_labels_in_place() -> None:
    torch.manual_seed(0)
    label = (torch.arange(40).view(-1, 1) // 10 * 4 + torch.arange(64) // 16).expand(64, -1, -1)
    valid = torch.ones_like(label, dtype=torch.bool)
    image = label[:, None].expand(-1, 3, -1, -1) / 16.0
    view = ResizedCropView((24, 24), (0.2, 1.0))(Pixels(image, label, valid.float(), valid))
    assert view.image.shape == (64, 3, 24, 24)
    assert view.label.shape == view.valid.shape == view.weight.shape == (64, 24, 24)
    same = ((view.image[:, 0] * 16).round().long() == view.label).float().mean()
    assert same > 0.8  # all but the edges, which are interpolated
    number = torch.tensor([len(part.unique()) for part in view.label])
    assert number.min() < 8
    assert number.max() == 16
    for wrong in ({"area": (0.0, 1.0)}, {"size": (0, 4)}, {"ratio": (2.0, 1.0)}):
        with pytest.raises(SeglabError, match="give"):
            ResizedCropView(**wrong)
