"""ops/losses.py"""

import math

import pytest
import torch
import torch.nn.functional as F

from seglab.labels import IGNORE
from seglab.ops.losses import (
    CONSISTENCY,
    CrossEntropy,
    OhemCrossEntropy,
    entropy,
    kl_divergence,
    linear_rampup,
    logit_distance,
    missing_classes,
    pixel_cross_entropy,
    robust_binary_cross_entropy,
    self_information,
    sigmoid_rampup,
    squared_distance,
    weighted_cross_entropy,
)
from seglab.types import SeglabError


def two_class_logits(*true_class_probability: float) -> torch.Tensor:
    """1 2 1 N logits whose class 0 has the given probabilities."""
    p = torch.tensor(true_class_probability, dtype=torch.float64)
    return torch.stack([p, 1 - p]).log().view(1, 2, 1, -1).float()


def published_ohem(logits, target, threshold, min_kept):
    """The rule as the papers' code states it, with a sort and Python branches."""
    valid = target != IGNORE
    p = logits.softmax(1).gather(1, target.where(valid, torch.zeros_like(target)).unsqueeze(1)).squeeze(1)[valid]
    kept = torch.ones_like(p, dtype=torch.bool)
    if min_kept <= len(p):
        kept = p <= max(threshold, p.sort().values[min_kept - 1].item())
    return -p.log()[kept].mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(smoothing):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 5, 4, 6), torch.randint(5, (2, 4, 6))
    target[0, :2] = IGNORE
    expected = F.cross_entropy(logits, target, ignore_index=IGNORE, label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(smoothing)(logits, target), expected)


@pytest.mark.parametrize("criterion", [CrossEntropy(), CrossEntropy(0.1), OhemCrossEntropy(min_kept=1)])
def test_without_a_labelled_pixel_the_loss_is_zero_and_has_a_gradient_of_zero(criterion):
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = criterion(logits, torch.full((1, 2, 2), IGNORE))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ohem_keeps_the_pixels_below_the_threshold():
    loss = OhemCrossEntropy(0.7, min_kept=2)(two_class_logits(0.5, 0.6, 0.8, 0.9), torch.zeros(1, 1, 4).long())
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.6)) / 2, abs=1e-6)


def test_ohem_raises_the_threshold_to_keep_enough():
    target = torch.tensor([[[0, 0, 0, 0, IGNORE]]])
    loss = OhemCrossEntropy(0.7, min_kept=3)(two_class_logits(0.5, 0.9, 0.8, 0.95, 0.1), target)
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.8) + math.log(0.9)) / 3, abs=1e-6)


@pytest.mark.parametrize("min_kept", [1, 5, 30, 100, 101, 10_000])
def test_ohem_equals_the_published_rule(min_kept):
    torch.manual_seed(min_kept)
    logits, target = 2 * torch.randn(2, 4, 8, 8), torch.randint(4, (2, 8, 8))
    target.view(-1)[:28] = IGNORE  # leaves 100 labelled
    torch.testing.assert_close(
        OhemCrossEntropy(0.7, min_kept)(logits, target), published_ohem(logits, target, 0.7, min_kept)
    )


def test_ohem_does_not_wait_for_the_device(no_host_sync):
    logits, target = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randint(3, (1, 4, 4))
    with no_host_sync:
        OhemCrossEntropy(min_kept=4)(logits, target).backward()


def test_weighted_cross_entropy_counts_ignored_pixels_in_the_normaliser():
    label = torch.tensor([[[IGNORE, 0, 1, 0]]])
    weight = torch.tensor([[[1.0, 0.5, 0.5, 0.5]]])
    loss = weighted_cross_entropy(torch.zeros(1, 2, 1, 4), label, weight, torch.ones(1, 1, 4, dtype=torch.bool))
    assert loss.item() == pytest.approx(0.25993, abs=1e-5)


def test_fixmatch_divides_by_valid_pixels_and_not_by_confident_ones():
    confidence = torch.tensor([[[0.96, 0.94, 0.99]]])
    valid = torch.tensor([[[True, True, False]]])  # the last pixel is padding
    logits = two_class_logits(0.5, 0.5, 0.5)
    loss = weighted_cross_entropy(logits, torch.zeros(1, 1, 3).long(), (confidence >= 0.95).float(), valid)
    assert loss.item() == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_an_empty_normaliser_gives_zero():
    nothing = torch.zeros(1, 1, 2)
    assert weighted_cross_entropy(torch.randn(1, 2, 1, 2), nothing.long(), nothing, nothing.bool()).item() == 0.0


def test_squared_distance_has_the_values_of_mean_teacher_and_cutmix_seg():
    def maps(*p):
        return torch.tensor(p).view(1, 2, 1, 1)

    assert (squared_distance(maps(0.8, 0.2), maps(0.6, 0.4)) / 2).item() == pytest.approx(0.04)
    assert squared_distance(maps(1.0, 0.0), maps(0.0, 1.0)).tolist() == [[[2.0]]]


