"""Images, checkpoints, caches and run directories that are wrong in any way."""

import contextlib
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_runs import write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seglab.cli import main
from seglab.data.cache import Cache, load_index, verify_cache, write_cache
from seglab.data.decode import read_image, read_mask
from seglab.data.files import Item
from seglab.labels import CAMVID, SYNTHIA
from seglab.networks.tensor_files import read_tensors

FEW = settings(max_examples=max(5, settings().max_examples // 5))


def spoilt(content: bytes, most: int | None = None) -> st.SearchStrategy[bytes]:
    """``content`` with a few bytes changed, up to ``most``, or cut."""
    place = st.integers(0, min(len(content), most or len(content)) - 1)

    def change(edits: list[tuple[int, int]]) -> bytes:
        changed = bytearray(content)
        for at, value in edits:
            changed[at] = value
        return bytes(changed)

    edits = st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=4)
    return edits.map(change) | place.map(lambda end: content[:end])


def encoded(mode: str, kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 11, (9, 13, 3), np.uint8)
    image = Image.fromarray(pixels.astype(np.uint16)[..., 0] if mode == "I;16" else pixels)
    buffer = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


IMAGES = [encoded(m, "PNG") for m in ("RGB", "L", "P", "1", "RGBA", "I;16")] + [
    encoded("RGB", "JPEG"),
    encoded("L", "JPEG"),
]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """PNGs whose header, with a right checksum, says anything: no size, or one that no memory holds."""
    sides = st.sampled_from([0, 1, 13, 2**16, 2**31 - 1, 2**32 - 1])
    depth, colour = draw(st.sampled_from([0, 1, 2, 4, 8, 16, 255])), draw(st.integers(0, 7))
    header = struct.pack(">IIBBBBB", draw(sides), draw(sides), depth, colour, 0, 0, draw(st.integers(0, 2)))
    data = zlib.compress(bytes(draw(st.sampled_from([0, 14, 200, 100000]))))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@given(st.sampled_from(IMAGES).flatmap(lambda image: spoilt(image, 200)) | headers() | st.binary(max_size=40))
def test_images_and_masks(named: Callable, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(content)
    image = named(lambda: read_image(path), path)
    assert not isinstance(image, np.ndarray) or (image.ndim, image.dtype) == (3, np.uint8)
    for space in (CAMVID, SYNTHIA):
        mask = named(lambda space=space: read_mask(path, space), path)
        assert not isinstance(mask, np.ndarray) or (mask.ndim, mask.dtype) == (2, np.uint8)


def saved(legacy: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"state_dict": {"a": torch.arange(40.0), "b": torch.ones(3, 2).half()}, "step": 3, "names": ["x"]}
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


@given(spoilt(saved(False)) | spoilt(saved(True), 600) | st.binary(max_size=40))
def test_checkpoints(named: Callable, tmp_path: Path, content: bytes) -> None:
    for name in ("a.ckpt", "a.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        named(lambda path=path: read_tensors(path, "checkpoint"), path)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Item]:
    root = tmp_path_factory.mktemp("cached")
    item = Item("a", root / "a.png", root / "a_mask.png")
    assert item.mask
    item.image.write_bytes(IMAGES[0])
    item.mask.write_bytes(IMAGES[1])
    write_cache([item], root, CAMVID, root / "cache")
    return root, item


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**30, "../x", -1]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part, max_size=3),
    max_leaves=5,
)


@given(st.integers(0, 7), JSON)
def test_entries_of_a_cache(named: Callable, cached: tuple[Path, Item], field: int, value: Any) -> None:
    root, item = cached
    index = root / "cache/cache.json"
    whole = index.read_text()
    content = json.loads(whole)
    content["entries"][0][field] = value
    index.write_text(json.dumps(content))
    try:
        named(lambda: _read(root, item), root / "cache", item.image, "shard")
    finally:
        index.write_text(whole)


@given(st.sampled_from(["format", "scale", "decode", "entries"]), JSON)
def test_indices_of_a_cache(named: Callable, cached: tuple[Path, Item], key: str, value: Any) -> None:
    root, item = cached
    index = root / "cache/cache.json"
    whole = index.read_text()
    index.write_text(json.dumps(json.loads(whole) | {key: value}))
    try:
        named(lambda: _read(root, item), root / "cache")
    finally:
        index.write_text(whole)


def _read(root: Path, item: Item) -> None:
    load_index(root / "cache")
    cache = Cache(root / "cache", root, CAMVID)
    cache.check([item])
    assert cache.image(item).ndim == 3
    assert cache.labels(item).ndim == 2
    verify_cache(root / "cache")


SUMMARY_KEYS = [
    *("status", "benchmark", "method", "seed", "step", "steps", "last", "best", "images_per_second", "device"),
    *("train_seconds", "wall_seconds", "peak_memory_bytes", "world_size", "parameters", "git_revision", "packages"),
]
SCORES = st.dictionaries(
    st.sampled_from(["val/mIoU", "val/IoU/road", "val_teacher/mIoU", "step", "val/"]), JSON, max_size=3
)


def _compare(folder: Path, capture: io.StringIO) -> None:
    with contextlib.redirect_stdout(capture), contextlib.redirect_stderr(capture):
        code = main(["compare", str(folder), "--html", str(folder.parent / "page.html")])
    assert code == 0 or "seglab: error: " in capture.getvalue()


@FEW
@given(st.dictionaries(st.sampled_from(SUMMARY_KEYS), JSON | SCORES, min_size=1, max_size=3))
def test_summaries_of_runs(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_run(tmp_path / "runs/a", seed=1)
    write_run(tmp_path / "runs/b", seed=2, summary=changes)
    _compare(tmp_path / "runs", io.StringIO())


@FEW
@given(
    st.sampled_from(
        ["config.yaml", "summary.json", "metrics.csv", "confusion.json", "panels/panels.json", "sweep.json"]
    ),
    st.data(),
)
def test_bytes_of_runs(tmp_path: Path, name: str, data: st.DataObject) -> None:
    (tmp_path / "runs/sweep.json").unlink(missing_ok=True)  # of the example before
    run = write_run(tmp_path / "runs/a", seed=1, pictures=1)
    write_run(tmp_path / "runs/b", seed=2)
    path = tmp_path / "runs/sweep.json" if name == "sweep.json" else run / name
    content = b'{"c": {"seed_everything": 1}}' if name == "sweep.json" else path.read_bytes()
    path.write_bytes(
        data.draw(spoilt(content) | JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=9))
    )
    _compare(tmp_path / "runs", io.StringIO())
