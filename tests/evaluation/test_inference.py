import math

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from seglab.evaluation.inference import Inference, Slide, Whole
from seglab.ops.crf import DenseCRF
from seglab.types import Output, SeglabError


def colour_net(image: Tensor) -> Output:
    """Each pixel for itself: position and context do not matter, mirrored images give mirrored results."""
    return Output(4.0 * image, image)


class Recorder(nn.Module):
    """Logits that depend on the place inside the input, and a note of every input's shape."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Output:
        self.shapes.append(tuple(image.shape))
        column = torch.arange(image.shape[-1], dtype=torch.float32).expand(len(image), 1, *image.shape[-2:])
        return Output(torch.cat([column, 0 * column], 1), image)


@pytest.fixture
def image() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(2, 3, 13, 17)


def expected(image: Tensor) -> Tensor:
    return (4.0 * image).softmax(1)


def test_whole_returns_the_softmax(image):
    assert torch.equal(Whole()(colour_net, image), expected(image))


def test_a_window_as_large_as_the_image_is_whole(image):
    recorder = Recorder()
    assert torch.equal(Slide((13, 17), (5, 5))(recorder, image), Whole()(Recorder(), image))
    assert recorder.shapes == [(2, 3, 13, 17)]


@pytest.mark.parametrize("stride", [(5, 6), (3, 4), (1, 1)])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_every_pixel_is_covered_once_averaged(image, stride, batch):
    torch.testing.assert_close(Slide((5, 6), stride, batch=batch)(colour_net, image), expected(image))


def test_windows_are_averaged_by_their_count_and_the_last_is_shifted_inside():
    def p(*columns):
        return torch.tensor(columns, dtype=torch.float32).sigmoid().mean()

    # width 5, window 3, stride 2: windows start at 0 and 2; column 2 is their columns 2 and 0
    result = Slide((1, 3), (1, 2))(Recorder(), torch.zeros(1, 3, 1, 5))[0, 0, 0]
    torch.testing.assert_close(result, torch.stack([p(0), p(1), p(2, 0), p(1), p(2)]))
    # width 4: the second window is moved from 2 to 1
    result = Slide((1, 3), (1, 2))(Recorder(), torch.zeros(1, 3, 1, 4))[0, 0, 0]
    torch.testing.assert_close(result, torch.stack([p(0), p(1, 0), p(2, 1), p(2)]))


def test_windows_are_batched(image):
    recorder = Recorder()
    Slide((13, 9), (13, 4), batch=2)(recorder, image)  # starts 0, 4, 8
    assert recorder.shapes == [(4, 3, 13, 9), (2, 3, 13, 9)]


def test_an_image_smaller_than_the_window_is_padded_and_cropped_back(image):
    recorder = Recorder()
    assert Slide((20, 20), (7, 7))(recorder, image).shape == (2, 2, 13, 17)
    assert recorder.shapes == [(2, 3, 20, 20)]
    torch.testing.assert_close(Slide((20, 8), (20, 5))(colour_net, image), expected(image))


@pytest.mark.parametrize("protocol", [Whole(flip=True), Slide((5, 6), (3, 4), flip=True)])
def test_flip_changes_nothing_for_a_network_that_mirrors(image, protocol):
    torch.testing.assert_close(protocol(colour_net, image), expected(image))


def test_flip_averages_the_mirrored_prediction():
    result = Whole(flip=True)(Recorder(), torch.zeros(1, 3, 1, 3))[0, 0, 0]
    ramp = torch.arange(3.0).sigmoid()
    torch.testing.assert_close(result, (ramp + ramp.flip(0)) / 2)


def test_scales_show_the_network_each_size_and_average_at_the_first():
    recorder, flat = Recorder(), torch.full((1, 3, 7, 9), 0.5)
    result = Whole(scales=(0.5, 1.0, 2.0))(recorder, flat)
    assert [shape[-2:] for shape in recorder.shapes] == [(4, 4), (7, 9), (14, 18)]
    assert result.shape == (1, 2, 7, 9)
    torch.testing.assert_close(result.sum(1), torch.ones(1, 7, 9))


def test_multiple_rounds_to_the_nearest(image):
    recorder = Recorder()
    assert Whole(multiple=14)(recorder, image).shape == (2, 2, 13, 17)
    Whole(multiple=14)(recorder, torch.zeros(1, 3, 3, 35))
    assert recorder.shapes == [(2, 3, 14, 14), (1, 3, 14, 42)]


def test_probabilities_are_float32_and_carry_no_graph(image):
    def half(x: Tensor) -> Output:
        return Output(x.to(torch.bfloat16).requires_grad_(), x)

    with torch.autocast("cpu", torch.bfloat16):
        for protocol in (Whole(scales=(0.5, 1.0)), Slide((5, 6), (3, 4))):
            result = protocol(half, image)
            assert result.dtype == torch.float32
            assert not result.requires_grad
            torch.testing.assert_close(result.sum(1), torch.ones(2, 13, 17))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: Slide((4, 4), (5, 4)), "stride"),
        (lambda: Slide((4, 4), (0, 4)), "stride"),
        (lambda: Slide((0, 4), (1, 1)), "window"),
        (lambda: Slide((4, 4), (4, 4), batch=0), "batch"),
        (lambda: Whole(scales=()), "scales"),
        (lambda: Whole(scales=(-1.0,)), "scales"),
        (lambda: Whole(multiple=0), "multiple"),
    ],
)
def test_settings_out_of_range_are_named(build, name):
    with pytest.raises(SeglabError, match=name):
        build()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # jsonargparse 4.49 renames what 4.46 has
def test_protocols_are_built_from_a_config():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--inference", type=Inference)
    settings = {"window": [512, 1024], "stride": [256, 512], "scales": [0.5, 1.0]}
    config = parser.parse_object({"inference": {"class_path": "Slide", "init_args": settings}})
    slide = parser.instantiate_classes(config).inference
    assert isinstance(slide, Slide)
    assert (slide.window, slide.stride, slide.scales) == ((512, 1024), (256, 512), (0.5, 1.0))


def test_logits_of_windows_are_averaged_before_the_softmax() -> None:
    """Two windows that share a column: 4 and 0 there are 2 as logits, whose softmax is not the mean of both."""

    def network(window: torch.Tensor) -> Output:
        first = 4 * window[:, :1] * window[:, :1, :, :1]  # of a window that begins with the bright pixel
        return Output(torch.cat([first, torch.zeros_like(first)], 1), first)

    image = torch.zeros(1, 3, 1, 3)
    image[..., 1] = 1.0  # first pixel of the second window, second of the first
    logits = Slide((1, 2), (1, 1), average="logits")(network, image)
    probabilities = Slide((1, 2), (1, 1))(network, image)
    assert logits[0, 0, 0, 1].item() == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-5)
    assert probabilities[0, 0, 0, 1].item() == pytest.approx((1 / (1 + math.exp(-4)) + 0.5) / 2, rel=1e-5)


@pytest.mark.parametrize("protocol", [Whole, lambda **more: Slide((8, 9), (4, 5), **more)])
def test_a_crf_refines_the_averaged_probabilities(protocol, image):
    crf = DenseCRF(iterations=2)
    plain = protocol(scales=(1.0, 0.5), flip=True)(colour_net, image)
    torch.testing.assert_close(protocol(scales=(1.0, 0.5), flip=True, crf=crf)(colour_net, image), crf(plain, image))
    with pytest.raises(SeglabError, match="iterations is -1"):
        protocol(crf=DenseCRF(iterations=-1))


def test_a_crf_from_flags():
    parser = ArgumentParser()
    parser.add_argument("--evaluation", type=Inference)
    flags = ["--evaluation", "Whole"]
    assert parser.instantiate_classes(parser.parse_args(flags)).evaluation.crf is None
    made = parser.instantiate_classes(parser.parse_args([*flags, "--evaluation.crf.colour_sigma", "5"])).evaluation
    assert made.crf == DenseCRF(colour_sigma=5)
