from pathlib import Path

import pytest
import torch
import yaml
from probes import EXPERIMENTS
from spaces import classes
from torch import nn

from seglab.networks import DPT
from seglab.types import SeglabError

SMALL = "vit_small_patch14_dinov2.lvd142m"


def tiny(num_classes: int = 5, **arguments: object) -> DPT:
    options: dict = {"encoder": "test_vit", "weights": "none", "channels": (8, 8, 16, 16), "width": 8, **arguments}
    return DPT(classes(num_classes), **options)


def dinov2(**arguments: object) -> DPT:
    return tiny(encoder=SMALL, encoder_options={"depth": 4}, **arguments)


@pytest.mark.parametrize(
    ("size", "grid"), [((42, 56), (3, 4)), ((41, 43), (3, 4)), ((14, 14), (1, 1)), ((3, 9), (1, 1))]
)
def test_any_size_on_the_patch_grid(size: tuple[int, int], grid: tuple[int, int]) -> None:
    network = dinov2().eval()
    with torch.no_grad():
        stages = network.encode(torch.rand(2, 3, *size))
        output = network.decode(stages, size)
    assert [stage.shape for stage in stages] == [(2, 384, *grid)] * 4
    assert output.logits.shape == (2, 5, *size)
    assert output.features.shape == (2, network.feature_channels, 8 * grid[0], 8 * grid[1])


def test_a_crop_that_is_no_multiple_of_the_patch_is_padded_with_the_mean() -> None:
    network = dinov2().eval()
    image = torch.rand(1, 3, 40, 57)
    padded = network.mean.expand(1, 3, 42, 70).clone()
    padded[..., :40, :57] = image
    with torch.no_grad():
        torch.testing.assert_close(network(image).logits, network(padded).logits[..., :40, :57])


def test_every_parameter_learns_also_behind_the_layers_taken() -> None:
    for network in (dinov2(), tiny(layers=(0, 1, 2, 3))):  # the second encoder has six layers
        network(torch.rand(2, 3, 32, 48)).logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_a_frozen_encoder_leaves_the_head_to_learn() -> None:
    network = dinov2(freeze_encoder=True)
    network(torch.rand(1, 3, 28, 28)).logits.sum().backward()
    assert not any(p.requires_grad for p in network.encoder.parameters())
    assert all(p.grad is not None for p in [*network.fusion.parameters(), *network.head.parameters()])


def test_stages_are_the_normalised_layers_of_the_transformer() -> None:
    network = dinov2().eval()
    image = torch.rand(1, 3, 28, 42)
    seen: list[torch.Tensor] = []
    for block in network.encoder.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        stages = network.encode(image)
        for stage, tokens in zip(stages, seen, strict=True):
            expected = network.encoder.norm(tokens)[:, 1:].transpose(1, 2).unflatten(2, (2, 3))  # type: ignore[operator]
            torch.testing.assert_close(stage, expected)


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        ("small", [2, 5, 8, 11], 24.7),
        ("base", [2, 5, 8, 11], 97.2),
        ("large", [4, 11, 17, 23], 334.4),
    ],
)
def test_the_published_sizes(name: str, layers: list[int], parameters: float) -> None:
    section = yaml.safe_load((EXPERIMENTS / f"network/dpt_dinov2_{name}.yaml").read_text())
    with torch.device("meta"):
        network = DPT(classes(21), **section["init_args"] | {"weights": "none"})
    assert network.layers == layers
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(parameters, abs=0.1)
    assert network.multiple == 14
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def test_a_file_of_dinov2_loads_with_its_mask_token(tmp_path: Path) -> None:
    source, target = DPT(classes(3), SMALL, "none"), tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save(source.encoder.state_dict() | {"mask_token": torch.zeros(1, 384)}, target)
    loaded = DPT(classes(3), SMALL, str(target))
    for ours, theirs in zip(loaded.encoder.parameters(), source.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "resnet18"}, "resnet18.*no vision transformer"),
        ({"encoder": "vit_smal_patch14_dinov2"}, "vit_small_patch14_dinov2"),
        ({"encoder_options": {"depht": 3}}, "depht"),
        ({"layers": (0, 1, 2, 6)}, r"\[0, 1, 2, 6\].*0 to 5"),
        ({"layers": (1, 3)}, "four different"),
        ({"channels": (8, 8)}, "channels.*four"),
    ],
)
def test_wrong_arguments_are_named_with_the_remedy(arguments: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        tiny(**arguments)
