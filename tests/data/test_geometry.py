import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from seglab.data.decode import scaled_size
from seglab.data.geometry import ScaledCrop, resize_image, resize_mask, weak_view
from seglab.evaluation import Whole
from seglab.labels import IGNORE
from seglab.types import Output, SeglabError

HEIGHT, WIDTH = 48, 64


def coded(mask: np.ndarray) -> np.ndarray:
    """An image whose every channel is a function of the mask."""
    return np.stack([mask * 20, 255 - mask * 20, mask * 10 + 5], -1).astype(np.uint8)


def blocks(step: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 11, (HEIGHT // step, WIDTH // step))
    return grid.repeat(step, 0).repeat(step, 1).astype(np.uint8)


def cut(seed: int, size: tuple[int, int], scale: tuple[float, float], mask: np.ndarray) -> dict[str, np.ndarray]:
    view = weak_view(size, scale)
    view.set_random_seed(seed)
    return view(image=coded(mask), mask=mask, valid=np.zeros_like(mask))


def test_at_scale_one_it_is_a_plain_crop() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask = rng.integers(0, 11, (HEIGHT, WIDTH), dtype=np.uint8)
    places = set()
    for seed in range(20):
        view = weak_view((16, 24), (1.0, 1.0))
        view.set_random_seed(seed)
        out = view(image=image, mask=mask, valid=np.zeros_like(mask))
        tops, lefts = np.nonzero((np.lib.stride_tricks.sliding_window_view(mask, (16, 24)) == out["mask"]).all((2, 3)))
        if not len(tops):  # flipped
            out = {key: array[:, ::-1] for key, array in out.items()}
            windows = np.lib.stride_tricks.sliding_window_view(mask, (16, 24))
            tops, lefts = np.nonzero((windows == out["mask"]).all((2, 3)))
        assert len(tops) == 1
        top, left = tops[0], lefts[0]
        assert np.array_equal(out["image"], image[top : top + 16, left : left + 24])
        assert not out["valid"].any()
        places.add((top, left))
    assert len(places) > 15


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 1.3, 2.0])
def test_labels_are_never_interpolated_and_image_and_mask_stay_aligned(scale: float) -> None:
    mask = np.where(blocks(16) < 6, 0, 10).astype(np.uint8)  # anything between would be an interpolated id
    for seed in range(10):
        out = cut(seed, (20, 24), (scale, scale), mask)
        assert set(np.unique(out["mask"])) <= {0, 10, IGNORE}
        inside = out["valid"] == 0
        assert np.array_equal(out["mask"] == IGNORE, ~inside)
        # at edges the image is a mixture; wherever the neighbours agree, a pixel has the colour of its label
        kernel = np.ones((3, 3), np.uint8)
        uniform = cv2.erode(out["mask"], kernel) == cv2.dilate(out["mask"], kernel)
        plain = uniform & inside
        plain[[0, -1]] = plain[:, [0, -1]] = False  # their neighbours are unknown
        assert plain.sum() > 0.2 * inside.sum()
        assert np.abs(out["image"].astype(int) - coded(out["mask"]).astype(int))[plain].max() <= 2


