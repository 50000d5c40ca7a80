"""ops/early_learning.py"""

import numpy as np
import pytest
import torch

from seglab.labels import IGNORE
from seglab.ops.early_learning import corrected, fit_learning_curve, memorises_from, overlaps, slope


def curve(t: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    return a * (1 - np.exp(-(t**b) / c))


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_slope_and_the_epoch_of_a_known_curve() -> None:
    b, c = double(0.9), double(3.0)
    slopes = 0.8 * slope(double(1, 5), b, c)
    assert slopes.flatten().tolist() == pytest.approx([0.171967, 0.049442], abs=1e-6)
    falls = 1 - slope(double(1, 2, 10), b, c) / slope(double(1), b, c)
    assert falls.flatten().tolist() == pytest.approx([0, 0.300929, 0.921502], abs=1e-6)
    assert [memorises_from(b, c, drop).item() for drop in (0.9, 0.8, 0.5)] == [10, 7, 4]


@pytest.mark.parametrize(("a", "b", "c"), [(0.8, 0.9, 3.0), (0.6, 0.4, 0.7), (0.95, 1.0, 0.3), (0.3, 0.7, 8.0)])
def test_a_curve_without_noise_is_found_again(a: float, b: float, c: float) -> None:
    t = np.linspace(0, 10, 40)
    value = torch.tensor(np.stack([curve(t, a, b, c), np.zeros(40)], 1))
    found = fit_learning_curve(torch.tensor(t), value, torch.ones(40, 2, dtype=torch.bool))
    fitted = curve(t, *(x[0].item() for x in found))
    assert np.abs(fitted - curve(t, a, b, c)).max() < 2e-3
    assert found[0][1] == 0, "a class that is never learned"


def test_it_fits_no_worse_than_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    t, sigma = np.linspace(0, 6, 30), np.geomspace(1, 0.1, 30)
    value = np.clip(curve(t, 0.7, 0.6, 1.5) + rng.normal(0, 0.03, 30), 0, 1)
    bounds = ([0, 0, 1e-6], [1, 1, np.inf])
    theirs, _ = optimize.curve_fit(curve, t, value, (1, 1, 1), sigma, bounds=bounds, method="trf")
    ours = fit_learning_curve(torch.tensor(t), torch.tensor(value)[:, None], torch.ones(30, 1, dtype=torch.bool))

    def error(parameters: list[float]) -> float:
        return float((((curve(t, *parameters) - value) / sigma) ** 2).sum())

    assert error([x.item() for x in ours]) < 1.002 * error(list(theirs))


def test_values_that_are_missing_do_not_count() -> None:
    t = torch.linspace(0, 8, 30)
    value = torch.tensor(curve(t.numpy(), 0.8, 0.9, 3.0))[:, None].repeat(1, 2)
    value[::3, 1] = torch.nan
    found = fit_learning_curve(t, value, ~value.isnan())
    assert all(x[0].item() == pytest.approx(x[1].item(), rel=0.05) for x in found)


def test_overlaps() -> None:
    label = torch.tensor([[[0, 0, 1, IGNORE]]])
    predicted = torch.tensor([[[0, 1, 1, 1]]])
    assert overlaps(predicted, label, 3).tolist() == [[1, 1, 0], [2, 2, 0]]


def probabilities(classes: list[int], sure: float = 0.9, num_classes: int = 4) -> torch.Tensor:
    p = torch.full((1, num_classes, 1, len(classes)), (1 - sure) / (num_classes - 1))
    return p.scatter(1, torch.tensor(classes).view(1, 1, 1, -1), sure)


@pytest.mark.parametrize(
    ("label", "predicted", "switched", "background", "expected"),
    [
        ([0, 1, 1, 2], [1, 0, 2, 3], [1], True, [1, 0, 1, 2]),  # 1 and background are allowed, 2 is not switched
        ([1, 1, 1, 2], [0, 0, 1, 1], [1], True, [1, 1, 1, 1]),  # this image shows no background
        ([0, 2, 2, 2], [0, 0, 0, 2], [1], True, [0, 2, 2, 2]),  # it shows no switched class
        ([0, 0, 255, 0], [1, 2, 1, 3], [1], True, [1, 0, 1, 0]),  # background alone: any switched class
        ([0, 1, 1, 2], [1, 0, 2, 1], [0, 1], False, [1, 0, 1, 1]),
        ([0, 1, 1, 2], [1, 0, 2, 1], [], False, [0, 1, 1, 2]),
    ],
)
def test_which_pixels_change(
    label: list[int], predicted: list[int], switched: list[int], background: bool, expected: list[int]
) -> None:
    of = torch.zeros(4, dtype=torch.bool)
    of[switched] = True
    mask, p = torch.tensor([[label]]), probabilities(predicted)
    valid = torch.ones_like(mask, dtype=torch.bool)
    assert corrected(mask, p, of, 0.8, valid, background).flatten().tolist() == expected
    assert corrected(mask, p, of, 0.95, valid, background).flatten().tolist() == label, "not sure enough"
    assert corrected(mask, p, of, 0.8, ~valid, background).flatten().tolist() == label, "padding"


def test_a_foreground_that_would_vanish_stays() -> None:
    label = torch.zeros(1, 1, 40, dtype=torch.long)
    label[..., :10] = 1
    p = torch.zeros(1, 2, 1, 40)
    p[:, 0] = 1.0
    p[:, :, :, 0] = torch.tensor([0.0, 1.0]).view(1, 2, 1)
    on = torch.ones(2, dtype=torch.bool)
    valid = torch.ones_like(label, dtype=torch.bool)
    assert torch.equal(corrected(label, p, on, 0.8, valid, background=True), label)
    assert corrected(label, p, on, 0.8, valid, background=False).sum() == 1
