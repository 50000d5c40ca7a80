import pytest
import torch

from seglab.ops.entropy import entropy, self_information


def log(*probabilities: float) -> torch.Tensor:
    """Logits 1 K 1 1 of the probabilities."""
    return torch.tensor(probabilities).log().clamp(min=-1e4).view(1, -1, 1, 1)


def test_half_and_half_of_four_classes() -> None:
    logits = log(0.5, 0.5, 0.0, 0.0)
    torch.testing.assert_close(self_information(logits).flatten(), torch.tensor([0.25, 0.25, 0.0, 0.0]))
    assert entropy(logits).item() == pytest.approx(0.5)


@pytest.mark.parametrize("classes", [2, 4, 19])
def test_uniform_is_1_and_certain_is_0(classes: int) -> None:
    assert entropy(torch.full((1, classes, 2, 3), 7.0)).flatten().tolist() == pytest.approx([1.0] * 6)
    certain = torch.zeros(1, classes, 1, 1)
    certain[:, 1] = 1e4
    assert entropy(certain).item() == 0.0


def test_gradients_are_finite_where_probabilities_vanish() -> None:
    logits = torch.tensor([1e4, 0.0, -1e4]).view(1, 3, 1, 1).requires_grad_()
    entropy(logits).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_minimising_it_sharpens() -> None:
    logits = torch.tensor([0.2, 0.1]).view(1, 2, 1, 1).requires_grad_()
    entropy(logits).sum().backward()
    assert logits.grad is not None
    assert logits.grad.flatten()[0] < 0 < logits.grad.flatten()[1]


def test_half_precision_is_computed_in_single() -> None:
    logits = torch.randn(2, 5, 4, 4)
    assert self_information(logits.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(entropy(logits.bfloat16()), entropy(logits.bfloat16().float()))
