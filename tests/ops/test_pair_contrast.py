"""ops/pair_contrast.py"""

import pytest
import torch
from host_sync import NoHostSync

from seglab.ops.pair_contrast import equal_contrast, pair_contrast


def similarities() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """0.9 and 0.7 with positives, 0.2 with a negative; the rest does not count."""
    yes = torch.tensor([[True, True, False]])
    return torch.tensor([[0.9, 0.7, 0.0]]), yes, torch.tensor([[0.2, 1.0, 1.0]]), torch.tensor([[True, False, False]])


def test_both_forms() -> None:
    assert equal_contrast(*similarities(), 1.0, "inside").item() == pytest.approx(0.241407, abs=1e-6)
    assert equal_contrast(*similarities(), 1.0, "pairs").item() == pytest.approx(0.438632, abs=1e-6)


@pytest.mark.parametrize("form", ["pairs", "inside"])
def test_anchors_take_the_keys_of_their_classes(form: str) -> None:
    embedding = torch.nn.functional.normalize(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    embedding.requires_grad_()
    anchor, valid = torch.tensor([0, 1, 2, 3]), torch.tensor([True, True, True, False])
    positives = torch.tensor([[4, 5], [6, 6], [0, 0]]), torch.tensor([[True, True], [True, False], [False, False]])
    negatives = torch.tensor([[7, 8], [9, 9], [10, 11]]), torch.tensor([[True, True], [True, False], [True, True]])
    own, other = torch.tensor([0, 1, 2, 255]), torch.tensor([1, 2, 0, 255])
    with NoHostSync():
        loss = pair_contrast(embedding, anchor, valid, [positives, negatives], [own, other], 0.5, form)
    s = embedding.detach() @ embedding.detach().T / 0.5

    def of(a: int, p: list[int], n: list[int]) -> torch.Tensor:
        if form == "pairs":
            return torch.stack([torch.nn.functional.softplus(s[a, j] - s[a, i]) for i in p for j in n]).mean()
        return -(s[a, p].exp().sum() / (s[a, p].exp().sum() + s[a, n].exp().sum())).log()

    expected = (of(0, [4, 5], [9]) + of(1, [6], [10, 11])) / 2  # the third has no positive, the fourth is none
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()
    assert (embedding.grad[[4, 9, 0]] != 0).any(1).all()


@pytest.mark.parametrize("form", ["pairs", "inside"])
def test_without_any_pair_it_is_zero(form: str) -> None:
    embedding = torch.eye(3, requires_grad=True)
    none = torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.bool)
    of = torch.tensor([0, 1])
    loss = pair_contrast(
        embedding, torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool), [none, none], [of, of], 0.1, form
    )
    loss.backward()
    assert loss.item() == 0
    assert embedding.grad is not None
    assert (embedding.grad == 0).all()
