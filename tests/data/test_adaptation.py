"""Few labels of the target beside those of the source."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from probes import EXPERIMENTS

from seglab.cli import main
from seglab.data import GTA5, Cityscapes, DomainAdaptation
from seglab.data.streams import Positions, stream_loader
from seglab.types import SeglabError


def adaptation(gta5: Path, cityscapes: Path, share: int = 1, batch: int = 4, **target: Any) -> DomainAdaptation:
    options = {"labeled": "1/4", "crop": (32, 48)} | target
    source = GTA5(str(gta5), crop=(32, 48), labeled_batch=batch)
    return DomainAdaptation(source, Cityscapes(str(cityscapes), **options), target_labeled_batch=share)


@pytest.mark.parametrize("share", [1, 3])
def test_a_step_has_its_share_of_the_target(gta5: Path, cityscapes: Path, share: int) -> None:
    data = adaptation(gta5, cityscapes, share)
    stream = data.stream("labeled", 0)
    for step in range(6):
        names = [stream.order(4 * step + place).item.key for place in range(4)]
        assert [name[0].isalpha() for name in names] == [True] * share + [False] * (4 - share)
        assert all(stream[4 * step + place]["key"] == name for place, name in enumerate(names))
    seen = [stream.order(i).item.key for i in range(4 * 24)]
    assert {key for key in seen if key[0].isalpha()} == {item.key for item in data.target.labeled_items()}
    assert {key for key in seen if not key[0].isalpha()} == {item.key for item in data.source.labeled_items()}


def test_labels_of_the_target_are_no_unlabeled_images(gta5: Path, cityscapes: Path) -> None:
    data = adaptation(gta5, cityscapes)
    labeled = {item.key for item in data.stream_items("labeled")}
    assert len(labeled) == 8 + 3
    assert len(data.stream_items("unlabeled")) == 6
    assert labeled.isdisjoint(item.key for item in data.stream_items("unlabeled"))


def test_the_same_data_on_any_number_of_ranks(gta5: Path, cityscapes: Path) -> None:
    stream = adaptation(gta5, cityscapes, share=1).stream("labeled", 3)
    alone = list(itertools.islice(stream_loader(stream, Positions(4, start=2), 0), 3))
    ranks = [itertools.islice(stream_loader(stream, Positions(4, 2, rank, 2), 0), 3) for rank in range(2)]
    for whole, first, second in zip(alone, *ranks, strict=True):
        for name in ("image", "mask", "valid"):
            assert torch.equal(whole[name], torch.stack([first[name], second[name]], 1).flatten(0, 1))


def test_impossible_shares_are_refused(gta5: Path, cityscapes: Path) -> None:
    for share in (-1, 4, 5):
        with pytest.raises(SeglabError, match=f"target_labeled_batch {share} of the source's labeled_batch 4"):
            adaptation(gta5, cityscapes, share)
    with pytest.raises(SeglabError, match="their crops are"):
        adaptation(gta5, cityscapes, crop=(16, 16))
    assert len(adaptation(gta5, cityscapes, 0, crop=(16, 16)).stream_items("labeled")) == 8


def test_semi_supervised_adaptation_through_the_command_line(gta5: Path, cityscapes: Path, tmp_path: Path) -> None:
    sides = [f"--data.{side}.{key}" for side in ("source", "target") for key in ("crop=[32,48]", "workers=0")]
    flags = [*sides, f"--data.source.root={gta5}", f"--data.target.root={cityscapes}", "--data.target.labeled=1/4"]
    files = [
        word
        for file in ("benchmark/streets_adaptation", "method/fixmatch")
        for word in ("-c", str(EXPERIMENTS / f"{file}.yaml"))
    ]
    network = ["--network", str(EXPERIMENTS / "network/tiny.yaml"), "--trainer.accelerator=cpu"]
    command = ["fit", *files, *network, *flags, "--trainer.max_steps=2", f"--runs={tmp_path}"]
    assert main([*command, "--data.target_labeled_batch=1"]) == 0
    assert main([*command, "--data.target_labeled_batch=2"]) == 1
