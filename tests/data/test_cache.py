"""The decoded cache: the same crops as from the files, whole after a kill, refused when it no longer fits."""

import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import FOLDER, write_camvid, write_folder, write_gta5
from PIL import Image
from probes import EXPERIMENTS, ROOT, fit_command

from seglab.cli import main
from seglab.data import GTA5, CamVid, Cityscapes, DomainAdaptation, Folder
from seglab.data.cache import Cache, load_index, verify_cache, write_cache
from seglab.data.decode import read_pair, scaled_size
from seglab.data.geometry import resize_image, resize_mask
from seglab.data.streams import Positions, stream_loader
from seglab.labels import CAMVID, CITYSCAPES, LabelSpace, Taxonomy
from seglab.types import SeglabError

CROP = (32, 48)


def build(root: Path, folder: Path, **options: Any) -> Path:
    data = CamVid(str(root))
    items = [item for split in ("train", "val", "test") for item in data.items(split)]
    write_cache(items, root, data.own_space, folder, **options)
    return folder


@pytest.fixture(scope="module")
def cached(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(camvid, tmp_path_factory.mktemp("cache"), shard_bytes=100_000)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(one.values(), other.values(), strict=True)
    )


# The same data


@pytest.mark.parametrize("name", ["labeled", "unlabeled"])
def test_crops_equal_those_of_the_files_bit_for_bit(camvid: Path, cached: Path, name: str) -> None:
    plain = CamVid(str(camvid), labeled="1/4", crop=CROP).stream(name, 0)
    fast = CamVid(str(camvid), labeled="1/4", crop=CROP, cache=str(cached)).stream(name, 0)
    assert len(list(cached.glob("shard_*.bin"))) > 2
    assert all(equal(plain[position], fast[position]) for position in range(40))


def test_worker_processes_and_pickles_read_it_too(camvid: Path, cached: Path) -> None:
    stream = CamVid(str(camvid), crop=CROP, cache=str(cached)).stream("labeled", 0)
    alone = list(itertools.islice(stream_loader(stream, Positions(4), 0), 6))  # maps the shards before the fork
    forked = list(itertools.islice(stream_loader(stream, Positions(4), 2), 6))
    assert all(equal(one, other) for one, other in zip(alone, forked, strict=True))
    content = pickle.dumps(stream)
    assert len(content) < 50_000  # the index, not the pixels
    assert equal(pickle.loads(content)[3], stream[3])


def test_a_spawned_process_reads_it(camvid: Path, cached: Path) -> None:
    stream = CamVid(str(camvid), crop=CROP, cache=str(cached)).stream("labeled", 0)
    loader = torch.utils.data.DataLoader(
        stream, batch_sampler=[[0, 1]], num_workers=1, multiprocessing_context="spawn"
    )  # as on systems without fork
    (batch,) = loader
    assert torch.equal(batch["image"][1], stream[1]["image"])


def test_arrays_can_be_written_to_and_the_file_stays(camvid: Path, cached: Path) -> None:
    item = CamVid(str(camvid)).items("train")[0]
    Cache(cached, camvid, CAMVID).image(item)[:] = 0
    assert Cache(cached, camvid, CAMVID).image(item).any()


def test_training_and_validation_read_the_cache(cached: Path, camvid: Path, tmp_path: Path) -> None:
    scores = []
    for runs, flags in (("files", []), ("cache", ["--data.cache", str(cached)])):
        assert main(fit_command("fixmatch", camvid, tmp_path / runs, 2, *flags)) == 0
        (summary,) = (tmp_path / runs).glob("*/*/*/summary.json")
        scores.append(json.loads(summary.read_text())["last"])
    assert scores[0] == scores[1]


def test_images_without_masks_and_a_split_of_one_set(folder: Path, tmp_path: Path) -> None:
    flags = ["--data", "Folder", "--data.root", str(folder)]
    for key in ("images", "masks", "classes", "ids", "void"):
        flags += [f"--data.{key}", json.dumps(FOLDER[key]) if not isinstance(FOLDER[key], str) else FOLDER[key]]
    assert main(["data", "cache", *flags, "--output", str(tmp_path / "c")]) == 0
    plain, fast = (Folder(str(folder), **FOLDER, crop=CROP, cache=cache) for cache in ("", str(tmp_path / "c")))
    for name in ("labeled", "unlabeled"):
        assert all(equal(plain.stream(name, 0)[i], fast.stream(name, 0)[i]) for i in range(12))