@pytest.mark.parametrize("criterion", [CrossEntropy(), OhemCrossEntropy(min_kept=3)])
def test_losses_are_float32_with_and_without_autocast(criterion):
    logits, target = torch.randn(1, 3, 4, 4, dtype=torch.bfloat16), torch.randint(3, (1, 4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        loss = criterion(logits, target)
        assert pixel_cross_entropy(logits, target).dtype == torch.float32
        assert squared_distance(logits, logits).dtype == torch.float32
    assert loss.dtype == criterion(logits, target).dtype == torch.float32
    torch.testing.assert_close(loss, criterion(logits.float(), target))


def test_settings_out_of_range_are_named():
    with pytest.raises(SeglabError, match="label_smoothing"):
        CrossEntropy(1.5)
    with pytest.raises(SeglabError, match="threshold"):
        OhemCrossEntropy(threshold=7)
    with pytest.raises(SeglabError, match="min_kept"):
        OhemCrossEntropy(min_kept=0)


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


def test_sigmoid_rampup_follows_the_formula():
    assert sigmoid_rampup(0, 100) == pytest.approx(math.exp(-5))
    assert sigmoid_rampup(50, 100) == pytest.approx(math.exp(-1.25))
    assert sigmoid_rampup(100, 100) == sigmoid_rampup(10_000, 100) == 1.0


def test_linear_rampup_is_held_in_the_unit_interval():
    assert [linear_rampup(step, 4) for step in (-1, 0, 1, 4, 9)] == [0.0, 0.0, 0.25, 1.0, 1.0]


def test_length_zero_means_no_ramp():
    assert sigmoid_rampup(0, 0) == linear_rampup(0, 0) == 1.0


def test_missing_classes_are_those_below_their_share_of_the_source() -> None:
    """Two images of two pixels: mean probabilities (0.9, 0.1) and (0.5, 0.5) against half of (0.4, 0.6)."""
    p = torch.tensor([[[1.0, 0.8], [0.0, 0.2]], [[0.5, 0.0], [0.5, 1.0]]]).clamp(min=1e-12).view(2, 2, 1, 2)
    valid = torch.tensor([[True, True], [True, False]]).view(2, 1, 2)
    ratio = torch.tensor([0.4, 0.6])
    assert missing_classes(p.log(), ratio, 0.5, valid).item() == pytest.approx((0.3 - 0.1) / 2)
    assert missing_classes(p.log(), ratio, 0.0, valid).item() == 0
    assert missing_classes(p.log(), ratio, 1.0, valid).item() == pytest.approx((0.6 - 0.1 + 0.6 - 0.5) / 2)


def test_kl_divergence_of_known_probabilities():
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.25, 0.5])
    expected = 0.5 * math.log(2) - 0.25 * math.log(2)
    shape = (1, 3, 1, 1)
    assert kl_divergence(p.view(shape), q.log().view(shape)).item() == pytest.approx(expected)
    assert kl_divergence(p.view(shape), p.log().view(shape) + 5.0).item() == pytest.approx(0.0, abs=1e-6)
    certain = torch.tensor([1.0, 0.0, 0.0])
    assert kl_divergence(certain.view(shape), q.log().view(shape)).item() == pytest.approx(math.log(4))


def test_robust_binary_cross_entropy_of_known_probabilities():
    p, q = torch.tensor([0.8, 0.2]).view(1, 2, 1, 1), torch.tensor([0.6, 0.4]).view(1, 2, 1, 1)
    expected = -2 * (0.6 * math.log(0.8) + 0.4 * math.log(0.2))
    assert robust_binary_cross_entropy(p, q).item() == pytest.approx(expected, abs=1e-4)
    certain = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    wrong = robust_binary_cross_entropy(certain, certain.flip(1))
    assert wrong.item() == pytest.approx(-2 * math.log(1e-6), rel=1e-4)


def test_logit_distances_are_divided_by_the_root_of_the_classes():
    logits, target = (torch.tensor(x).view(1, 4, 1, 1) for x in ((3.0, 0.5, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0)))
    assert logit_distance(logits, target).item() == pytest.approx((9.0 + 0.25) / 2)
    assert logit_distance(logits, target, smooth_l1=True).item() == pytest.approx((2.5 + 0.125) / 2)


@pytest.mark.parametrize("name", CONSISTENCY)
def test_consistency_losses_are_float32_maps_least_where_predictions_agree(name):
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        apart = CONSISTENCY[name](torch.randn_like(logits).bfloat16(), logits.bfloat16())
        alike = CONSISTENCY[name](logits.bfloat16(), logits.bfloat16())
    assert apart.shape == (2, 3, 4)
    assert apart.dtype == torch.float32
    assert (apart > alike).all()
    if name != "bce":
        assert alike.abs().max() < 1e-5
