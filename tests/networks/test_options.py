"""What every network has: its options, heads, growing, and training on a single image."""

import re
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from spaces import classes
from torch import Tensor, nn

import seglab.networks
from seglab.labels import label_space
from seglab.networks import FCN, HRDA, Network, NetworkFactory, Segmenter
from seglab.networks.heads import projection_head
from seglab.ops.norm import batch_norms, synchronised
from seglab.ops.teacher import Teacher
from seglab.training.ranks import SyncNorms
from seglab.types import SeglabError

TINY: dict[str, dict[str, Any]] = {
    "CAMNetwork": {"encoder": "test_resnet"},
    "DAFormerNetwork": {"encoder": "test_efficientnet", "width": 16},
    "DPT": {"encoder": "test_vit", "channels": (8, 8, 16, 16), "width": 8},
    "DeepLabV2": {"encoder": "test_resnet"},
    "DeepLabV3Plus": {"encoder": "test_resnet"},
    "FCN": {"encoder": "test_resnet", "skips": (4,)},
    "HRDA": {"window": (32, 32), "width": 8},
    "Plain": {"encoder": "test_resnet"},
    "Segmenter": {"encoder": "test_efficientnet", "decoder_options": {"decoder_channels": 16}},
}
README = Path(seglab.networks.__file__).with_name("README.md")
WITHOUT_BATCH_NORM = {"DPT"}
NORMED = sorted(TINY.keys() - WITHOUT_BATCH_NORM)


def tiny(name: str, number: int = 5, **options: Any) -> Network:
    if name == "HRDA":  # its options are those of the network that it wraps
        return HRDA(classes(number), partial(FCN, weights="none", **TINY["FCN"], **options), **TINY["HRDA"])
    kind = in_readme() if name == "Plain" else getattr(seglab.networks, name)
    return kind(classes(number), weights="none", **TINY[name], **options)


def in_readme() -> type[Network]:
    """The example of the networks' README, which has to keep what it promises."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["Plain"]


def part(key: str) -> str:
    """The first name of a parameter's key, in the network that another one may wrap."""
    return key.removeprefix("network.").split(".")[0]


def images(size: int = 2) -> Tensor:
    return torch.rand(size, 3, 64, 96)


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers() if "running" in name}


def changed(network: nn.Module, run: nn.Module, image: Tensor) -> set[str]:
    """The running statistics of a network that a forward of ``run`` changes."""
    before = statistics(network)
    run(image)
    return {name for name, value in statistics(network).items() if not torch.equal(value, before[name])}


def test_no_network_escapes_these_tests() -> None:
    exported = [getattr(seglab.networks, name) for name in seglab.networks.__all__]
    kinds = {part.__name__ for part in exported if isinstance(part, type) and issubclass(part, Network)}
    assert kinds - {"Network", "NetworkOfRun"} == set(TINY) - {"Plain"}
    assert all(f"`{name}`" in README.read_text() for name in kinds - {"Network"})


@pytest.mark.parametrize("name", sorted(TINY.keys() - {"HRDA", "Plain"}))
def test_the_config_knows_the_options_and_no_inner_argument(name: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=NetworkFactory)
    flags = ["train_norms=frozen", "channel_order=bgr", "projection=8", "aux_weight=0.4", "mean_std=[[0,0,0],[1,1,1]]"]
    config = parser.parse_args([f"--network={name}", *(f"--network.{flag}" for flag in flags)])
    assert (config.network.init_args.aux_weight, config.network.init_args.projection) == (0.4, 8)
    for inner in ("encoder_mean_std=[[0,0,0],[1,1,1]]", "multiple=8", "minimum=8", "space=x"):
        with pytest.raises(Exception, match=inner.partition("=")[0]):
            parser.parse_args([f"--network={name}", f"--network.{inner}"])


@pytest.mark.parametrize("name", TINY)
def test_the_auxiliary_head_sees_the_stage_before_the_last(name: str) -> None:
    network = tiny(name, aux_weight=0.4)
    output = network(images())
    side = output.side["aux"]
    assert (side.weight, side.window, side.on_pseudo) == (0.4, None, False)
    assert list(network.eval()(images()).side) == ["aux"]
    assert side.logits.shape == output.logits.shape == (2, 5, 64, 96)
    assert tiny(name).eval()(images()).side == {}
    side.logits.square().mean().backward()
    learning = {part(key) for key, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning == {"encoder", "heads"}


@pytest.mark.parametrize("name", TINY)
def test_the_projection_has_unit_norm_and_trains_the_encoder(name: str) -> None:
    network = tiny(name, projection=8)
    output = network(images())
    projection = output.aux["projection"]
    assert projection.shape == (2, 8, *output.features.shape[-2:])
    torch.testing.assert_close(projection.norm(dim=1), torch.ones_like(projection[:, 0]))
    projection[:, 0].sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.encoder.parameters())


@pytest.mark.parametrize("name", TINY)
def test_the_input_is_normalised_with_other_numbers_and_blue_first(name: str) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    image = images()
    own, other = tiny(name), tiny(name, mean_std=(mean, std), channel_order="bgr")
    expected = ((image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))[:, [2, 1, 0]]
    torch.testing.assert_close(other.prepare(image)[..., :64, :96], expected)
    torch.testing.assert_close(own.prepare(image)[..., :64, :96], (image - own.mean) / own.std)
    other.load_state_dict(own.state_dict())
    assert not torch.equal(own.eval()(image).logits, other.eval()(image).logits)


