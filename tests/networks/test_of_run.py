"""The network of a run, and beginning with its student: through real runs of two steps."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from probes import config, fit_command, only_run, weights

from seglab.cli import main
from seglab.labels import CAMVID, label_space
from seglab.networks import Network, NetworkFactory, NetworkOfRun, Segmenter
from seglab.networks.heads import projection_head
from seglab.networks.of_run import load_network
from seglab.types import SeglabError

WITH_HEADS = ("--network.aux_weight", "0.4", "--network.projection", "4", "--network.train_norms", "frozen")


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    assert main(fit_command("fixmatch", camvid, runs, 2, *WITH_HEADS)) == 0
    return only_run(runs)


def tiny(run: Path, **options: Any) -> Segmenter:
    return Segmenter(CAMVID, **config(run)["network"]["init_args"] | options)


@pytest.mark.parametrize("which", ["student", "teacher"])
@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_a_config_names_the_network_of_a_run(run: Path, which: str, checkpoint: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=NetworkFactory)
    section = {"class_path": "NetworkOfRun", "init_args": {"run": str(run), "which": which, "checkpoint": checkpoint}}
    build = parser.instantiate(parser.parse_object({"network": section})).network
    network, state = build(CAMVID), weights(run, checkpoint)
    assert type(network) is Segmenter
    assert (network.aux_weight, network.train_norms, network.space) == (0.4, "frozen", CAMVID)
    prefix = {"student": "student.", "teacher": "teacher.network."}[which]
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[prefix + name]), name
    assert set(network.heads) == {"projection", "aux"}


def test_a_later_run_trains_the_network_of_a_run(run: Path, camvid: Path, tmp_path: Path) -> None:
    flags = [
        "--network",
        "NetworkOfRun",
        "--network.run",
        str(run),
        "--network.which",
        "teacher",
        "--optimizer.lr",
        "0",
    ]
    assert main(fit_command("supervised", camvid, tmp_path, 1, *flags)) == 0
    state, source = weights(only_run(tmp_path)), weights(run)
    names = [name for name in state if name.startswith("student.") and "running" not in name and "num_" not in name]
    assert names
    assert all(torch.equal(state[name], source[name.replace("student.", "teacher.network.", 1)]) for name in names)
    again: Network = NetworkOfRun(CAMVID, str(only_run(tmp_path)))  # the network of a run of the network of a run
    assert torch.equal(again.head.weight, state["student.head.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": label_space(CAMVID.names[::-1])}, r"has the classes sky, .* network is to have bicyclist"),
        ({"space": label_space(CAMVID.names[:-1])}, "has the classes sky"),
        ({"run": "absent"}, "absent is not a run directory"),
    ],
)
def test_what_does_not_fit_is_refused(run: Path, arguments: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        NetworkOfRun(**{"space": CAMVID, "run": str(run)} | arguments)


def test_a_checkpoint_that_is_not_there_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(SeglabError, match=r"network.checkpoint is best: .*best.ckpt does not exist"):
        NetworkOfRun(CAMVID, str(tmp_path), checkpoint="best")


def test_a_method_without_teacher_has_none_to_take(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 1)) == 0
    with pytest.raises(SeglabError, match="has no teacher"):
        NetworkOfRun(CAMVID, str(only_run(tmp_path)), "teacher")


def test_heads_that_one_side_lacks_are_left_out_and_named(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = tiny(run, projection=0)
    network.heads["extra"] = projection_head(network.feature_channels, 3)
    extra = network.heads["extra"][0].weight.clone()
    with caplog.at_level(logging.WARNING):
        assert load_network(network, str(run / "checkpoints/last.ckpt")) == ["extra", "projection"]
    assert "extra, projection" in caplog.text
    state = weights(run)
    assert torch.equal(network.heads["extra"][0].weight, extra)
    for name in ("head.weight", "heads.aux.1.weight"):
        assert torch.equal(network.state_dict()[name], state[f"student.{name}"])


@pytest.mark.parametrize(
    ("options", "named"),
    [({"projection": 5}, "heads.projection"), ({"decoder_options": {"decoder_channels": 16}}, "decoder")],
)
def test_everything_else_must_fit(run: Path, options: dict, named: str) -> None:
    with pytest.raises(SeglabError, match=f"another network.*{named}"):
        load_network(tiny(run, **options), str(run / "checkpoints/last.ckpt"))


def test_a_grown_network_begins_with_the_old_classes_of_a_run(run: Path) -> None:
    network: Network = NetworkOfRun(CAMVID, str(run))
    network.grow(label_space([*CAMVID.names, "train"]))
    assert torch.equal(network.head.weight[:11], weights(run)["student.head.weight"])
    assert network.head.weight.shape[0] == network.head.out_channels == 12
