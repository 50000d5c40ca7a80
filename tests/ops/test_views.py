import pytest
import torch

from seglab.ops.views import StrongView
from seglab.types import SeglabError

ALWAYS = {"jitter_probability": 1.0, "grayscale_probability": 1.0, "blur_probability": 1.0}
NEVER = dict.fromkeys(ALWAYS, 0.0)


def test_shape_range_and_dtype_are_kept_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        view = StrongView(**ALWAYS)(torch.rand(3, 3, 8, 10))
    assert view.shape == (3, 3, 8, 10)
    assert view.dtype == torch.float32
    assert view.min() >= 0.0
    assert view.max() <= 1.0


def test_probability_zero_changes_nothing():
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(StrongView(**NEVER)(image), image)


def test_grayscale_makes_the_channels_equal():
    view = StrongView(**NEVER | {"grayscale_probability": 1.0})(torch.rand(2, 3, 8, 8))
    assert torch.equal(view[:, 0], view[:, 1])
    assert torch.equal(view[:, 0], view[:, 2])


def test_blur_lowers_the_contrast_of_noise():
    image = torch.rand(2, 3, 16, 16)
    blurred = StrongView(**NEVER | {"blur_probability": 1.0, "blur_sigma": (1.0, 2.0)})(image)
    assert (blurred.std(dim=(1, 2, 3)) < 0.5 * image.std(dim=(1, 2, 3))).all()


def test_each_image_has_its_own_draw_and_the_seed_repeats_it():
    image = torch.rand(1, 3, 8, 8).expand(6, -1, -1, -1)
    torch.manual_seed(1)
    first = StrongView()(image)
    torch.manual_seed(1)
    assert torch.equal(StrongView()(image), first)
    assert not torch.equal(StrongView()(image), first)
    assert len({tuple(view.flatten().tolist()) for view in first}) > 3


@pytest.mark.parametrize("name", ["jitter_probability", "grayscale_probability", "blur_probability"])
def test_probabilities_are_the_share_of_changed_images(name):
    torch.manual_seed(0)
    image = torch.rand(400, 3, 4, 4)
    changed = (StrongView(**NEVER | {name: 0.3})(image) != image).flatten(1).any(1).float().mean()
    assert changed.item() == pytest.approx(0.3, abs=0.08)


def test_brightness_is_drawn_from_its_whole_range_and_seen_through_gray_and_blur():
    torch.manual_seed(0)
    law = StrongView(1.0, contrast=0.0, saturation=0.0, hue=0.0, grayscale_probability=1.0, blur_probability=1.0)
    factor = law(torch.full((500, 3, 2, 2), 0.5)).mean((1, 2, 3)) / 0.5
    assert factor.min().item() == pytest.approx(0.5, abs=0.02)
    assert factor.max().item() == pytest.approx(1.5, abs=0.02)
    assert factor.mean().item() == pytest.approx(1.0, abs=0.05)


def test_it_does_not_wait_for_the_device(no_host_sync):
    with no_host_sync:
        StrongView()(torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize(
    "field",
    [
        {"jitter_probability": 1.5},
        {"grayscale_probability": -0.1},
        {"blur_probability": 2.0},
        {"brightness": -1.0},
        {"hue": 0.6},
        {"blur_sigma": (0.0, 1.0)},
        {"blur_sigma": (2.0, 1.0)},
    ],
)
def test_a_field_outside_its_range_is_named(field):
    with pytest.raises(SeglabError, match=f"StrongView.{next(iter(field))}"):
        StrongView(**field)