@pytest.mark.parametrize("name", NORMED)
@pytest.mark.parametrize("train_norms", ["all", "affine_fixed", "frozen"])
def test_what_training_changes_in_the_encoders_normalisation(name: str, train_norms: str) -> None:
    network = tiny(name, train_norms=train_norms).train()
    inside = {key for key in changed(network, network, images()) if part(key) == "encoder"}
    assert inside == (set() if train_norms == "frozen" else {k for k in statistics(network) if part(k) == "encoder"})
    norms = {id(p) for norm in batch_norms(network.encoder) for p in norm.parameters()}
    for parameter in network.parameters():
        assert parameter.requires_grad == (train_norms == "all" or id(parameter) not in norms)


@pytest.mark.parametrize("name", NORMED)
def test_frozen_normalisation_stays_so_in_copies_teachers_and_on_many_ranks(name: str) -> None:
    network = tiny(name, train_norms="frozen")
    network.eval().train()
    live = Teacher(tiny(name), batch_statistics=True).train()
    assert any(part(key) == "encoder" for key in changed(live.network, live, images()))
    teacher = Teacher(network, batch_statistics=True).train()
    for copy, run in ((deepcopy(network).train(), None), (teacher.network, teacher)):
        assert not any(part(key) == "encoder" for key in changed(copy, run or copy, images()))
    together = synchronised(deepcopy(network), torch.device("cpu"))
    assert not any(norm.training for norm in batch_norms(together.encoder))
    assert not any(norm.training for norm in batch_norms(together.train().encoder))
    assert {norm.training for norm in batch_norms(together)} == {norm.training for norm in batch_norms(network)}


@pytest.mark.parametrize("name", sorted(WITHOUT_BATCH_NORM))
@pytest.mark.parametrize("train_norms", ["affine_fixed", "frozen"])
def test_there_must_be_batch_normalisation_to_fix(name: str, train_norms: str) -> None:
    with pytest.raises(SeglabError, match=rf"network\.train_norms is {train_norms}.*no batch normalisation"):
        tiny(name, train_norms=train_norms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projection": -1}, "network.projection is -1"),
        ({"aux_weight": -0.1}, "network.aux_weight is -0.1"),
        ({"mean_std": ((0.5, 0.5, 0.5), (1, 0, 1))}, "network.mean_std"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        tiny("FCN", **options)


@pytest.mark.parametrize("name", TINY)
def test_growing_keeps_the_old_classes_wherever_they_go(name: str) -> None:
    network, image = tiny(name, 3, aux_weight=0.4, projection=4), images()
    for head in network.classifiers():
        for parameter in head.parameters():
            nn.init.normal_(parameter)
    before = network.eval()(image)
    network.grow(label_space(["new", "c2", "c0", "other", "c1"]))
    after = network.eval()(image)
    assert network.space.num_classes == after.logits.shape[1] == after.side["aux"].logits.shape[1] == 5
    for old, new in ((before.logits, after.logits), (before.side["aux"].logits, after.side["aux"].logits)):
        torch.testing.assert_close(new[:, [2, 4, 1]], old, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.features, before.features)
    torch.testing.assert_close(after.aux["projection"], before.aux["projection"])
    (after.logits[:, 0].mean() + after.side["aux"].logits[:, 3].mean()).backward()
    assert not torch.equal(after.logits[:, 0], after.logits[:, 3])
    with pytest.raises(SeglabError, match=r"lack.*other"):
        network.grow(label_space(["c0", "c1", "c2", "new", "c5"]))


@pytest.mark.parametrize("name", TINY)
def test_a_head_that_a_method_adds_is_copied_and_found_outside_the_encoder(name: str) -> None:
    network = tiny(name)
    network.heads["extra"] = projection_head(network.feature_channels, 4)
    assert deepcopy(network).heads["extra"](network(images()).features).shape[1] == 4
    assert any(key.removeprefix("network.").startswith("heads.extra.") for key in network.state_dict())


@pytest.mark.parametrize("name", TINY)
def test_a_single_image_trains(name: str) -> None:
    network = tiny(name, aux_weight=0.4).train()
    output = network(images(1))
    (output.logits.square().mean() + output.side["aux"].logits.square().mean()).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("decoder", ["DeepLabV3", "DeepLabV3Plus", "PAN", "PSPNet", "UPerNet"])
def test_a_norm_behind_global_pooling_takes_its_running_statistics_for_a_single_image(decoder: str) -> None:
    network = Segmenter(classes(5), decoder, "test_efficientnet", "none").train()
    one, two = torch.rand(1, 3, 128, 128), torch.rand(2, 3, 128, 128)
    outside = {name for name in statistics(network) if not name.startswith("encoder.")}
    kept = outside - changed(network, network, one)
    assert bool(kept) == (decoder != "PSPNet"), "smp leaves out the norm there"
    assert outside <= changed(network, network, two)
    network(one).logits.square().mean().backward()
    assert all(p.grad is not None for p in network.decoder.parameters())


def test_one_rank_has_nothing_to_synchronise_and_trains_on_a_single_image() -> None:
    network = tiny("DeepLabV3Plus")
    network.trainer = SimpleNamespace(world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu")))
    assert SyncNorms().apply(network) is network
    network.trainer.world_size = 2
    norms = {type(norm).__name__ for norm in batch_norms(SyncNorms().apply(network))}
    assert norms == {"SyncBatchNormOnCPU"}
