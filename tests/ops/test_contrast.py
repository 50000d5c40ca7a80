import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from seglab.labels import IGNORE
from seglab.ops.contrast import info_nce, prototype_cross_entropy, supervised_info_nce

E1, E2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def pixels(count: int = 40, width: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    label = torch.randint(classes, (count,))
    label[::7] = IGNORE
    return F.normalize(torch.randn(count, width), dim=1), label


def by_the_formula(anchors, keys, anchor_label, key_label, temperature, same_rows=False):
    losses = []
    for i, (anchor, label) in enumerate(zip(anchors, anchor_label, strict=True)):
        others = [j for j in range(len(keys)) if key_label[j] != IGNORE and not (same_rows and i == j)]
        positive = [math.exp(anchor @ keys[j] / temperature) for j in others if key_label[j] == label]
        negative = sum(math.exp(anchor @ keys[j] / temperature) for j in others if key_label[j] != label)
        terms = [-math.log(p / (p + negative)) for p in positive] if label != IGNORE else []
        losses.append(sum(terms) / max(1, len(terms)))
    return torch.tensor(losses)


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that an operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize(
    ("positive", "negative", "count", "temperature", "loss"),
    [
        (1.0, -1.0, 50, 0.5, 0.65013),  # U2PL
        (1.0, 0.0, 512, 0.5, 4.25265),  # ReCo
        (1.0, 0.0, 2, 0.1, 9.0796e-5),  # PixelContrast
        (1.0, 0.0, 10, 0.1, 4.5390e-4),  # local contrast of Chaitanya et al.
        (0.6, 0.8, 1, 0.1, 2.126928),  # RCCR
    ],
)
def test_info_nce_has_the_published_values(positive, negative, count, temperature, loss):
    def at(cosine):
        return torch.tensor([cosine, math.sqrt(1 - cosine**2)])

    query, negatives = E1[None], at(negative).expand(count, 2)
    for others in (negatives, negatives[None]):
        value = info_nce(query, at(positive)[None], others, temperature)
        assert value.tolist() == [pytest.approx(loss, rel=1e-4)]


def test_info_nce_counts_the_negatives_it_is_told_to():
    query, negatives = torch.stack([E1, E1]), torch.stack([E1, E2])
    counted = torch.tensor([[False, True], [False, False]])
    for others in (negatives, negatives.expand(2, 2, 2)):
        loss = info_nce(query, query, others, 0.1, counted)
        assert loss.tolist() == [pytest.approx(4.5399e-5, rel=1e-4), 0.0]


@pytest.mark.parametrize("own", [False, True])
def test_info_nce_does_not_depend_on_its_chunks(own):
    torch.manual_seed(0)
    query, positive = torch.randn(2, 10, 4)
    query.requires_grad_()
    negatives = torch.randn(10, 7, 4) if own else torch.randn(7, 4)
    counted = torch.rand(10, 7) < 0.5
    whole, chunked = (info_nce(query, positive, negatives, 0.5, counted, pairs=n) for n in (1000, 15))
    torch.testing.assert_close(chunked, whole)
    grads = [torch.autograd.grad(loss.sum(), query)[0] for loss in (whole, chunked)]
    torch.testing.assert_close(grads[1], grads[0])


@pytest.mark.parametrize(("temperature", "loss"), [(1.0, 0.313262), (0.07, 6.25e-7)])
def test_supervised_info_nce_has_the_published_row(temperature, loss):
    features, label = torch.stack([E1, E1, E2]), torch.tensor([0, 0, 1])
    rows = supervised_info_nce(features, features, label, label, temperature, same_rows=True)
    assert rows.tolist() == [pytest.approx(loss, rel=1e-3)] * 2 + [0.0]


@pytest.mark.parametrize("same_rows", [False, True])
@pytest.mark.parametrize("pairs", [10_000, 100, 1])
def test_supervised_info_nce_is_its_formula_whatever_the_chunks(same_rows, pairs):
    keys, key_label = pixels()
    anchors, anchor_label = (keys, key_label) if same_rows else (keys[:9].flip(1), key_label[:9])
    rows = supervised_info_nce(anchors, keys, anchor_label, key_label, 0.3, same_rows=same_rows, pairs=pairs)
    torch.testing.assert_close(rows, by_the_formula(anchors, keys, anchor_label, key_label, 0.3, same_rows))


def test_chunks_do_not_change_the_gradient():
    keys, label = pixels()
    keys, weight = keys.requires_grad_(), torch.rand(40, 2, requires_grad=True)
    grads = []
    for pairs in (10_000, 100):
        rows = supervised_info_nce(keys, keys, label, label, 0.3, weight, same_rows=True, pairs=pairs)
        grads.append(torch.autograd.grad(rows.square().sum(), (keys, weight)))
    for chunked, whole in zip(*grads, strict=True):
        torch.testing.assert_close(chunked, whole)
        assert whole.abs().sum() > 0


def test_weights_of_keys_multiply_the_terms_of_positives():
    keys, label = pixels()
    weight = torch.rand(40, 2)
    both = supervised_info_nce(keys, keys, label, label, 0.3, weight, same_rows=True)
    one = supervised_info_nce(keys, keys, label, label, 0.3, weight[:, 1], same_rows=True)
    torch.testing.assert_close(both[:, 1], one)
    halves = supervised_info_nce(keys, keys, label, label, 0.3, torch.full((40,), 0.5), same_rows=True)
    torch.testing.assert_close(2 * halves, supervised_info_nce(keys, keys, label, label, 0.3, same_rows=True))


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    anchors, keys = torch.randn(4, 3, dtype=torch.double), torch.randn(6, 3, dtype=torch.double)
    anchors, keys = anchors.requires_grad_(), keys.requires_grad_()
    label, key_label = torch.tensor([0, 1, IGNORE, 2]), torch.tensor([0, 0, 1, 1, IGNORE, 0])
    torch.autograd.gradcheck(lambda a, k: supervised_info_nce(a, k, label, key_label, 0.5, pairs=7), (anchors, keys))
    torch.autograd.gradcheck(lambda a, k: info_nce(a, a.flip(0), k, 0.5, pairs=7), (anchors, keys))
    positive, index = keys.detach()[:4], torch.tensor([[0, 1], [2, 2], [5, 0], [3, 4]])  # queries alone learn
    torch.autograd.gradcheck(lambda a: info_nce(a, positive, keys.detach(), 0.5, index=index, pairs=7), anchors)
    alone, gathered = (
        info_nce(anchors, positive, others, 0.5, index=which)
        for others, which in ((keys.detach(), index), (keys.detach()[index], None))
    )
    torch.testing.assert_close(alone, gathered)


@pytest.mark.parametrize(
    ("label", "key_label"),
    [
        ([0, 0], [0, 0, 0]),  # no negatives
        ([0, 0], [1, 1, 1]),  # no positives
        ([IGNORE, IGNORE], [0, 1, 0]),
        ([0, 1], [IGNORE] * 3),
    ],
)
def test_a_side_without_pixels_gives_0_and_a_finite_gradient(label, key_label):
    anchors, keys = torch.randn(2, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss = supervised_info_nce(anchors, keys, torch.tensor(label), torch.tensor(key_label), 0.1)
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert anchors.grad.tolist() == [[0.0] * 4] * 2
    assert keys.grad.isfinite().all()


def test_half_precision_around_it_changes_nothing():
    keys, label = pixels()
    features, map_label = keys.T.reshape(1, 6, 4, 10), label.view(1, 4, 10)

    def losses():
        return [
            supervised_info_nce(keys, keys, label, label, 0.1, same_rows=True, pairs=100),
            info_nce(keys, keys, keys, 0.1),
            prototype_cross_entropy(features, map_label, keys[:3], 0.1),
        ]

    plain = losses()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses()
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))
    assert info_nce(keys.bfloat16(), keys.bfloat16(), keys.bfloat16(), 0.1).dtype == torch.float32


