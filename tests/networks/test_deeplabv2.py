import pytest
import torch
from spaces import classes
from torch.nn import functional as F

from seglab.networks import DeepLabV2
from seglab.networks.deeplabv2 import ASPPL
from seglab.types import SeglabError


def tiny(**arguments: object) -> DeepLabV2:
    options: dict = {"encoder": "test_resnet", "weights": "none", **arguments}
    return DeepLabV2(classes(5), **options)


def test_head_is_the_sum_of_its_dilated_convolutions() -> None:
    head = ASPPL(8, 5, rates=(6, 12))
    features = torch.rand(2, 8, 17, 19)
    expected = sum(
        F.conv2d(features, branch.weight, branch.bias, padding=rate, dilation=rate)
        for branch, rate in zip(head.branches, (6, 12), strict=True)
    )
    torch.testing.assert_close(head(features), expected)


def test_a_branch_of_rate_r_sees_r_pixels_to_each_side() -> None:
    head = ASPPL(1, 1, rates=(3, 6))
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    rows = head(point)[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.tolist() == [4, 7, 10, 13, 16]


def test_head_starts_small_and_without_bias() -> None:
    head = ASPPL(256, 19, rates=(6, 12, 18, 24))
    assert len(head.branches) == 4
    for branch in head.branches:
        assert abs(branch.weight.std().item() - 0.01) < 0.001
        assert branch.bias.abs().max() == 0


@pytest.mark.parametrize("encoder", ["test_resnet", "resnet101.tv_in1k"])
def test_stride_eight_and_logits_at_the_resolution_of_the_image(encoder: str) -> None:
    with torch.device("meta"):
        network = tiny(encoder=encoder, aux_weight=0.1)
        output = network.eval()(torch.rand(1, 3, 513, 513))
    assert output.features.shape == (1, network.feature_channels, 65, 65)
    assert network.feature_channels == {"test_resnet": 96, "resnet101.tv_in1k": 2048}[encoder]
    assert output.logits.shape == output.side["aux"].logits.shape == (1, 5, 513, 513)


def test_odd_sizes_and_no_auxiliary_head_by_default() -> None:
    output = tiny()(torch.rand(2, 3, 65, 97))
    assert output.logits.shape == (2, 5, 65, 97)
    assert output.side == {}


def test_gradient_reaches_the_encoder_from_both_heads() -> None:
    network = tiny(aux_weight=0.1, rates=(1, 2))
    image = torch.rand(2, 3, 64, 64)
    output = network(image)
    for logits, last_stage in ((output.side["aux"].logits, False), (output.logits, True)):
        network.zero_grad()
        logits.square().sum().backward(retain_graph=True)
        assert network.encoder.conv1[0].weight.grad.abs().max() > 0
        assert any(p.grad is not None for p in network.encoder.layer4.parameters()) == last_stage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": ()}, "rates"),
        ({"rates": (6, 0)}, "rates"),
        ({"encoder": "resnet1010"}, "resnet101"),
        ({"encoder": "test_mambaout"}, "test_mambaout.*stride 8"),
        ({"encoder": "ghostnet_050"}, "ghostnet_050.*stride 8"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        tiny(**arguments)
