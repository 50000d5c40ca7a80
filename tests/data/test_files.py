import io
import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import save
from PIL import Image

from seglab.data.decode import read_ids, read_image, read_mask, read_pair, unknown_ids
from seglab.data.files import Item, beside, find_images, images_in_subfolders
from seglab.data.lists import choose_labeled
from seglab.labels import CAMVID, CITYSCAPES, IGNORE, UNKNOWN, LabelSpace, label_space
from seglab.types import SeglabError

IDS = np.arange(12, dtype=np.uint8).repeat(10).reshape(12, 10)  # all of CamVid's, void last
DECODED = np.where(IDS == 11, IGNORE, IDS)


def items(count: int, folder: str = "data/train") -> list[Item]:
    return [Item(f"frame_{i:04d}", Path(folder, f"frame_{i:04d}.png"), Path("m.png")) for i in range(count)]


# Labeled subsets


@pytest.mark.parametrize(
    ("count", "fraction", "labeled"),
    [
        (367, "1/8", 46), (367, "1/16", 23), (367, "1/64", 6), (367, "1/1", 367), (367, "1/1000", 1),
        (2975, "1/16", 186), (2975, "1/8", 372), (2975, "1/4", 744), (2975, "1/2", 1488),
    ],
)  # fmt: skip
def test_a_fraction_takes_every_nth(count: int, fraction: str, labeled: int) -> None:
    chosen = choose_labeled(items(count), fraction)
    assert len(chosen) == labeled
    assert [item.key for item in chosen[:2]] == ["frame_0000", f"frame_{int(fraction[2:]):04d}"][: len(chosen)]


def test_smaller_fractions_lie_inside_larger_ones() -> None:
    sets = [set(choose_labeled(items(2975), f"1/{n}")) for n in (32, 16, 8, 4, 2, 1)]
    for small, large in itertools.pairwise(sets):
        assert small < large


CITY = "aachen_000000_000019"


@pytest.mark.parametrize(
    "line",
    [
        f"leftImg8bit/train/aachen/{CITY}_leftImg8bit.png gtFine/train/aachen/{CITY}_gtFine_labelIds.png",
        f"leftImg8bit/train/aachen/{CITY}_leftImg8bit.png\tgtFine/train/aachen/{CITY}_gtFine_labelIds.png",
        f"/elsewhere/cityscapes/leftImg8bit/train/aachen/{CITY}_leftImg8bit.png",
        rf"leftImg8bit\train\aachen\{CITY}_leftImg8bit.png",
        f"{CITY}_leftImg8bit.png",
        f"  {CITY}_leftImg8bit  ",
        CITY,
    ],
)
def test_lists_of_cityscapes(tmp_path: Path, line: str) -> None:
    train = [Item(key, Path(f"c/leftImg8bit/train/aachen/{key}_leftImg8bit.png"), None) for key in ("other", CITY)]
    listed = tmp_path / "list.txt"
    listed.write_text(f"{line}\n\n")
    assert choose_labeled(train, str(listed)) == [train[1]]


@pytest.mark.parametrize(
    "text",
    [
        "JPEGImages/2007_000032.jpg SegmentationClass/2007_000032.png\nJPEGImages/b c.jpg\n",
        "2007_000032\nb c",
        "2007_000032.jpg a.png\nb c.jpg a.png",  # masks may be called like another image
        "2007_000032.jpg\tb c.png\nb c\ta",
        "\ufeff2007_000032.jpg\r\nJPEGImages/b c.jpg\tSegmentationClass/b c.png\r\n",
    ],
)
def test_lists_of_voc_in_their_own_order(tmp_path: Path, text: str) -> None:
    train = [Item(key, Path(f"voc/JPEGImages/{key}.jpg"), None) for key in ("a", "b c", "2007_000032")]
    listed = tmp_path / "list.txt"
    listed.write_text(text, encoding="utf-8")
    assert choose_labeled(train, str(listed)) == [train[2], train[1]]


