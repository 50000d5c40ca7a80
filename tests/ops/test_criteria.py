"""Every criterion, found by its class: a new one cannot escape."""

from collections.abc import Callable

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from host_sync import NoHostSync

import seglab.ops.criteria as criteria
from seglab.labels import IGNORE
from seglab.ops.losses import Criterion, CrossEntropy, supervised_loss
from seglab.types import Output, SeglabError, SideOutput

OPTIONS: dict[str, Callable[[], Criterion]] = {  # what has no defaults, or further settings
    "Sum": lambda: criteria.Sum([CrossEntropy(weights=[1.0, 2.0, 3.0]), criteria.Dice()], [1.0, 0.5]),
    "weighted": lambda: CrossEntropy(weights=[0.5, 1.0, 4.0]),
    "Tversky of a power": lambda: criteria.Tversky(gamma=0.75),
    "wide LocallyAdaptive": lambda: criteria.LocallyAdaptive(window=5, power=1.0, sigma=1.5),
    "half Focal": lambda: criteria.Focal(0.5),
}


def below(base: type) -> list[type]:
    return [found for kind in base.__subclasses__() for found in (kind, *below(kind)) if "seglab" in kind.__module__]


NAMES = sorted({kind.__name__ for kind in below(Criterion)} | OPTIONS.keys())


def make(name: str) -> Criterion:
    if name in OPTIONS:
        return OPTIONS[name]()
    kind = next(kind for kind in below(Criterion) if kind.__name__ == name)
    return kind(min_kept=4) if name == "OhemCrossEntropy" else kind()


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits 2 3 6 8 and labels, some of them 255."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 6, 8, generator=generator)
    target = torch.randint(3, (2, 6, 8), generator=generator)
    target[:, :2, :3] = IGNORE
    return logits, target


@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_add_nothing(name: str) -> None:
    criterion, (logits, target) = make(name), batch()
    other = torch.where((target == IGNORE)[:, None], torch.full_like(logits, 7.0).cumsum(1), logits).requires_grad_()
    loss = criterion(other, target)
    torch.testing.assert_close(loss, criterion(logits, target))
    loss.backward()
    assert other.grad is not None
    assert other.grad.isfinite().all()
    assert not other.grad[:, :, :2, :3].any()
    assert other.grad[:, :, 2:].any()


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_has_a_loss_and_a_gradient_of_zero(name: str) -> None:
    logits = batch()[0].requires_grad_()
    loss = make(name)(logits, torch.full((2, 6, 8), IGNORE))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=2e-5)
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_one_class_alone_in_the_batch(name: str) -> None:
    logits = batch()[0].requires_grad_()
    loss = make(name)(logits, torch.zeros(2, 6, 8, dtype=torch.int64))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_right_is_less_than_wrong_and_descent_gets_there(name: str) -> None:
    criterion, (logits, target) = make(name), batch()
    truth = F.one_hot(target.clamp(max=2), 3).permute(0, 3, 1, 2).float()
    right, wrong = (40 * of - 20 for of in (truth, truth.roll(1, 1)))  # far from 0 for softmax and for sigmoid
    assert criterion(right, target) < 0.05
    assert criterion(right, target) < criterion(logits, target) < criterion(wrong, target)
    logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.3)
    before = criterion(logits, target).item()
    for _ in range(30):
        optimizer.zero_grad()
        criterion(logits, target).backward()
        optimizer.step()
    assert criterion(logits, target).item() < 0.3 * before


@pytest.mark.parametrize("name", NAMES)
def test_computed_in_float32_and_summed_over_side_outputs(name: str) -> None:
    criterion, (logits, target) = make(name), batch()
    low = logits.bfloat16()
    assert criterion(low, target).dtype == torch.float32
    torch.testing.assert_close(criterion(low, target), criterion(low.float(), target))
    output = Output(logits, logits, side={"aux": SideOutput(logits[..., 1:7], 0.4, (0, 1, 6, 6))}, share=0.5)
    expected = 0.5 * criterion(logits, target) + 0.4 * criterion(logits[..., 1:7], target[..., 1:7])
    torch.testing.assert_close(supervised_loss(criterion, output, target), expected)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("Dice", "Tversky", "Tversky of a power", "Sum")]
)
def test_no_wait_for_the_device(name: str) -> None:
    """The others use ``one_hot``, which reads its input on the CPU alone."""
    criterion, (logits, target) = make(name), batch()
    with NoHostSync():
        criterion(logits.requires_grad_(), target).backward()


def test_weighted_cross_entropy_equals_torch() -> None:
    logits, target = batch()
    weights = [0.5, 1.0, 4.0]
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(
            logits, target, torch.tensor(weights), ignore_index=IGNORE, label_smoothing=smoothing
        )
        torch.testing.assert_close(CrossEntropy(smoothing, weights)(logits, target), expected)