def test_the_two_sides_of_an_adaptation_have_their_own(
    cityscapes: Path, gta5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = EXPERIMENTS / "benchmark/streets_adaptation.yaml"
    roots = ["--data.source.root", str(gta5), "--data.target.root", str(cityscapes)]
    assert main(["data", "cache", "-c", str(benchmark), *roots, "--output", str(tmp_path)]) == 0
    assert f"--data.source.cache {tmp_path / 'source'}" in capsys.readouterr().out
    assert (len(load_index(tmp_path / "source").entries), len(load_index(tmp_path / "target").entries)) == (8, 14)
    plain, fast = (
        DomainAdaptation(
            GTA5(str(gta5), crop=CROP, cache=str(tmp_path / "source") if use else ""),
            Cityscapes(str(cityscapes), crop=CROP, cache=str(tmp_path / "target") if use else ""),
        )
        for use in (False, True)
    )
    for name in ("labeled", "unlabeled"):
        assert all(equal(plain.stream(name, 0)[i], fast.stream(name, 0)[i]) for i in range(12))
    assert isinstance(fast.evaluated.reader(fast.evaluation_items("val"), evaluation=True), Cache)


def test_one_cache_serves_every_taxonomy(cityscapes: Path, tmp_path: Path) -> None:
    data = Cityscapes(str(cityscapes))
    write_cache(data.items("train"), data.root, data.own_space, tmp_path)
    coarse = Taxonomy(("ground", "rest"), {"road": "ground", "sidewalk": "ground", "car": "rest", "sky": "rest"})
    plain, fast = (Cityscapes(str(cityscapes), crop=CROP, taxonomy=coarse, cache=c) for c in ("", str(tmp_path)))
    stream = fast.stream("labeled", 0)
    assert all(equal(plain.stream("labeled", 0)[i], stream[i]) for i in range(12))
    assert set(torch.cat([stream[i]["mask"].flatten() for i in range(12)]).tolist()) == {0, 1, 255}


# Downscaled


def test_a_downscaled_cache_shows_the_same_part_of_the_scene(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "camvid", train=4, size=(192, 128))
    folder = build(root, tmp_path / "half", scale=0.5)
    assert {(entry.height, entry.width) for entry in load_index(folder).entries} == {(64, 96)}
    plain, half = (CamVid(str(root), crop=CROP, scale=(0.4, 0.5), cache=c) for c in ("", str(folder)))
    one, other = plain.stream("labeled", 0), half.stream("labeled", 0)
    agree, gap = [], []
    for position in range(24):
        a, b = one[position], other[position]
        assert a["valid"].float().mean().item() == pytest.approx(b["valid"].float().mean().item(), abs=0.05)
        agree.append((a["mask"] == b["mask"]).float().mean().item())
        gap.append((a["image"].float() - b["image"].float()).abs().mean().item())
    assert np.mean(agree) > 0.85  # offsets are whole pixels of what is stored
    assert np.mean(gap) < 25
    assert half.stream("labeled", 0).view.transforms[0].scale == (0.8, 1.0)


@pytest.mark.parametrize("scale", [0.5, 0.7])
def test_a_downscaled_cache_holds_what_crops_and_evaluation_see_at_its_scale(
    camvid: Path, tmp_path: Path, scale: float
) -> None:
    data = CamVid(str(camvid), crop=CROP, cache=str(build(camvid, tmp_path / "small", scale=scale)))
    item = data.items("train")[0]
    image, mask = read_pair(item, CAMVID)
    size, reader = scaled_size(image.shape, scale), data.reader([item])
    assert np.array_equal(reader.image(item), resize_image(image, size))
    assert np.array_equal(reader.labels(item), resize_mask(mask, size))


@pytest.mark.parametrize(("scale", "fits"), [(1.0, True), (0.5, False)])
def test_of_the_first_version_only_full_size_is_read(camvid: Path, tmp_path: Path, scale: float, fits: bool) -> None:
    path = build(camvid, tmp_path / "cache", scale=scale) / "cache.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    if fits:
        assert load_index(path.parent).scale == scale
    else:
        with pytest.raises(SeglabError, match="of another version"):
            load_index(path.parent)


def test_evaluation_stays_on_the_files_of_a_downscaled_cache(
    camvid: Path, cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", "CamVid", "--data.root", str(camvid), "--output", str(tmp_path / "half"), "--scale", "0.5"]
    assert main(["data", "cache", *flags]) == 0
    assert len(load_index(tmp_path / "half").entries) == 16  # no val, no test
    half, full = (CamVid(str(camvid), crop=CROP, cache=str(c)) for c in (tmp_path / "half", cached))
    item = half.items("val")[0]
    for data in (half, full):
        image, mask = (getattr(data.reader([item], evaluation=True), name)(item) for name in ("image", "labels"))
        assert all(np.array_equal(a, b) for a, b in zip((image, mask), read_pair(item, CAMVID), strict=True))
    half.stream("labeled", 0)
    assert "crops at scales up to 2.0 are enlarged" in capsys.readouterr().err


def test_pseudo_labels_of_the_files_fit_a_downscaled_cache(camvid: Path, tmp_path: Path) -> None:
    folder, labels = build(camvid, tmp_path / "half", scale=0.5), tmp_path / "labels"
    labels.mkdir()
    data = CamVid(str(camvid), labeled="1/4", crop=CROP, cache=str(folder), pseudo_labels=str(labels))
    for item in data.unlabeled_items():
        Image.fromarray(read_pair(item, CAMVID)[1]).save(labels / f"{item.key}.png")
    description = {"classes": list(CAMVID.names), "thresholds": {}, "run": "", "checkpoint": ""}
    (labels / "pseudo_labels.json").write_text(json.dumps(description))
    stream = data.stream("unlabeled", 0)
    for position in range(8):
        sample = stream[position]
        assert (sample["pseudo"] == sample["hidden"]).float().mean() > 0.99


# Interrupted, updated, damaged


def test_a_killed_run_is_finished_by_the_next(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "camvid", train=120, size=(480, 360))
    folder = tmp_path / "cache"
    script = (
        "import sys; from pathlib import Path; from seglab.data import CamVid;"
        "from seglab.data.cache import write_cache;"
        "root, folder = map(Path, sys.argv[1:]); data = CamVid(str(root));"
        "write_cache(data.items('train'), root, data.own_space, folder, workers=1, shard_bytes=4_000_000)"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", script, str(root), str(folder)], env=env)
    while len(list(folder.glob("shard_*.json"))) < 3:
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder / "shard_00077.bin").write_bytes(b"no index names it")
    with pytest.raises(SeglabError, match=r"cache is unfinished .*seglab data cache"):
        CamVid(str(root), cache=str(folder)).stream("labeled", 0)

    data = CamVid(str(root))
    whole = len(list(folder.glob("shard_*.json")))
    assert write_cache(data.items("train"), root, CAMVID, folder, shard_bytes=4_000_000) <= 120 - 6 * whole
    assert verify_cache(folder) == 120
    index = load_index(folder)
    assert {path.name for path in folder.glob("[!.]*")} == {"cache.json", *(entry.shard for entry in index.entries)}
    cache = Cache(folder, root, CAMVID)
    for item in data.items("train")[::7]:
        image, mask = read_pair(item, CAMVID)
        assert np.array_equal(cache.image(item), image)
        assert np.array_equal(cache.labels(item), mask)


def test_an_update_decodes_what_changed_and_nothing_else(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "camvid")
    folder = build(root, tmp_path / "cache", shard_bytes=1)
    data = CamVid(str(root), cache=str(folder), crop=CROP)
    changed, removed = root / "train/train_00003.png", root / "train/train_00009.png"
    Image.new("RGB", (96, 64), (1, 2, 3)).save(changed)
    os.utime(changed, (1, 1))
    with pytest.raises(SeglabError, match=r"1 images .* have changed since .*train_00003.png.*seglab data cache"):
        data.stream("labeled", 0)
    removed.unlink()
    Image.new("RGB", (96, 64)).save(root / "train/train_00099.png")
    Image.new("L", (96, 64)).save(root / "trainannot/train_00099.png")
    items = CamVid(str(root)).items("train")
    assert write_cache(items, root, CAMVID, folder) == 2
    assert (Cache(folder, root, CAMVID).image(items[3]) == (1, 2, 3)).all()
    assert verify_cache(folder) == 16  # val and test were not asked for again, the removed image is gone
    assert len(list(folder.glob("shard_*.bin"))) == 14 + 1


@pytest.mark.parametrize("change", ["size", "mask", "time"])
def test_a_stale_cache_is_refused(tmp_path: Path, change: str) -> None:
    root = write_camvid(tmp_path / "camvid")
    folder = build(root, tmp_path / "cache")
    path = root / ("trainannot" if change == "mask" else "train") / "train_00000.png"
    if change == "time":
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))
    else:
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SeglabError, match=r"1 images or their masks have changed .*train_00000.png.*--output"):
        CamVid(str(root), cache=str(folder)).stream("labeled", 0)