def test_one_name_in_two_folders_needs_its_folder(tmp_path: Path) -> None:
    train = [Item("a_1", Path("d/images/a/1.png"), None), Item("b_1", Path("d/images/b/1.png"), None)]
    listed = tmp_path / "list.txt"
    for line in ("b/1.png", "images/b/1.png", "b_1"):
        listed.write_text(line)
        assert choose_labeled(train, str(listed)) == [train[1]]
    listed.write_text("1.png")
    with pytest.raises(SeglabError, match=r"list.txt:1: 1.png may be d/images/a/1.png, d/images/b/1.png"):
        choose_labeled(train, str(listed))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no image"),
        ("\n \n", "lists no image"),
        ("frame_0001\nframe_0002\ntrain/frame_0001.png", r"list.txt:3: train/frame_0001.png is listed twice"),
        ("frame_0001\nnothing.png", r"list.txt:2: nothing.png is not in the data set"),
        ("frame_0001.v2", "frame_0001.v2 is not in the data set"),
        ("\nval/x.png valannot/x.png", r"list.txt:2: val/x.png belongs to another split"),
        ("bare", r"list.txt:1: bare has no mask"),
    ],
)
def test_bad_lists_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(text)
    elsewhere = [Item("x", Path("data/val/x.png"), Path("m.png")), Item("bare", Path("data/train/bare.png"), None)]
    with pytest.raises(SeglabError, match=message):
        choose_labeled(items(5), str(listed), elsewhere)


@pytest.mark.parametrize("spec", ["1/0", "2/3", "0.5", "", "half", "1/-2", "lists/absent.txt"])
def test_malformed_specs_are_refused(spec: str) -> None:
    with pytest.raises(SeglabError, match="'all', a fraction 1/n, a number of images or the path of a list file"):
        choose_labeled(items(5), spec)


# Folders


def test_images_of_any_extension_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.jpeg", "._a.png", "notes.txt", "d.PNG"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path, "")] == ["a.png", "b.JPG", "c.jpeg", "d.PNG"]


def test_a_mask_may_be_written_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "a.PNG").touch()
    assert beside(Path("images/a.JPG"), tmp_path) == tmp_path / "a.PNG"
    assert beside(Path("images/b.JPG"), tmp_path) is None


