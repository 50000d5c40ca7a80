import pytest
import torch
from spaces import classes
from torch.nn import functional as F

from seglab.networks import FCN
from seglab.types import SeglabError

FCN_8S = {"output_stride": 32, "skips": (16, 8)}


def tiny(**arguments: object) -> FCN:
    options: dict = {"encoder": "test_resnet", "weights": "none", **arguments}
    return FCN(classes(5), **options)


@pytest.mark.parametrize(
    "arguments", [{}, {"output_stride": 16}, {"output_stride": 32}, FCN_8S, {"output_stride": 32, "skips": (8,)}]
)
@pytest.mark.parametrize("size", [(65, 97), (32, 32), (30, 7)])
def test_logits_have_the_resolution_of_the_image(arguments: dict, size: tuple[int, int]) -> None:
    network = tiny(aux_weight=0.4, **arguments).eval()
    output = network(torch.rand(2, 3, *size))
    assert output.logits.shape == output.side["aux"].logits.shape == (2, 5, *size)
    assert output.features.shape[:2] == (2, network.feature_channels)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_last_stage_has_the_output_stride(stride: int) -> None:
    output = tiny(output_stride=stride).eval()(torch.rand(1, 3, 64, 96))
    assert output.features.shape[-2:] == (64 // stride, 96 // stride)


def test_the_plain_head_is_a_convolution_of_the_last_stage() -> None:
    network, image = tiny().eval(), torch.rand(1, 3, 64, 64)
    stages = network.encode(image)
    coarse = network.head(network.neck(stages[-1]))
    expected = F.interpolate(coarse, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image).logits, expected)


def test_upsampling_by_two_is_the_papers_bilinear_kernel() -> None:
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 1.0
    up = F.interpolate(point, scale_factor=2.0, mode="bilinear", align_corners=False)
    kernel = torch.tensor([0.25, 0.75, 0.75, 0.25])
    torch.testing.assert_close(up[0, 0, 3:7, 3:7], kernel.outer(kernel))
    assert up.sum() == up[0, 0, 3:7, 3:7].sum()


def test_skips_start_without_a_say_and_add_the_scores_of_finer_stages() -> None:
    network, image = tiny(**FCN_8S).eval(), torch.rand(1, 3, 64, 96)
    stages = network.encode(image)
    assert [network.encoder.feature_info.reduction()[index] for index in network.skipped] == [16, 8]

    def up(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)

    coarse = network.head(network.neck(stages[-1]))  # 2 x 3 cells
    torch.testing.assert_close(network(image).logits, up(up(up(coarse, (4, 6)), (8, 12)), (64, 96)))

    for score in network.scores:
        torch.nn.init.normal_(score.weight)
    sixteen = up(coarse, (4, 6)) + network.scores[0](stages[3])
    eight = up(sixteen, (8, 12)) + network.scores[1](stages[2])
    torch.testing.assert_close(network(image).logits, up(eight, (64, 96)))


def test_every_parameter_learns() -> None:
    network = tiny(aux_weight=0.4, **FCN_8S)
    output = network(torch.rand(2, 3, 64, 64))
    (output.logits.square().mean() + output.side["aux"].logits.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_stride": 4}, r"FCN\.output_stride is 4"),
        ({"output_stride": 32, "skips": (8, 16)}, r"FCN\.skips is \[8, 16\].*coarse to fine.*\[16, 8, 4, 2\]"),
        ({"skips": (16,)}, r"FCN\.skips is \[16\].*\[4, 2\]"),
        ({"encoder": "test_vit", "output_stride": 32}, "test_vit.*stages have"),
        ({"encoder": "test_mambaout", "output_stride": 32}, "test_mambaout.*feature maps"),
        ({"encoder": "test_mambaout"}, "test_mambaout.*output stride 8"),
        ({"encoder": "resnet5"}, "resnet5"),
    ],
)
def test_wrong_arguments_are_named_with_the_remedy(arguments: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        tiny(**arguments)