def test_a_cache_moves_with_or_without_its_data_set(camvid: Path, cached: Path, tmp_path: Path) -> None:
    shutil.copytree(camvid, tmp_path / "data")  # keeps times, as rsync -a and tar do
    shutil.copytree(cached, tmp_path / "cache")
    moved = CamVid(str(tmp_path / "data"), crop=CROP, cache=str(tmp_path / "cache")).stream("labeled", 0)
    assert equal(moved[5], CamVid(str(camvid), crop=CROP).stream("labeled", 0)[5])


def test_missing_images_and_other_data_sets_are_refused(camvid: Path, cached: Path, tmp_path: Path) -> None:
    other = write_camvid(tmp_path / "other", train=18)
    with pytest.raises(SeglabError, match=r"lacks 2 of 18 images: .*If this is the cache of the data set"):
        CamVid(str(other), cache=str(cached)).stream("labeled", 0)
    with pytest.raises(SeglabError, match=r"empty holds no cache"):
        CamVid(str(camvid), cache=str(tmp_path / "empty")).stream("labeled", 0)


def test_another_label_space_is_refused(camvid: Path, cached: Path, tmp_path: Path) -> None:
    finer = LabelSpace(("a", "b"), ((0, 0, 0), (1, 1, 1)), {11: 0, 255: 1}, void=tuple(range(11)))  # parts the void ids
    with pytest.raises(SeglabError, match=r"another label space, which makes one class of the ids \[11, 255\]"):
        Cache(cached, camvid, finer)
    with pytest.raises(SeglabError, match="holds a cache of another label space: choose another --output"):
        write_cache(CamVid(str(camvid)).items("val"), camvid, CITYSCAPES, cached)
    with pytest.raises(SeglabError, match=r"holds a cache of scale 1.0: choose another"):
        write_cache(CamVid(str(camvid)).items("val"), camvid, CAMVID, cached, scale=0.5)


