import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.ops import colour, views
from seglab.ops.mixing import Pixels
from seglab.ops.views import FlipView, KorniaView, NoView, RandomCropView, RandomIntensityView, StrongView, View
from seglab.streets.scene import render
from seglab.streets.style import PHOTO
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


def test_views_do_not_wait_for_the_device(no_host_sync):
    image = torch.rand(2, 3, 8, 8)
    with no_host_sync:
        for view in (StrongView(), KorniaView()):
            view(image)
        for move in (FlipView(), RandomCropView(), RandomCropView(padded=True)):
            move(pixels(image))


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


# kornia's colours


def streets() -> torch.Tensor:
    frames = [render(np.random.default_rng([0, 1, index]), PHOTO, (80, 60))[0] for index in range(8)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


# kornia 0.5.8's own ColorJitter changes these images by 0.108 and 0.135
@pytest.mark.parametrize(("strength", "kornia", "torchvision"), [(0.2, 0.108, 0.054), (0.25, 0.135, 0.0655)])
def test_one_strength_changes_an_image_twice_as_much_as_torchvisions(strength, kornia, torchvision):
    torch.manual_seed(0)
    image = streets().repeat(50, 1, 1, 1)
    added = KorniaView(strength, jitter=1.0, blur=0.0)(image)
    multiplied = StrongView(1.0, strength, strength, strength, strength, 0.0, 0.0)(image)
    assert (added - image).abs().mean().item() == pytest.approx(kornia, rel=0.06)
    assert (multiplied - image).abs().mean().item() == pytest.approx(torchvision, rel=0.06)


def test_each_operation_is_kornias():
    image, factor = torch.tensor([0.8, 0.4, 0.2]).view(1, 3, 1, 1), torch.tensor([1.2])
    brighter = colour.add_brightness(image, factor - 1).flatten()
    contrast = colour.adjust_brightness(image, factor).flatten()
    saturated = colour.adjust_hsv_saturation(image, factor).flatten()
    torch.testing.assert_close(brighter, torch.tensor([1.0, 0.6, 0.4]))
    torch.testing.assert_close(contrast, torch.tensor([0.96, 0.48, 0.24]))
    torch.testing.assert_close(saturated, torch.tensor([0.8, 0.32, 0.08]))
    most = colour.adjust_hsv_saturation(image, torch.tensor([2.0])).flatten()  # saturation 0.75 -> 1
    torch.testing.assert_close(most, torch.tensor([0.8, 0.8 - 0.4 / 0.75, 0.0]))


def test_kornias_view_keeps_shape_and_range_and_leaves_the_other_images():
    torch.manual_seed(0)
    image = torch.rand(400, 3, 4, 4)
    view = KorniaView(0.5, jitter=0.3, blur=0.0)(image)
    assert view.min() >= 0.0
    assert view.max() <= 1.0
    assert (view != image).flatten(1).any(1).float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert torch.equal(KorniaView(jitter=0.0, blur=0.0)(image), image)
    assert NoView()(image) is image


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (KorniaView, {"strength": 0.6}),
        (KorniaView, {"jitter": 1.5}),
        (KorniaView, {"sigma": (2.0, 1.0)}),
        (FlipView, {"probability": -0.1}),
        (RandomCropView, {"side": (0.0, 1.0)}),
        (RandomCropView, {"side": (0.5, 1.1)}),
    ],
)
def test_a_field_of_the_other_views_is_named_too(kind, field):
    with pytest.raises(SeglabError, match=f"{kind.__name__}.{next(iter(field))}"):
        kind(**field)


# As settings


class Taker:
    def __init__(self, strong: View = lazy_instance(KorniaView, strength=0.25)) -> None:
        self.strong = strong


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], KorniaView(0.25)),
        (["--taker.strong", "StrongView"], StrongView()),
        (["--taker.strong", '{"class_path": "KorniaView", "init_args": {"strength": 0.2}}'], KorniaView(0.2)),
        (["--taker.strong", "NoView"], NoView()),
    ],
)
def test_a_saved_config_gives_the_same_view(given, expected):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Taker, "taker")
    config = parser.parse_args(given)
    again = parser.parse_string(parser.dump(config))
    for settings in (config, again):
        view = parser.instantiate(settings).taker.strong
        assert isinstance(view, type(expected))
        assert vars(view) == vars(expected)


def test_settings_of_the_old_law_are_refused():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Taker, "taker")
    with pytest.raises(Exception, match="brightness"):
        parser.parse_args(["--taker.strong", '{"brightness": 0.2}'])


# Geometry


def pixels(image: torch.Tensor) -> Pixels:
    """Labels are the red channel x 10, so that a view must move both alike."""
    label = (image[:, 0] * 10).long()
    return Pixels(image, label, label.float() / 10, torch.ones_like(label, dtype=torch.bool))


def blocks(batch: int = 6, step: int = 8) -> torch.Tensor:
    torch.manual_seed(0)
    grid = torch.randint(0, 10, (batch, 1, 5, 6)).float() / 10 + 0.05
    return grid.repeat_interleave(step, 2).repeat_interleave(step, 3).expand(-1, 3, -1, -1)


