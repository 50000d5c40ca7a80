import pytest
import torch
from spaces import classes
from torch import nn
from torch.nn import functional as F

from seglab.networks import DeepLabV3Plus
from seglab.types import SeglabError

U2PL = {"output_stride": 8, "multi_grid": (4, 8, 16), "rates": (12, 24, 36), "low_channels": 256, "aspp_kernel": 3}


def tiny(**arguments: object) -> DeepLabV3Plus:
    options: dict = {"encoder": "test_resnet", "weights": "none", **arguments}
    return DeepLabV3Plus(classes(5), **options)


def convolutions(part: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in part.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize(
    ("encoder", "arguments", "parameters"),
    [
        ("resnet101s.gluon_in1k", {}, 59_468_085),  # UniMatch's log says 59.5 M
        ("resnet50s.gluon_in1k", {}, 40_475_957),  # and 40.5 M
        ("resnet50s.gluon_in1k", U2PL, 40_475_957 + 5 * 256**2 * 8 + 208 * (256 + 2) + 208 * 256 * 9),
    ],
)
def test_the_published_sizes(encoder: str, arguments: dict, parameters: int) -> None:
    with torch.device("meta"):
        network = DeepLabV3Plus(classes(21), encoder, "none", **arguments)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    stem = [layer.out_channels for layer in convolutions(network.encoder)[:3]]
    assert stem == [64, 64, 128]


def test_rates_change_what_is_seen_and_no_parameter() -> None:
    narrow, wide = tiny(rates=(1, 2, 3)).eval(), tiny(rates=(6, 12, 18)).eval()
    wide.load_state_dict(narrow.state_dict())
    image = torch.rand(1, 3, 65, 65)
    assert not torch.equal(narrow(image).logits, wide(image).logits)


def test_a_pixel_of_its_own_class_gets_a_gradient() -> None:
    network = tiny()
    mask = torch.full((2, 65, 97), 255)
    mask[1, 33, 50] = 4
    F.cross_entropy(network(torch.rand(2, 3, 65, 97)).logits, mask, ignore_index=255).backward()
    assert network.head.weight.grad.abs().amax((1, 2, 3)).min() > 0


@pytest.mark.parametrize(("stride", "grid"), [(16, 33), (8, 65)])
def test_grids_of_a_crop_of_513(stride: int, grid: int) -> None:
    with torch.device("meta"):
        network = DeepLabV3Plus(classes(5), weights="none", output_stride=stride).eval()
        image = torch.rand(1, 3, 513, 513)
        stages = network.encode(image)
        output = network(image)
    assert (stages[network.low].shape[-1], stages[-1].shape[-1]) == (129, grid)
    assert output.features.shape == (1, 256, 129, 129)
    assert output.logits.shape == (1, 5, 513, 513)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(65, 97), (64, 96), (30, 7)])
def test_logits_are_those_of_the_features_resized(align_corners: bool, size: tuple[int, int]) -> None:
    network = tiny(align_corners=align_corners).eval()
    output = network(torch.rand(1, 3, *size))
    extent = network.extent(size)
    assert extent == tuple(max(32, side if align_corners else -(-side // 16) * 16) for side in size)
    expected = F.interpolate(network.head(output.features), extent, mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(output.logits, expected[..., : size[0], : size[1]])


def test_context_is_the_joined_branches_with_the_mean_of_the_image() -> None:
    network = tiny().eval()
    x = torch.rand(2, network.encoder.feature_info.channels()[-1], 5, 7)
    mean = F.adaptive_avg_pool2d(x, 1)
    parts = [branch(x) for branch in network.aspp.branches] + [network.aspp.pooled(mean).expand(-1, -1, 5, 7)]
    torch.testing.assert_close(network.aspp(x), network.aspp.join(torch.cat(parts, 1)))


def test_what_papers_set() -> None:
    network = tiny(
        **U2PL | {"multi_grid": ()}, separable=True, aspp_slope=0.01, aspp_dropout=0.1, dropout=0.2, align_corners=False
    )
    three = [layer for branch in network.aspp.branches for layer in convolutions(branch) if layer.kernel_size == (3, 3)]
    assert [layer.dilation for layer in three] == [(12, 12), (24, 24), (36, 36)]
    assert all(layer.groups == layer.in_channels for layer in three)
    assert network.reduce[0].out_channels == 256
    assert network.aspp.join[0].kernel_size == (3, 3)
    assert network.aspp.join[2].negative_slope == 0.01
    assert [part.p for part in network.modules() if isinstance(part, nn.Dropout2d)] == [0.1, 0.2, 0.2]
    assert network.multiple == 8
    full = [layer for layer in convolutions(tiny().fuse) if layer.kernel_size == (3, 3)]
    assert [(layer.in_channels, layer.groups) for layer in full] == [(48 + 256, 1), (256, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_stride": 32}, r"DeepLabV3Plus\.output_stride is 32"),
        ({"aspp_kernel": 5}, r"DeepLabV3Plus\.aspp_kernel is 5"),
        ({"rates": ()}, r"DeepLabV3Plus\.rates is \[\]"),
        ({"rates": (6, 0)}, r"DeepLabV3Plus\.rates is \[6, 0\]"),
        ({"low_channels": 0}, r"DeepLabV3Plus\.low_channels is 0"),
        ({"dropout": 1.0}, r"DeepLabV3Plus\.dropout is 1"),
        ({"aspp_dropout": -0.1}, r"DeepLabV3Plus\.aspp_dropout is -0.1"),
        ({"encoder": "resnet101z"}, "resnet101"),
        ({"multi_grid": (2, 4)}, "multi_grid"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        tiny(**arguments)


def test_a_resnet_34_of_double_width_is_an_encoder() -> None:
    network = DeepLabV3Plus(classes(3), "wide_resnet34_2", "none", multi_grid=[2, 4, 8], low_channels=48)
    assert network.encoder.feature_info.channels() == [64, 128, 256, 512, 1024]
    blocks = network.encoder.layer4
    assert [block.conv1.dilation for block in blocks] == [(2, 2), (4, 4), (8, 8)]
    assert network(torch.rand(2, 3, 33, 33)).logits.shape == (2, 3, 33, 33)
    with pytest.raises(SeglabError, match="timm publishes no weights of 'wide_resnet34_2'"):
        DeepLabV3Plus(classes(3), "wide_resnet34_2", "imagenet")
