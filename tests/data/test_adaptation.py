"""Few labels of the target beside those of the source."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from probes import EXPERIMENTS

from seglab.cli import main
from seglab.data import GTA5, SYNTHIA, Cityscapes, DomainAdaptation
from seglab.data.streams import Positions, stream_loader
from seglab.labels import Taxonomy
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


# Different classes


def test_what_a_source_label_may_be(gta5: Path, cityscapes: Path) -> None:
    names = ("flat", "car", "nature", "tower")
    mapping = {"road": "flat", "sidewalk": "flat", "car": "car", "vegetation": "nature", "pole": "tower"}
    source = GTA5(str(gta5), crop=(32, 48), taxonomy=Taxonomy(names, mapping))
    target = Cityscapes(str(cityscapes), crop=(32, 48))
    refines = {"flat": ["road", "sidewalk"], "nature": ["vegetation", "terrain"]}
    data = DomainAdaptation(source, target, refines=refines)
    assert data.space is target.space
    assert data.source.space.names == target.space.names
    seen = {int(k) for position in range(12) for k in data.stream("labeled", 0)[position]["mask"].unique()}
    assert seen <= {0, 8, 13, 255}  # road, vegetation, car; tower is no class of the target
    assert {0, 255} <= seen
    may = data.may_become
    assert may.shape == (256, 19)
    assert [may[k].nonzero()[0].tolist() for k in (0, 8, 13, 1)] == [[0, 1], [8, 9], [13], []]
    told = {0, 1, 8, 9, 13}
    assert set(may[255].nonzero()[0].tolist()) == set(range(19)) - told
    with pytest.raises(SeglabError, match="the method needs one list"):
        data.require({"labeled": ("mask",)})
    data.require({"labeled": ("mask", "domain")}, adapts_classes=True)


def test_synthia_lacks_three_classes_by_itself(synthia: Path, cityscapes: Path) -> None:
    data = DomainAdaptation(SYNTHIA(str(synthia)), Cityscapes(str(cityscapes)))
    assert [data.space.names[k] for k in data.may_become[255].nonzero()[0]] == ["terrain", "truck", "train"]
    data.require({"labeled": ("mask",)})


@pytest.mark.parametrize(
    ("refines", "message"),
    [
        ({"moon": ["road"]}, "give classes of the source"),
        ({"road": ["moon"]}, "and for each one or more of the target"),
        ({"road": []}, "one or more"),
        ({"road": ["sidewalk", "road"]}, "two classes of the source become sidewalk"),
    ],
)
def test_refinements_that_do_not_fit(gta5: Path, cityscapes: Path, refines: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        DomainAdaptation(GTA5(str(gta5)), Cityscapes(str(cityscapes)), refines=refines)


def test_samples_say_of_which_domain_they_are(gta5: Path, cityscapes: Path) -> None:
    stream = adaptation(gta5, cityscapes, share=1, batch=3).stream("labeled", 0, ("domain",))
    assert [int(stream[position]["domain"]) for position in range(6)] == [1, 0, 0, 1, 0, 0]
