"""Every file of experiments/network builds a network through the configuration system."""

from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from spaces import classes

from seglab.networks import Network, NetworkFactory

FOLDER = Path(__file__).parents[2] / "experiments" / "network"
FILES = sorted(FOLDER.glob("*.yaml"))


def factory(*arguments: str) -> NetworkFactory:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=NetworkFactory, sub_configs=True)
    return parser.instantiate(parser.parse_args(list(arguments))).network


def test_there_are_files() -> None:
    assert FOLDER / "tiny.yaml" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_builds_a_network(path: Path) -> None:
    below = ".network" if "network:" in path.read_text() else ""  # of a network that wraps one
    network = factory(f"--network={path}", f"--network{below}.weights=none")(classes(7)).to("meta").eval()
    assert isinstance(network, Network)
    assert network(torch.rand(1, 3, 65, 97, device="meta")).logits.shape == (1, 7, 65, 97)


def test_each_call_builds_another_network() -> None:
    build = factory("--network=Segmenter", "--network.encoder=test_efficientnet", "--network.weights=none")
    first, second = build(classes(3)), build(classes(3))
    assert not torch.equal(first.head.weight, second.head.weight)


def test_the_tiny_network_is_tiny_and_trains() -> None:
    torch.manual_seed(0)
    network = factory(f"--network={FOLDER / 'tiny.yaml'}")(classes(2))
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000
    image = torch.rand(4, 3, 64, 64)
    mask = (image[:, 0] + image[:, 1] > 1).long()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(network(image).logits, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
