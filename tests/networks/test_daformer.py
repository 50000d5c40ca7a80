import pytest
import torch
from spaces import classes
from torch import nn

from seglab.networks import DAFormerNetwork
from seglab.networks.daformer import branch
from seglab.types import SeglabError


def small(**arguments: object) -> DAFormerNetwork:
    options: dict = {"encoder": "test_efficientnet", "weights": "none", "width": 16, **arguments}
    return DAFormerNetwork(classes(5), **options)


def test_features_are_the_fused_map_at_stride_four_and_logits_at_the_resolution_of_the_image() -> None:
    network = small()
    image = torch.rand(2, 3, 65, 97)
    output = network(image)
    assert output.logits.shape == (2, 5, 65, 97)
    assert output.features.shape == (2, network.feature_channels, 24, 32)  # padded to 96 x 128
    assert network.feature_channels == 16


def test_stages_are_those_of_strides_4_to_32() -> None:
    stages = DAFormerNetwork(classes(5), "mit_b0", "none").encode(torch.rand(1, 3, 64, 96))
    assert [stage.shape[1:] for stage in stages] == [(32, 16, 24), (64, 8, 12), (160, 4, 6), (256, 2, 3)]


def test_the_published_head_has_3_7_million_parameters() -> None:
    network = DAFormerNetwork(classes(19), "mit_b0", "none")
    head = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("encoder."))
    embeddings = sum(channels * 256 + 256 for channels in (32, 64, 160, 256))
    norm, depthwise = 2 * 256, 1024 * 9 + 2 * 1024
    branches = 4 * (1024 * 256 + norm) + 3 * depthwise
    assert head == embeddings + branches + 1024 * 256 * 9 + norm + 256 * 19 + 19
    assert [layer.dilation for b in network.branches for layer in b.modules() if _is_depthwise(layer)] == [
        (6, 6),
        (12, 12),
        (18, 18),
    ]


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


@pytest.mark.parametrize(("dilation", "seen"), [(1, [20]), (3, [17, 20, 23]), (6, [14, 20, 26])])
def test_a_branch_of_dilation_d_sees_d_cells_to_each_side(dilation: int, seen: list[int]) -> None:
    torch.manual_seed(0)
    part = branch(2, 3, dilation).eval()
    point, without = torch.zeros(1, 2, 41, 41), torch.zeros(1, 2, 41, 41)
    point[..., 20, 20] = 1e3
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0.5, 1.0)
    difference = (part(point) - part(without)).abs().sum((0, 1, 3))
    assert difference.nonzero().flatten().tolist() == seen


def test_every_parameter_gets_a_gradient_and_every_stage_counts() -> None:
    torch.manual_seed(0)
    network = small(dropout=0.0).train()
    image = torch.rand(2, 3, 64, 64)
    stages = [stage.detach().requires_grad_() for stage in network.encode(image)]
    network.decode(stages, image.shape[-2:]).logits.square().sum().backward()
    assert all(stage.grad is not None and stage.grad.abs().max() > 0 for stage in stages)
    network.zero_grad()
    network(image).logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_trains_on_a_single_image_and_drops_channels_in_training_only() -> None:
    network = small(dropout=0.5)
    image = torch.rand(1, 3, 64, 64)
    assert not torch.equal(network(image).logits, network(image).logits)
    network.eval()
    assert torch.equal(network(image).logits, network(image).logits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dilations": ()}, "dilations"),
        ({"dilations": (0, 6)}, "dilations"),
        ({"dropout": 1.0}, "dropout"),
        ({"encoder": "mit_b7"}, "mit_b5"),
        ({"encoder": "test_vit"}, "test_vit"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "swin_tiny.*one size"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        small(**arguments)