def test_balanced_weights_make_classes_weigh_the_same() -> None:
    criterion = criteria.Sum([CrossEntropy(weights="balanced")])
    assert criterion.needs_class_counts
    with pytest.raises(SeglabError, match="not known yet"):
        criterion(*batch())
    criterion.prepare(["a", "b", "c", "d"], lambda: np.array([0.5, 0.3, 0.2, 0.0]))
    weights = criterion.parts[0].of_class
    torch.testing.assert_close(weights, torch.tensor([0.5, 1 / 1.2, 1.25, 1.25]))
    assert not list(criterion.state_dict()), "weights are a function of the files"


def test_a_wrong_number_of_weights_names_the_classes() -> None:
    with pytest.raises(SeglabError, match="has 2 weights for 3 classes: give one for each of road, car, sky"):
        CrossEntropy(weights=[1.0, 2.0]).prepare(["road", "car", "sky"], lambda: np.ones(3))


def test_focal_of_zero_is_cross_entropy_and_of_two_counts_hard_pixels() -> None:
    logits, target = batch()
    torch.testing.assert_close(criteria.Focal(0.0)(logits, target), CrossEntropy()(logits, target))
    p = torch.tensor([0.9, 0.2]).double()
    two = torch.stack([p, 1 - p]).log().view(1, 2, 1, 2).float()
    expected = (0.1**2 * -np.log(0.9) + 0.8**2 * -np.log(0.2)) / 2
    assert criteria.Focal(2.0)(two, torch.zeros(1, 1, 2).long()).item() == pytest.approx(expected, rel=1e-5)


def test_lovasz_equals_that_of_segmentation_models_pytorch() -> None:
    for seed in range(3):
        logits, target = batch(seed)
        target[target == 2] = seed  # some classes are absent
        expected = smp.losses.LovaszLoss("multiclass", ignore_index=IGNORE)(logits, target)
        torch.testing.assert_close(criteria.Lovasz()(logits, target), expected)


def test_dice_and_tversky_by_hand() -> None:
    p = torch.tensor([0.8, 0.4])  # of class 0 on two pixels, of which the first is of it
    logits = torch.stack([p, 1 - p]).log().view(1, 2, 1, 2)
    target = torch.tensor([[[0, 1]]])
    dice = (2 * 0.8 / (1.2 + 1) + 2 * 0.6 / (0.8 + 1)) / 2
    assert criteria.Dice()(logits, target).item() == pytest.approx(1 - dice, rel=1e-5)
    tversky = (0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2) + 0.6 / (0.6 + 0.3 * 0.2 + 0.7 * 0.4)) / 2
    assert criteria.Tversky(0.3, 0.7)(logits, target).item() == pytest.approx(1 - tversky, rel=1e-5)


def test_settings_outside_their_range() -> None:
    for build, message in (
        (lambda: criteria.Dice(-1.0), "Dice.smooth"),
        (lambda: criteria.Tversky(0.0, 0.0), "Tversky.alpha"),
        (lambda: criteria.Tversky(gamma=0.0), "Tversky.gamma"),
        (lambda: criteria.Focal(-1.0), "Focal.gamma"),
        (lambda: criteria.Sum([]), "Sum.parts"),
        (lambda: criteria.Sum([criteria.Dice()], [1.0, 2.0]), "Sum.weights"),
        (lambda: CrossEntropy(weights=[-1.0]), "CrossEntropy.weights"),
    ):
        with pytest.raises(SeglabError, match=message):
            build()


def test_locally_adaptive_merges_logits_of_one_class_and_stresses_hard_windows() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]).T.reshape(1, 2, 1, 3)
    target = torch.tensor([[[0, 0, 1]]])
    for window, power, expected in ((3, 1.0, 0.753805), (3, 5.0, 1.056782), (1, 1.0, 0.917817)):
        loss = criteria.LocallyAdaptive(window, power)(logits, target)
        assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert criteria.LocallyAdaptive(1, 1.0)(logits, target).item() == pytest.approx(
        F.cross_entropy(logits, target).item(), abs=1e-6
    )
    near = criteria.LocallyAdaptive(3, 1.0, sigma=0.01)(logits, target)
    assert near.item() == pytest.approx(0.917817, abs=1e-6), "far pixels weigh nothing"


def test_locally_adaptive_is_cross_entropy_where_a_class_has_equal_logits_and_grows_with_its_power() -> None:
    target = torch.randint(3, (2, 6, 8), generator=torch.Generator().manual_seed(1))
    target[:, 0] = IGNORE
    of_class = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 0.0], [0.3, 0.2, 0.1]])
    logits = of_class[torch.where(target == IGNORE, 0, target)].permute(0, 3, 1, 2)
    plain = F.cross_entropy(logits, target, ignore_index=IGNORE).item()
    assert criteria.LocallyAdaptive(5, 1.0)(logits, target).item() == pytest.approx(plain, abs=1e-5)
    values = [criteria.LocallyAdaptive(3, power)(*batch()).item() for power in (1.0, 2.0, 5.0)]
    assert values == sorted(values)
    for wrong in ({"window": 2}, {"power": 0.5}, {"sigma": -1.0}):
        with pytest.raises(SeglabError, match="LocallyAdaptive"):
            criteria.LocallyAdaptive(**wrong)
