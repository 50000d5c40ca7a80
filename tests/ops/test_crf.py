"""The dense CRF against the exact computation over all pairs of pixels."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.ops.crf import DenseCRF, Kernel, pixel_features
from seglab.types import SeglabError

CARD = DenseCRF(1, 3, 3, 10, 32, 13)


def exact_kernel(features: Tensor) -> Tensor:
    """N N float64, normalised on both sides; each point is its own neighbour, too."""
    kernel = torch.exp(-torch.cdist(features.double(), features.double()).square() / 2)
    scale = kernel.sum(1).rsqrt()
    return scale[:, None] * kernel * scale


def exact(crf: DenseCRF, probability: Tensor, image: Tensor) -> Tensor:
    features = pixel_features(image)
    near = exact_kernel(features[:, :2] / crf.spatial_sigma)
    alike = exact_kernel(features / torch.tensor([crf.bilateral_sigma] * 2 + [crf.colour_sigma] * 3))
    unary = probability.double().log().flatten(1).T
    q = unary.exp()
    for _ in range(crf.iterations):
        q = (unary + crf.spatial_weight * near @ q + crf.bilateral_weight * alike @ q).softmax(1)
    return q.T.reshape(probability.shape)


def scene(classes: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy probabilities of regions, and an image whose colours tell the regions apart."""
    generator = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.randn(1, classes, 4, 5, generator=generator), (height, width), mode="bilinear")[0]
    region = coarse.argmax(0)
    colours = torch.rand(classes, 3, generator=generator)
    image = colours[region].permute(2, 0, 1) + 0.02 * torch.randn(3, height, width, generator=generator)
    noisy = 1.5 * F.one_hot(region, classes).permute(2, 0, 1) + torch.randn(classes, height, width, generator=generator)
    return noisy.softmax(0), image.clamp(0, 1)


@pytest.mark.parametrize(
    ("iterations", "expected"), [(1, (0.785745, 0.684219, 0.006004)), (5, (0.999991, 0.999984, 0.000043))]
)
def test_the_image_of_the_card(iterations: int, expected: tuple[float, ...]) -> None:
    image = torch.tensor([[10, 20, 30], [12, 18, 33], [200, 100, 50]]).T.reshape(3, 1, 3) / 255
    first = torch.tensor([0.6, 0.5, 0.3])
    probability = torch.stack([first, 1 - first]).view(2, 1, 3)
    crf = DenseCRF(iterations, 3, 3, 10, 32, 13)
    truth = torch.tensor(expected)
    torch.testing.assert_close(exact(crf, probability, image)[0, 0].float(), truth, atol=1e-6, rtol=0)
    refined = crf(probability[None], image[None])[0, 0, 0]  # on the grid; without the pixel itself .46, .84, .36
    torch.testing.assert_close(refined, truth, atol=0.006, rtol=0)


@pytest.mark.parametrize(("height", "width", "classes"), [(20, 24, 3), (40, 48, 4)])
@pytest.mark.parametrize("crf", [DenseCRF(), DenseCRF(10, 3, 3, 10, 50, 5), DenseCRF(1, 3, 3, 10, 32, 13)])
def test_labels_are_those_of_the_exact_computation(crf: DenseCRF, height: int, width: int, classes: int) -> None:
    probability, image = scene(classes, height, width)
    found, truth = crf(probability[None], image[None])[0], exact(crf, probability, image)
    assert (found.argmax(0) == truth.argmax(0)).float().mean() > 0.985
    assert (found - truth).abs().mean() < 0.012
    before = (probability.argmax(0) == truth.argmax(0)).float().mean()
    assert before < 0.9, "it changes what it gets"


def test_the_kernel_is_near_the_exact_one_and_symmetric() -> None:
    _, image = scene(3, 12, 16)
    features = pixel_features(image) / torch.tensor([32.0, 32.0, 13.0, 13.0, 13.0])
    kernel = Kernel(features)(torch.eye(len(features)))
    torch.testing.assert_close(kernel, kernel.T, atol=1e-3, rtol=0)
    truth = exact_kernel(features).float()
    assert (kernel - truth).norm() < 0.15 * truth.norm()
    value = torch.rand(len(features), 2, generator=torch.Generator().manual_seed(0))
    assert (kernel @ value - truth @ value).norm() < 0.05 * (truth @ value).norm()


def test_without_weights_or_iterations_probabilities_stay() -> None:
    probability, image = scene(3, 8, 9)
    for crf in (DenseCRF(iterations=0), DenseCRF(spatial_weight=0, bilateral_weight=0)):
        torch.testing.assert_close(crf(probability[None], image[None])[0], probability)


def test_images_of_a_batch_do_not_meet_and_pixels_sum_to_one() -> None:
    pairs = [scene(3, 10, 12, seed) for seed in (0, 1)]
    probability, image = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    refined = CARD(probability, image)
    for one, (p, x) in zip(refined, pairs, strict=True):
        torch.testing.assert_close(one, CARD(p[None], x[None])[0])
    torch.testing.assert_close(refined.sum(1), torch.ones(2, 10, 12))


def test_one_pixel_of_an_impossible_class() -> None:
    probability = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(CARD(probability, torch.zeros(1, 3, 1, 1)), probability)


@pytest.mark.parametrize("wrong", [{"iterations": -1}, {"colour_sigma": 0.0}, {"spatial_weight": -1.0}])
def test_values_without_meaning_are_refused(wrong: dict) -> None:
    with pytest.raises(SeglabError, match=f"crf.{next(iter(wrong))}"):
        DenseCRF(**wrong).check()