def test_a_flip_moves_everything_of_its_share_of_the_images():
    before = pixels(blocks(400))
    after = FlipView(0.25)(before)
    flipped = (after.image != before.image).flatten(1).any(1)
    assert flipped.float().mean().item() == pytest.approx(0.25, abs=0.08)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[flipped], old[flipped].flip(-1))
        assert torch.equal(new[~flipped], old[~flipped])


def test_a_crop_is_enlarged_to_the_size_and_labels_stay_labels_in_their_place():
    before = pixels(blocks())
    after = RandomCropView((0.5, 0.5))(before)
    assert [x.shape for x in after] == [x.shape for x in before]
    assert [x.dtype for x in after] == [x.dtype for x in before]
    assert after.valid.all()
    plain = (after.image[:, 0] * 10).long() == after.label  # all but pixels interpolated over an edge
    assert plain.float().mean() > 0.8
    assert torch.equal((after.weight * 10).round().long(), after.label)
    assert (after.label != before.label).flatten(1).any(1).all()
    edges = (after.label[:, 0, 1:] != after.label[:, 0, :-1]).sum(1)
    assert (edges <= 4).all()  # of 6 blocks in a row, half are seen


def test_the_whole_image_is_itself():
    before = pixels(torch.rand(2, 3, 10, 14))
    for view in (RandomCropView((1.0, 1.0)), RandomCropView((1.0, 1.0), padded=True)):
        after = view(before)
        torch.testing.assert_close(after.image, before.image)
        assert all(torch.equal(new, old) for new, old in zip(after[1:], before[1:], strict=True))


def test_a_padded_crop_stays_in_its_place():
    torch.manual_seed(0)
    before = pixels(0.1 + 0.8 * torch.rand(50, 3, 20, 30))
    after = RandomCropView((0.5, 0.5), padded=True)(before)
    seen = after.valid
    assert seen.sum((1, 2)).float().mean().item() == pytest.approx(150, rel=0.02)
    for new, old, fill in zip(after, before, (0, IGNORE, 0, False), strict=True):
        part = seen.unsqueeze(1).expand_as(new) if new.ndim == 4 else seen
        assert torch.equal(new[part], old[part])
        assert (new[~part] == fill).all()
    assert len({int(x.flatten().int().argmax()) for x in seen}) > 30  # where they begin


def test_class_probabilities_are_interpolated():
    soft = torch.rand(2, 4, 8, 8).softmax(1)
    given = Pixels(torch.rand(2, 3, 8, 8), soft, torch.rand(2, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool))
    label = RandomCropView((0.5, 0.7))(given).label
    assert label.shape == soft.shape
    torch.testing.assert_close(label.sum(1), torch.ones(2, 8, 8))


def test_random_intensity_keeps_shape_range_and_seed_and_waits_for_nothing(no_host_sync):
    image = torch.rand(16, 3, 24, 20)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16), no_host_sync:
        first = RandomIntensityView()(image)
    assert first.shape == image.shape
    assert first.dtype == torch.float32
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    torch.manual_seed(1)
    assert torch.equal(RandomIntensityView()(image), first)
    assert not torch.equal(RandomIntensityView()(image), first)


def test_random_intensity_draws_1_to_3_operations_with_replacement(monkeypatch):
    done = lambda index: lambda x: x + (1 if index == 0 else 100)  # noqa: E731
    monkeypatch.setattr(views, "INTENSITY", tuple(done(index) for index in range(2)))
    torch.manual_seed(0)
    value = RandomIntensityView()(torch.zeros(6000, 3, 1, 1))[:, 0, 0, 0]
    number = value % 100 + value // 100
    assert torch.bincount(number.long(), minlength=4).tolist() == pytest.approx([0, 2000, 2000, 2000], abs=150)
    assert (value == 3).float().mean().item() == pytest.approx(1 / 3 / 8, abs=0.01)  # the same one three times


def test_random_intensity_of_nothing_but_no_operation_is_the_image(monkeypatch):
    monkeypatch.setattr(views, "INTENSITY", views.INTENSITY[:1])
    image = torch.rand(3, 3, 4, 4)
    assert torch.equal(RandomIntensityView()(image), image)


def test_random_intensity_strengths_are_those_of_the_official_code():
    """Factors in [0.05, 0.95], 4 to 7 bits, solarize from level 1 to 255."""
    torch.manual_seed(0)
    ramp = (torch.arange(256) / 255.0).view(1, 1, 1, -1).expand(400, 3, 3, -1)
    posterized = views.INTENSITY[8](ramp)
    counts = {len(posterized[i, 0, 0].unique()) for i in range(400)}
    assert counts == {16, 32, 64, 128}
    changed = (views.INTENSITY[9](ramp) != ramp).any(1).any(1).float()
    first = torch.where(changed.any(1), changed.argmax(1), 255)
    assert 1 <= first.min() < 6
    assert first.max() > 250
    bright = views.INTENSITY[5](torch.ones(2000, 3, 1, 1))[:, 0, 0, 0]
    assert (bright.min().item(), bright.max().item()) == pytest.approx((0.05, 0.95), abs=0.002)


def test_random_intensity_needs_an_operation():
    with pytest.raises(SeglabError, match=r"RandomIntensityView.most is 0: give 1 or more"):
        RandomIntensityView(most=0)