def test_memory_does_not_grow_with_the_square_of_the_pixels():
    keys = torch.randn(3000, 4, requires_grad=True)
    label = torch.arange(3000) % 5
    with Largest() as largest:
        supervised_info_nce(keys, keys, label, label, 0.1, same_rows=True, pairs=60_000).mean().backward()
    assert largest.elements <= 60_000


def test_nothing_waits_for_the_device(no_host_sync):
    keys, label = pixels()
    with no_host_sync:
        supervised_info_nce(keys, keys, label, label, 0.1, same_rows=True, pairs=100)
        info_nce(keys, keys, keys, 0.1)
        prototype_cross_entropy(keys.T.reshape(1, 6, 4, 10), label.view(1, 4, 10), keys[:3], 0.1)


@pytest.mark.parametrize(("temperature", "loss"), [(100, 1.091957), (1, 0.551445), (0.1, 9.0796e-5), (50, 1.085323)])
def test_prototype_cross_entropy_has_the_published_values(temperature, loss):
    feature = F.normalize(torch.tensor([2.0, 0.0, 0.0]).view(1, 3, 1, 1), dim=1)
    value = prototype_cross_entropy(feature, torch.zeros(1, 1, 1, dtype=torch.long), torch.eye(3), temperature)
    assert value.item() == pytest.approx(loss, rel=1e-3)


def test_prototype_cross_entropy_is_a_mean_over_labelled_pixels():
    torch.manual_seed(0)
    features, prototypes = torch.randn(2, 5, 3, 4, requires_grad=True), torch.randn(3, 5)
    label = torch.randint(3, (2, 3, 4))
    label[0] = IGNORE
    alone = prototype_cross_entropy(features[1:], label[1:], prototypes, 0.5)
    torch.testing.assert_close(prototype_cross_entropy(features, label, prototypes, 0.5), alone)
    nothing = prototype_cross_entropy(features, torch.full_like(label, IGNORE), prototypes, 0.5)
    nothing.backward()
    assert nothing.item() == 0.0
    assert features.grad.abs().sum() == 0.0
