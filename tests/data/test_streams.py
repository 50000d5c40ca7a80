import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from layouts import write_camvid
from torch import Tensor

from seglab.data import CamVid
from seglab.data.decode import Files
from seglab.data.files import Item
from seglab.data.geometry import weak_view
from seglab.data.sampling import RareClasses, Shuffled
from seglab.data.streams import Frames, Hidden, Positions, Stream, Truth, frame_loader, stream_loader
from seglab.labels import CAMVID, IGNORE
from seglab.types import SeglabError

CROP = (32, 48)


def labeled(root: Path, seed: int = 0, tag: int = 0) -> Stream:
    return stream_of(CamVid(str(root)).items("train"), seed, tag)


def stream_of(items: list[Item], seed: int, tag: int, name: str = "mask") -> Stream:
    reader = Files(CAMVID)
    return Stream(Shuffled(items, seed, tag), reader, {name: Truth(reader)}, weak_view(CROP, (0.5, 2.0)), seed, tag)


def rare(root: Path, folder: Path) -> Stream:
    """Rare classes and a category cap, so that most crops are drawn several times."""
    law = RareClasses(temperature=0.1, min_pixels=150)
    options = {"rare_classes": law, "category_cap": 0.4, "counts": str(folder)}
    return CamVid(str(root), crop=CROP, **options).stream("labeled", 0)


@pytest.fixture(params=["shuffled", "rare"])
def make(request: pytest.FixtureRequest, camvid: Path, tmp_path: Path) -> Callable[[], Stream]:
    """A new stream of either kind, the same every time."""
    return lambda: labeled(camvid) if request.param == "shuffled" else rare(camvid, tmp_path)


def batches(stream: Stream, positions: Positions, workers: int, count: int) -> list[dict[str, Tensor | list[str]]]:
    return list(itertools.islice(stream_loader(stream, positions, workers), count))


def same(one: dict[str, Tensor | list[str]], other: dict[str, Tensor | list[str]]) -> bool:
    assert one.keys() == other.keys()
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in zip(one.values(), other.values(), strict=True)
    )


def test_samples_are_bytes_with_the_mask_of_their_image(camvid: Path) -> None:
    sample = labeled(camvid)[3]
    assert sample["image"].shape == (3, *CROP)
    assert (sample["image"].dtype, sample["mask"].dtype, sample["valid"].dtype) == (
        torch.uint8,
        torch.uint8,
        torch.bool,
    )
    assert (sample["mask"][~sample["valid"]] == 255).all()
    assert sample["key"].startswith("train_")


@pytest.mark.parametrize("workers", [1, 2])
def test_data_do_not_depend_on_the_number_of_workers(make: Callable[[], Stream], workers: int) -> None:
    stream = make()
    torch.manual_seed(workers)  # nor on the state of the global generator
    for one, other in zip(batches(stream, Positions(4), 0, 6), batches(stream, Positions(4), workers, 6), strict=True):
        assert same(one, other)


def test_data_do_not_depend_on_the_number_of_ranks(make: Callable[[], Stream]) -> None:
    stream = make()
    alone = batches(stream, Positions(4), 0, 5)
    ranks = [batches(stream, Positions(4, rank=rank, world=2), 0, 5) for rank in range(2)]
    for whole, first, second in zip(alone, *ranks, strict=True):
        for name in ("image", "mask", "valid"):
            assert torch.equal(whole[name], torch.stack([first[name], second[name]], 1).flatten(0, 1))
        assert whole["key"] == [key for pair in zip(first["key"], second["key"], strict=True) for key in pair]


def test_a_resumed_stream_goes_on_where_the_first_stopped(make: Callable[[], Stream]) -> None:
    whole = batches(make(), Positions(3), 0, 12)
    resumed = batches(make(), Positions(3, start=7), 2, 5)
    for one, other in zip(whole[7:], resumed, strict=True):
        assert same(one, other)