def test_padding_is_marked_at_the_right_and_bottom_before_the_flip() -> None:
    mask = np.ones((HEIGHT, WIDTH), np.uint8)
    seen = set()
    for seed in range(12):
        out = cut(seed, (HEIGHT, WIDTH), (0.5, 0.5), mask)
        flipped = bool(out["valid"][0, 0])
        seen.add(flipped)
        expected = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
        expected[: HEIGHT // 2, WIDTH // 2 :] = 0
        expected = expected if flipped else expected[:, ::-1]
        assert np.array_equal(out["valid"], expected)
        assert np.array_equal(out["mask"] == IGNORE, expected == IGNORE)
        assert not out["image"][expected == IGNORE].any()
        assert (out["image"][expected == 0] == coded(mask)[0, 0]).all()
    assert seen == {True, False}


@pytest.mark.parametrize(("size", "scale"), [((16, 16), (0.35, 0.9)), ((40, 40), (1.1, 3.0))])
def test_no_half_pixel_shift_between_image_and_mask(size: tuple[int, int], scale: tuple[float, float]) -> None:
    """The mean position of an edge in the image equals that in the mask, over many windows."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 31:] = 1
    image = np.repeat(mask[..., None] * 255, 3, -1).astype(np.uint8)
    gaps = []
    for seed in range(400):
        crop = ScaledCrop(size, scale)
        crop.set_random_seed(seed)
        out = crop(image=image, mask=mask)
        inside = out["mask"][0] != IGNORE
        dark = (255 - out["image"][:, inside, 0].astype(float)).sum(1).mean() / 255  # left of the edge, sub-pixel
        hard = (out["mask"] == 0).sum(1).mean()
        if 1 < hard < size[1] - 1:
            gaps.append(dark - hard)
    assert len(gaps) > 50
    assert np.abs(gaps).max() <= 0.6  # the mask's edge is on whole pixels
    assert abs(np.mean(gaps)) < 0.06  # pixels of the crop; its standard error is about 0.02


def test_windows_lie_inside_the_image_and_cover_it() -> None:
    crop = ScaledCrop((20, 24), (0.6, 2.0))
    data = {"image": np.zeros((HEIGHT, WIDTH, 3), np.uint8)}
    crop.set_random_seed(0)
    windows = [crop.get_params_dependent_on_data({"shape": (HEIGHT, WIDTH, 3)}, data) for _ in range(2000)]
    free = [(w["scaled"][0] - 20 - w["top"], w["scaled"][1] - 24 - w["left"]) for w in windows]
    assert min(w["top"] for w in windows) == min(w["left"] for w in windows) == 0
    assert np.array(free).min(0).tolist() == [0, 0]


def test_scale_is_uniform_over_its_range() -> None:
    crop = ScaledCrop((100, 200), (0.5, 2.0))
    crop.set_random_seed(1)
    shape = {"shape": (500, 500, 3)}
    factors = np.array([crop.get_params_dependent_on_data(shape, {})["scaled"][1] / 500 for _ in range(4000)])
    assert factors.min() >= 0.498
    assert factors.max() <= 2.01
    # quartiles of the uniform law on 0.5 to 2; the standard error of each is about 0.01
    assert np.allclose(np.quantile(factors, [0.25, 0.5, 0.75]), [0.875, 1.25, 1.625], atol=0.05)


def test_half_of_the_views_are_flipped() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 1
    flips = [cut(seed, (8, 8), (1.0, 1.0), mask)["mask"][0, 0] == 1 for seed in range(300)]
    assert 110 < sum(flips) < 190


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flip_is_a_probability(flip: float) -> None:
    view, mask = weak_view((8, 8), (1.0, 1.0), flip), np.arange(64, dtype=np.uint8).reshape(8, 8)
    out = view(image=coded(mask % 11), mask=mask, valid=np.zeros_like(mask))["mask"]
    assert np.array_equal(out, mask[:, ::-1] if flip else mask)


def test_a_huge_scale_leaves_at_least_one_pixel() -> None:
    out = cut(0, (4, 4), (100.0, 100.0), blocks())
    assert out["image"].shape == (4, 4, 3)
    assert len(np.unique(out["mask"])) == 1


@pytest.mark.parametrize(
    ("size", "scale"), [((0, 8), (1.0, 1.0)), ((8, -1), (1.0, 1.0)), ((8, 8), (0.0, 1.0)), ((8, 8), (2.0, 1.0))]
)
def test_impossible_crops_are_refused(size: tuple[int, int], scale: tuple[float, float]) -> None:
    with pytest.raises(SeglabError, match=r"crop|scale"):
        weak_view(size, scale)


# One resize


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.51, 0.6688, 0.9, 1.0, 1.37, 2.0])
def test_a_crop_is_cut_from_the_resized_image_bit_for_bit(scale: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (151, 203, 3), dtype=np.uint8)
    mask = rng.integers(0, 11, (151, 203), dtype=np.uint8)
    size = scaled_size(image.shape, scale)
    floats = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    seen = [floats]

    def network(view: torch.Tensor) -> Output:
        seen.append(view)
        return Output(view, view)

    Whole(scales=(scale,))(network, floats)
    evaluated = (seen[-1][0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    whole = resize_mask(mask, size)
    assert whole.shape == size
    for seed in range(20):
        view = ScaledCrop((32, 40), (scale, scale))
        view.set_random_seed(seed)
        place = view.get_params_dependent_on_data({"shape": image.shape}, {})
        rows, columns = (slice(start, start + side) for start, side in ((place["top"], 32), (place["left"], 40)))
        assert np.array_equal(view.apply(image, **place), evaluated[rows, columns])
        assert np.array_equal(view.apply_to_mask(mask, **place), whole[rows, columns])


def test_sharpness_falls_without_a_jump() -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    scales = np.arange(0.40, 0.605, 0.01)
    sharpness = np.array([resize_image(image, scaled_size(image.shape, scale)).std() for scale in scales])
    steps = np.abs(np.diff(sharpness) / sharpness[1:])
    assert steps.max() < 0.12  # how centres fall between pixels; INTER_AREA from half size on would be 0.4
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5)
    half, more = (resize_image(smooth, scaled_size(image.shape, scale)).std() for scale in (0.50, 0.51))
    assert half == pytest.approx(more, rel=0.025)  # Pillow: 0.020; INTER_AREA at one of them: 0.08


# Rules


class Never:
    """Refuses every crop and counts them."""

    def __init__(self, attempts: int) -> None:
        self.attempts, self.asked = attempts, 0

    def __call__(self, mask: np.ndarray) -> bool:
        self.asked += 1
        return False


class Shown:
    """Accepts crops that show a class in their corner."""

    attempts = 500

    def __call__(self, mask: np.ndarray) -> bool:
        return bool(mask[0, 0] == 3)


def judged(seed: int, *rules: object) -> dict[str, np.ndarray]:
    view = weak_view((16, 24), (0.7, 1.5))
    view.set_random_seed(seed)
    mask = blocks()
    return view(image=coded(mask), mask=mask, valid=np.zeros_like(mask), rules=rules)


def test_a_crop_is_drawn_until_it_obeys() -> None:
    for seed in range(20):
        out = judged(seed, Shown())
        assert 3 in (out["mask"][0, 0], out["mask"][0, -1])  # flipped afterwards
        inside = out["valid"] == 0
        assert np.abs(out["image"].astype(int) - coded(out["mask"]))[inside].mean() < 40, "cut at another place"


def test_after_so_many_attempts_one_more_crop_is_taken() -> None:
    never = Never(10)
    last = judged(0, never)
    assert never.asked == 10
    eleventh = ScaledCrop((16, 24), (0.7, 1.5))
    view = weak_view((16, 24), (0.7, 1.5))
    view.set_random_seed(0)
    eleventh.py_random = view.transforms[0].py_random
    for _ in range(11):
        window = eleventh._draw(HEIGHT, WIDTH)
    cut = eleventh.apply_to_mask(blocks(), **window)
    assert np.array_equal(last["mask"], cut) or np.array_equal(last["mask"], cut[:, ::-1])


def test_a_later_rule_draws_through_the_earlier_ones() -> None:
    inner, outer = Never(4), Never(3)
    judged(0, inner, outer)
    assert (inner.asked, outer.asked) == (4 * (3 + 1), 3)


def test_without_rules_nothing_changes() -> None:
    for seed in range(5):
        one, other = judged(seed), cut(seed, (16, 24), (0.7, 1.5), blocks())
        assert all(np.array_equal(one[name], other[name]) for name in ("image", "mask", "valid"))


@pytest.mark.parametrize("ratio", [1.25, 1.5, 1.95, 2.5, 4.0])
def test_shrinking_is_as_smooth_as_pillows(ratio: float) -> None:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (180, 240, 3)).astype(np.float32), (0, 0), 1.5)
    image = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    size = int(180 / ratio), int(240 / ratio)
    wanted = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(float)

    def distance(other: np.ndarray) -> float:
        return float(np.square(other - wanted).mean())

    ours = distance(resize_image(image, size))
    assert ours < 2.0
    assert ours < distance(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))
