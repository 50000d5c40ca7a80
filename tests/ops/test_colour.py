import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as reference

from seglab.ops import colour


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(0)
    image = torch.rand(4, 3, 9, 11)
    image[0, :, :2] = image[0, :1, :2]  # gray rows, black and white ones: no hue
    image[0, :, 2], image[0, :, 3] = 0.0, 1.0
    image[1, 1] = image[1, 0]  # two channels share the largest value
    return image


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_adjustments_equal_torchvision_image_by_image(image, name):
    factor = torch.tensor([0.0, 0.5, 1.0, 1.7])
    ours = getattr(colour, f"adjust_{name}")(image, factor)
    for index in range(4):
        theirs = getattr(reference, f"adjust_{name}")(image[index], factor[index].item())
        torch.testing.assert_close(ours[index], theirs, atol=1e-6, rtol=0)


def test_hue_equals_torchvision_image_by_image(image):
    factor = torch.tensor([0.25, -0.1, 0.5, -0.5])
    ours = colour.adjust_hue(image, factor)
    for index in range(4):
        theirs = reference.adjust_hue(image[index], factor[index].item())
        torch.testing.assert_close(ours[index], theirs, atol=1e-5, rtol=0)


def test_a_third_of_a_turn_makes_red_green():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    green = colour.adjust_hue(red, torch.tensor([1 / 3]))
    torch.testing.assert_close(green.flatten(), torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_blur_equals_torchvision_inside_and_replicates_the_border(image):
    sigma = torch.tensor([0.1, 0.8, 1.5, 2.0])
    ours = colour.gaussian_blur(image, sigma, radius=3)
    for index in range(4):
        padded = F.pad(image[index : index + 1], (3, 3, 3, 3), mode="replicate")
        theirs = reference.gaussian_blur(padded, [7, 7], [sigma[index].item()] * 2)[0, :, 3:-3, 3:-3]
        torch.testing.assert_close(ours[index], theirs, atol=1e-5, rtol=0)


def test_blur_stays_float32_under_autocast(image):
    sigma = torch.full((4,), 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        blurred = colour.gaussian_blur(image, sigma, radius=3)
    assert torch.equal(blurred, colour.gaussian_blur(image, sigma, radius=3))


@pytest.fixture
def levels() -> torch.Tensor:
    """Values of 8 bits, as files have them."""
    torch.manual_seed(0)
    image = torch.randint(0, 256, (4, 3, 20, 15))
    image[1] = image[1] // 4 + 60  # low contrast
    image[2, 0] = 37  # a channel of one value
    return image / 255.0


def test_sharpness_equals_torchvision_image_by_image(image):
    factor = torch.tensor([0.0, 0.5, 1.0, 1.7])
    ours = colour.adjust_sharpness(image, factor)
    for index in range(4):
        theirs = reference.adjust_sharpness(image[index], factor[index].item())
        torch.testing.assert_close(ours[index], theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "posterize", "solarize"])
def test_operations_equal_pillow_image_by_image(name, levels):
    bits, threshold = torch.tensor([4, 5, 6, 7]), torch.tensor([1, 60, 128, 255])
    arguments = {"posterize": bits, "solarize": threshold}
    given = {"posterize": (bits,), "solarize": (threshold / 255.0,)}.get(name, ())
    ours = getattr(colour, name)(levels, *given)
    for index in range(4):
        pil = Image.fromarray((levels[index] * 255).round().byte().permute(1, 2, 0).numpy())
        own = [arguments[name][index].item()] if name in arguments else []
        theirs = torch.from_numpy(np.array(getattr(ImageOps, name)(pil, *own))).permute(2, 0, 1) / 255.0
        torch.testing.assert_close(ours[index], theirs, atol=1.01 / 255 if name == "autocontrast" else 1e-6, rtol=0)