def test_folders_without_images_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match=r"absent does not exist: set --data.root"):
        find_images(tmp_path / "absent", "set --data.root")
    with pytest.raises(SeglabError, match=r"holds no .*: set --data.root"):
        find_images(tmp_path, "set --data.root")
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(SeglabError, match=r"a.jpg and a.png share a name"):
        find_images(tmp_path, "")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "city").mkdir()

    def refuse(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("seglab.data.files.os.listdir", refuse)
    with pytest.raises(SeglabError, match=rf"{tmp_path}/city cannot be listed \(Permission denied\)"):
        find_images(tmp_path / "city", "")
    with pytest.raises(SeglabError, match="cannot be listed"):
        images_in_subfolders(tmp_path, "_leftImg8bit")


# Decoding


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).convert(mode)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    array = np.zeros((8, 16, 3), np.uint8)
    array[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.fromarray(array).save(tmp_path / "a.jpg", exif=exif, quality=100)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (16, 8, 3)
    assert image[:7].min() > 200 > 50 > image[9:].max()


def stored(ids: np.ndarray, mode: str, path: Path) -> Path:
    image = Image.fromarray(ids)
    if mode == "P":
        image.putpalette(list(range(255, -1, -1)) * 3)
    elif mode == "1":
        image = Image.fromarray(ids.astype(bool))
    elif mode == "I;16":
        image = Image.fromarray(ids.astype(np.uint16))
    assert image.mode == mode
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_ids_are_read_from_every_kind_of_png(tmp_path: Path, mode: str) -> None:
    assert np.array_equal(read_mask(stored(IDS, mode, tmp_path / "m.png"), CAMVID), DECODED)


def test_one_bit_masks_hold_the_ids_0_and_1(tmp_path: Path) -> None:
    ids = np.eye(9, dtype=np.uint8)
    assert np.array_equal(read_mask(stored(ids, "1", tmp_path / "m.png"), label_space(["a", "b"])), ids)


def grey_png(ids: np.ndarray, depth: int) -> bytes:
    """A grey PNG of 2 or 4 bits per pixel, as PNG optimisers write masks with few ids; H W with W a multiple of 4."""
    per_byte = 8 // depth
    shifts = np.arange(per_byte - 1, -1, -1) * depth
    packed = (ids.reshape(len(ids), -1, per_byte) << shifts).sum(-1).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    head = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("depth", [2, 4])
def test_ids_of_optimised_pngs_are_not_stretched(tmp_path: Path, depth: int) -> None:
    ids = np.random.default_rng(0).integers(0, min(2**depth, 11), (5, 8))
    (tmp_path / "m.png").write_bytes(grey_png(ids, depth))
    assert np.array_equal(read_mask(tmp_path / "m.png", CAMVID), ids)


def test_ids_above_255_are_unknown_even_where_254_is_known(tmp_path: Path) -> None:
    space = LabelSpace(("a",), ((1, 2, 3),), {0: 0}, void=(254, 255))
    Image.fromarray(np.array([[0, 254, 255, 256, 1000, 65535]], np.uint16)).save(tmp_path / "m.png")
    decoded = read_mask(tmp_path / "m.png", space)
    assert decoded.tolist() == [[0, IGNORE, IGNORE, UNKNOWN, UNKNOWN, UNKNOWN]]
    assert unknown_ids(read_ids(tmp_path / "m.png", space), space) == [256, 1000, 65535]


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("LA", "png"), ("L", "jpg")])
def test_masks_that_cannot_hold_ids_are_refused(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    Image.new(mode, (8, 6)).save(path)
    with pytest.raises(SeglabError, match=rf"m.{suffix} is a {mode} .* it (to )?a PNG with one channel"):
        read_mask(path, CAMVID)


def encoded(array: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
READERS: list[Callable[[Path], object]] = [read_image, lambda path: read_mask(path, CITYSCAPES)]


@pytest.mark.parametrize("read", READERS, ids=["image", "mask"])
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("half.png", encoded(NOISE[..., 0], "PNG")[:900], "is damaged"),
        ("half.jpg", encoded(NOISE[..., 0], "JPEG")[:900], "is damaged"),
        ("last_byte.jpg", encoded(NOISE[..., 0], "JPEG")[:-200], "is damaged"),
        ("empty.png", b"", "is not an image"),
        ("text.png", b"this is a note, not an image\n", "is not an image"),
        ("page.jpg", b"<html>not found</html>", "is not an image"),
        ("head.png", encoded(NOISE, "PNG")[:20], "is not an image|is damaged"),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, read: Callable[[Path], object], name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SeglabError, match=rf"{name} ({message}).*: replace it or leave it out"):
        read(tmp_path / name)


@pytest.mark.parametrize("read", READERS, ids=["image", "mask"])
def test_no_flipped_bit_of_a_png_passes(tmp_path: Path, read: Callable[[Path], object]) -> None:
    ids = np.random.default_rng(0).choice([0, 7, 8], (8, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    data = encoded(ids, "PNG")
    for place in range(45, len(data) - 16, 3):
        spoiled = bytearray(data)
        spoiled[place] ^= 16
        (tmp_path / "m.png").write_bytes(spoiled)
        with pytest.raises(SeglabError, match=r"m\.png"):
            read(tmp_path / "m.png")


@pytest.mark.parametrize("read", READERS, ids=["image", "mask"])
def test_missing_files_are_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(SeglabError, match=r"gone.png cannot be read .*: restore it or leave it out"):
        read(tmp_path / "gone.png")


def test_a_pair_must_have_one_size(tmp_path: Path) -> None:
    save(tmp_path / "i.png", np.zeros((12, 10, 3), np.uint8))
    save(tmp_path / "m.png", IDS.T)
    with pytest.raises(SeglabError, match=r"m.png is 12x10 but its image .*i.png is 10x12"):
        read_pair(Item("i", tmp_path / "i.png", tmp_path / "m.png"), CAMVID)


def test_unknown_ids_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "i.png", np.zeros((12, 10, 3), np.uint8))
    save(tmp_path / "m.png", np.where(IDS == 3, 200, IDS).astype(np.uint8))
    with pytest.raises(SeglabError, match=r"m.png has ids \[200\] outside the label space: map them .* void"):
        read_pair(Item("i", tmp_path / "i.png", tmp_path / "m.png"), CAMVID)