def test_truncated_and_flipped_shards_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_camvid(tmp_path / "camvid")
    folder = build(root, tmp_path / "cache")
    flags = ["data", "cache", "--data", "CamVid", "--data.root", str(root), "--output", str(folder)]
    assert main([*flags, "--verify", "true"]) == 0
    assert "22 entries are sound" in capsys.readouterr().out
    shard = folder / "shard_00000.bin"
    content = bytearray(shard.read_bytes())
    content[30_000] ^= 1
    shard.write_bytes(content)
    assert main([*flags, "--verify", "true"]) == 1
    assert "1 of 22 entries" in capsys.readouterr().err
    shard.write_bytes(content[:-1])
    with pytest.raises(SeglabError, match=r"truncated: shard_00000.bin"):
        CamVid(str(root), cache=str(folder)).stream("labeled", 0)
    (folder / "cache.json").write_text("{")
    with pytest.raises(SeglabError, match=r"cache.json is damaged: remove"):
        CamVid(str(root), cache=str(folder)).stream("labeled", 0)


def test_it_asks_for_its_place_first(
    tmp_path: Path, camvid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(camvid, tmp_path / "a")
    assert "22 images to decode, 0.00 GB" in capsys.readouterr().out
    monkeypatch.setattr("seglab.data.cache.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(SeglabError, match=r"needs 0.00 GB, but its disk has 0.00 GB left"):
        build(camvid, tmp_path / "b")
    assert not list((tmp_path / "b").glob("shard_*"))


def test_two_writers_do_not_share_a_folder(camvid: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from seglab.files import hold; hold(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code + "; print('held', flush=True); input()", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(SeglabError, match=f"is in use by process {other.pid}"):
            build(camvid, tmp_path)
        other.communicate(b"\n")
    build(camvid, tmp_path)


def test_a_damaged_file_is_named_and_the_rest_is_not_lost(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "camvid")
    victim = root / "train/train_00010.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:300])
    with pytest.raises(SeglabError, match=r"train_00010.png is damaged"):
        build(root, tmp_path / "cache", shard_bytes=1)
    victim.write_bytes(whole)
    data = CamVid(str(root))
    items = [item for split in ("train", "val", "test") for item in data.items(split)]
    assert write_cache(items, root, CAMVID, tmp_path / "cache") < 22
    assert verify_cache(tmp_path / "cache") == 22


@pytest.mark.parametrize("scale", ["0", "1.5"])
def test_impossible_scales_are_refused(camvid: Path, tmp_path: Path, scale: str, capsys: Any) -> None:
    flags = ["--data", "CamVid", "--data.root", str(camvid), "--output", str(tmp_path), "--scale", scale]
    assert main(["data", "cache", *flags]) == 1
    assert "--scale" in capsys.readouterr().err


def test_the_folder_with_images_of_many_sizes(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "one", images=6, unlabeled=1)
    Image.new("RGB", (31, 57), (9, 8, 7)).save(root / "images/900.jpg", quality=95)
    write_gta5(tmp_path / "other", images=1)
    data = Folder(str(root), **FOLDER)
    write_cache(data.items("train"), root, data.own_space, tmp_path / "cache")
    cache = Cache(tmp_path / "cache", root, data.space)
    assert [cache.image(item).shape for item in data.items("train")][-1] == (57, 31, 3)
