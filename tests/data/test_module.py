"""What a method may read of its data, and passes over whole streams."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from layouts import write_camvid

from seglab.data import GTA5, CamVid, Cityscapes, DataSet, DomainAdaptation
from seglab.data.files import Item
from seglab.data.streams import Feed
from seglab.types import SeglabError


class Tagged(CamVid):
    """CamVid with a stream of its own beside the two of every data set."""

    @property
    def streams(self) -> dict[str, Feed]:
        (part,) = super().streams["labeled"].parts
        return super().streams | {"tagged": Feed("tagged_batch", (part._replace(batch=3, tag=7, items=self.few),))}

    def few(self) -> list[Item]:
        return self.items("train")[:2]


def one_pass(data: DataSet | DomainAdaptation, stream: str, rank: int = 0, world: int = 1) -> list[dict]:
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world)
    return list(data.one_pass(stream))


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ({"captioned": ("text",)}, r"text of stream 'captioned': CamVid gives labeled \(mask\) and unlabeled \(\)"),
        ({"other": ()}, r"images of stream 'other': CamVid gives .*: choose data"),
        ({"unlabeled": ("mask",)}, "mask of stream 'unlabeled'"),
        ({"unlabeled": ("hidden",)}, "hidden of stream 'unlabeled'"),
        ({"unlabeled": ("pseudo",)}, "pseudo of stream 'unlabeled': .*seglab pseudo-label.*set pseudo_labels"),
    ],
)
def test_what_data_do_not_give_is_named(camvid: Path, reads: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        CamVid(str(camvid)).batches({"labeled": ("mask",), **reads})


def test_what_data_give_may_be_read(camvid: Path) -> None:
    data = Tagged(str(camvid), pseudo_labels="folder", labeled_batch=2)
    reads = {"labeled": ("mask", "valid"), "unlabeled": ("pseudo",), "tagged": ("mask",)}
    assert data.batches(reads) == {"labeled_batch": 2, "unlabeled_batch": 4, "tagged_batch": 3}
    assert data.batches({"tagged": ()}) == {"tagged_batch": 3}


def test_a_stream_of_any_name_is_trained_on(camvid: Path) -> None:
    data = Tagged(str(camvid), crop=(32, 48), workers=0)
    data.trainer = SimpleNamespace(
        global_step=0, accumulate_grad_batches=1, global_rank=0, world_size=1,
        lightning_module=SimpleNamespace(reads={"tagged": ("mask",), "unlabeled": ()}),
    )  # fmt: skip
    batch = next(iter(data.train_dataloader()))[0]
    assert {name: len(sample["key"]) for name, sample in batch.items()} == {"unlabeled": 4, "tagged": 3}
    assert "mask" in batch["tagged"]


def test_an_adaptation_names_the_side_of_each_batch(gta5: Path, cityscapes: Path) -> None:
    data = DomainAdaptation(GTA5(str(gta5), labeled_batch=3), Cityscapes(str(cityscapes), unlabeled_batch=5))
    assert data.batches({"labeled": ("mask",), "unlabeled": ()}) == {
        "source.labeled_batch": 3,
        "target.unlabeled_batch": 5,
    }


def test_one_pass_shows_each_image_once_over_all_ranks(tmp_path: Path) -> None:
    root = write_camvid(tmp_path, train=7)
    data = CamVid(str(root), labeled="1/2", workers=0, crop=(16, 16))
    whole = one_pass(data, "labeled")
    assert [sample["key"][0] for sample in whole] == [item.key for item in data.labeled_items()]
    assert all(sample["image"].shape == (1, 3, 64, 96) and sample["valid"].all() for sample in whole)
    assert all(sample["mask"].shape == (1, 64, 96) for sample in whole)
    parts = [one_pass(data, "labeled", rank, 3) for rank in range(3)]
    assert [len(part) for part in parts] == [2, 1, 1]
    assert sorted(sample["key"][0] for part in parts for sample in part) == [sample["key"][0] for sample in whole]


def test_one_pass_over_unlabeled_images_has_no_truth_unless_it_is_asked_for(camvid: Path) -> None:
    data = CamVid(str(camvid), labeled="1/4", workers=0)
    assert {key for sample in one_pass(data, "unlabeled") for key in sample} == {"image", "valid", "key"}
    some = set(data.unlabeled_items()[1:3])
    shown = list(data.one_pass("unlabeled", some, hidden=True))
    assert [sample["key"][0] for sample in shown] == sorted(item.key for item in some)
    assert all("hidden" in sample for sample in shown)
    quiet = CamVid(str(camvid), labeled="1/4", workers=0, hidden_masks=False)
    assert all("hidden" not in sample for sample in quiet.one_pass("unlabeled", hidden=True))


def test_one_pass_over_labels_of_both_sides(gta5: Path, cityscapes: Path) -> None:
    source, target = GTA5(str(gta5)), Cityscapes(str(cityscapes), labeled="1/3", workers=0)
    data = DomainAdaptation(source, target, target_labeled_batch=1)
    seen = one_pass(data, "labeled")
    expected = {item.key for side in (source, target) for item in side.labeled_items()}
    assert {sample["key"][0] for sample in seen} == expected
    assert len(seen) == len(expected) == len(data.stream_items("labeled"))
    assert all(sample["mask"].dtype == torch.uint8 for sample in seen)