def test_a_sample_does_not_depend_on_those_before_it(make: Callable[[], Stream]) -> None:
    forward = [make()[i] for i in (40, 3, 17)]
    stream = make()
    backward = [stream[i] for i in (17, 3, 40)][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert same(one, other)


def test_every_pass_visits_every_image_once_in_another_order(camvid: Path) -> None:
    stream = labeled(camvid)
    passes = [[stream.order(lap * 16 + offset).item.key for offset in range(16)] for lap in range(4)]
    assert all(Counter(keys) == Counter(f"train_{i:05d}" for i in range(16)) for keys in passes)
    assert len({tuple(keys) for keys in passes}) == 4


def test_one_image_is_cropped_differently_in_every_pass(camvid: Path) -> None:
    stream = stream_of(CamVid(str(camvid)).items("train")[:1], 0, 0)
    crops = {stream[position]["image"].numpy().tobytes() for position in range(20)}
    assert len(crops) == 20


def test_seeds_and_tags_give_other_orders_and_crops(camvid: Path) -> None:
    streams = [labeled(camvid, *st) for st in ((0, 0), (1, 0), (0, 1), (1, 1))]
    orders = {tuple(stream.order(i).item.key for i in range(16)) for stream in streams}
    assert len(orders) == 4
    one = [stream_of(CamVid(str(camvid)).items("train")[:1], *st) for st in ((0, 0), (1, 0), (0, 1))]
    assert len({stream[0]["image"].numpy().tobytes() for stream in one}) == 3


def test_labeled_and_unlabeled_streams_are_not_in_step(camvid: Path) -> None:
    data = CamVid(str(camvid), crop=CROP)  # all labeled, so both draw from the same images
    one, other = data.stream("labeled", 0), data.stream("unlabeled", 0)
    assert data.labeled_items() == data.unlabeled_items()
    together = sum(one.order(i).item == other.order(i).item for i in range(160))
    assert together < 30  # 10 of 160 by chance


def test_positions_of_the_ranks_make_up_the_global_batch() -> None:
    whole = list(itertools.islice(Positions(6, start=2), 3))
    assert whole[0] == [12, 13, 14, 15, 16, 17]
    for world in (2, 3, 6):
        shares = [itertools.islice(Positions(6, 2, rank, world), 3) for rank in range(world)]
        for batch, *parts in zip(whole, *shares, strict=True):
            assert {len(part) for part in parts} == {6 // world}
            assert sorted(itertools.chain(*parts)) == batch


@pytest.mark.parametrize(("batch", "world", "message"), [(6, 4, "multiple of 4"), (2, 3, "3 ranks"), (0, 1, "empty")])
def test_batches_that_do_not_divide_are_refused(batch: int, world: int, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        Positions(batch, world=world)


def test_a_stream_of_nothing_is_refused() -> None:
    with pytest.raises(SeglabError, match="at least one image"):
        Shuffled([], 0, 0)


# The unlabeled stream


@pytest.mark.parametrize("hidden", [True, False])
def test_unlabeled_samples_never_have_a_mask(camvid: Path, hidden: bool) -> None:
    data = CamVid(str(camvid), labeled="1/4", crop=CROP, hidden_masks=hidden)
    stream = data.stream("unlabeled", 0)
    assert {stream.order(i).item.key for i in range(12)}.isdisjoint(item.key for item in data.labeled_items())
    for position in range(12):
        assert set(stream[position]) == {"image", "valid", "key"} | ({"hidden"} if hidden else set())


def test_no_mask_file_is_opened_for_unlabeled_images(tmp_path: Path) -> None:
    write_camvid(tmp_path, train=8)
    data = CamVid(str(tmp_path), labeled="1/4", crop=CROP, hidden_masks=False)
    before = [data.stream("unlabeled", 0)[i] for i in range(6)]
    for item in data.unlabeled_items():
        item.mask.write_bytes(b"opening this would fail")
    for position, sample in enumerate(before):
        assert same(sample, data.stream("unlabeled", 0)[position])


def test_a_damaged_hidden_mask_is_named_once_and_counts_as_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_camvid(tmp_path, train=8)
    data = CamVid(str(tmp_path), labeled="1/4", crop=CROP)
    before = data.stream("unlabeled", 0)[0]
    assert (before["hidden"] != IGNORE).any()
    for item in data.unlabeled_items():
        item.mask.write_bytes(b"no image")
    stream = data.stream("unlabeled", 0)
    after, *_ = [stream[i] for i in range(12)]  # two passes
    assert (after.pop("hidden") == IGNORE).all()
    assert same(after, {name: value for name, value in before.items() if name != "hidden"})
    frames = Frames(data.unlabeled_items(), Files(CAMVID), {"hidden": Hidden(Files(CAMVID))})
    assert (frames[0]["hidden"] == IGNORE).all()
    error = capsys.readouterr().err
    assert error.count("seglab: warning: no hidden truth of") == 6
    data.unlabeled_items()[0].image.write_bytes(b"no image")
    with pytest.raises(SeglabError, match="not an image"):
        [stream[i] for i in range(6)]


def test_hidden_truth_does_not_change_the_images(tmp_path: Path) -> None:
    write_camvid(tmp_path, train=8)
    views = []
    for _ in range(2):
        data = CamVid(str(tmp_path), labeled="1/4", crop=CROP)
        views.append([data.stream("unlabeled", 0)[i] for i in range(6)])
        for item in data.unlabeled_items():
            if item.mask:
                item.mask.unlink()
    for with_truth, without in zip(*views, strict=True):
        assert "hidden" in with_truth
        assert "hidden" not in without
        assert same({k: v for k, v in with_truth.items() if k != "hidden"}, without)


def test_images_without_truth_are_collated_with_those_that_have_it(camvid: Path) -> None:
    all_items = CamVid(str(camvid)).items("train")
    mixed: list[Item] = [item._replace(mask=None) if i % 2 else item for i, item in enumerate(all_items)]
    stream = stream_of(mixed, 0, 1, "hidden")
    (batch,) = batches(stream, Positions(16), 0, 1)
    bare = [key in {item.key for item in mixed if item.mask is None} for key in batch["key"]]
    assert [bool((hidden == 255).all()) for hidden in batch["hidden"]] == bare


# Whole images


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_frame_is_evaluated_by_one_rank(camvid: Path, world: int) -> None:
    items = CamVid(str(camvid)).items("train")
    masks = {"mask": Truth(Files(CAMVID))}
    loaders = [frame_loader(Frames(items, Files(CAMVID), masks, rank, world), 0) for rank in range(world)]
    frames = [frame for loader in loaders for frame in loader]
    assert Counter(frame["key"][0] for frame in frames) == Counter(item.key for item in items)
    assert all(frame["image"].shape == (1, 3, 64, 96) and frame["mask"].shape == (1, 64, 96) for frame in frames)
    assert np.unique(frames[0]["mask"]).tolist() == [*range(11), 255]


def test_frames_without_masks_have_none(camvid: Path) -> None:
    item = CamVid(str(camvid)).items("val")[0]._replace(mask=None)
    assert set(Frames([item], Files(CAMVID), {"mask": Truth(Files(CAMVID))})[0]) == {"image", "valid", "key"}


# Where a crop comes from


class Ramp(NamedTuple):
    """Images whose red and green say where a pixel of the file, 120 by 160, lies; read at a scale."""

    scale: float

    def image(self, _: Item) -> np.ndarray:
        rows, columns = round(120 * self.scale), round(160 * self.scale)
        image = np.zeros((rows, columns, 3), np.uint8)
        image[..., 0] = ((np.arange(rows) + 0.5) / self.scale)[:, None]
        image[..., 1] = (np.arange(columns) + 0.5) / self.scale
        return image


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_crop_says_where_it_comes_from_if_asked(scale: float) -> None:
    items = [Item("a", Path("a"), None)]
    view = weak_view(CROP, (0.2 / scale, 2.0 / scale))
    stream = Stream(Shuffled(items, 0, 0), Ramp(scale), {}, view, 0, 0)
    assert set(stream[0]) == {"image", "valid", "key"}
    stream.locate(("flip", "mask", "size", "box"))
    seen = set()
    for position in range(30):
        sample = stream[position]
        top, left, height, width = sample["box"].tolist()
        assert sample["size"].tolist() == [120, 160]
        assert sample["box"].dtype == torch.int64
        assert sample["flip"].dtype == torch.bool
        rows = top + (torch.arange(CROP[0]) + 0.5) / CROP[0] * height
        columns = left + (torch.arange(CROP[1]) + 0.5) / CROP[1] * width
        columns = columns.flip(0) if sample["flip"] else columns
        for channel, place in enumerate((rows[:, None], columns)):
            error = (sample["image"][channel] - place).abs()[sample["valid"]]
            assert error.max() < 2 / scale + 1.5, (position, error.max())  # whole numbers of pixels and of colours
        seen.add((bool(sample["flip"]), bool(sample["valid"].all())))
    assert len(seen) >= 3


def test_only_what_a_method_reads_is_collated(camvid: Path) -> None:
    data = CamVid(str(camvid), labeled="1/4", crop=CROP)
    data.require({"labeled": ("mask", "box"), "unlabeled": ("flip",)})
    plain, placed = data.stream("labeled", 0), data.stream("labeled", 0, ("mask", "box", "size"))
    assert set(placed[0]) == {"image", "valid", "key", "mask", "box", "size"}
    assert same(plain[0], {key: value for key, value in placed[0].items() if key not in ("box", "size")})
    (batch,) = batches(placed, Positions(4), 0, 1)
    assert (batch["box"].shape, batch["size"].shape) == ((4, 4), (4, 2))
    assert set(data.stream("unlabeled", 0, ("flip",))[0]) == {"image", "valid", "key", "hidden", "flip"}
