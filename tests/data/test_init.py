"""``seglab data init`` on the layouts that people have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from layouts import save, write_camvid, write_cityscapes, write_folder
from PIL import Image

from seglab.cli import main
from seglab.data import Folder
from seglab.types import SeglabError

RNG = np.random.default_rng(0)


def photo(path: Path) -> None:
    save(path, RNG.integers(0, 256, (48, 64, 3)).astype(np.uint8))


def mask(path: Path, values: list[int], size: tuple[int, int] = (48, 64)) -> None:
    save(path, np.repeat(np.resize(np.array(values, np.uint8), size[0]), size[1]).reshape(size))


def painted(path: Path, colours: list[tuple[int, int, int]]) -> None:
    stripes = np.resize(np.array(colours, np.uint8), (48, 3))
    save(path, np.repeat(stripes[:, None], 64, 1))


def init(root: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[dict[str, object], str]:
    """Arguments of ``Folder`` that were written, and what was printed."""
    path = root.parent / "found.yaml"
    assert main(["data", "init", str(root), "--output", str(path), *flags]) == 0, capsys.readouterr().err
    assert path.with_suffix(".png").stat().st_size > 1000
    return yaml.safe_load(path.read_text())["data"]["init_args"], capsys.readouterr().out


def parts(arguments: dict[str, object]) -> dict[str, int]:
    """Labeled images of train and val."""
    data = Folder(**arguments)  # type: ignore[arg-type]
    return {split: sum(item.mask is not None for item in data.items(split)) for split in ("train", "val")}


def write_binary(root: Path) -> None:
    for index in range(10):
        photo(root / f"images/{index}.jpg")
        mask(root / f"masks/{index}.png", [0, 0, 255])


def write_one_folder(root: Path) -> None:
    for index in range(10):
        photo(root / f"{index:03d}.jpg")
        mask(root / f"{index:03d}.png", [0, 1, 2])


def write_marked(root: Path) -> None:
    for index in range(10):
        photo(root / f"all/case {index}.png")
        mask(root / f"all/case {index}_mask.png", [0, 1, 1])


def write_both_marked(root: Path) -> None:
    for index in range(10):
        photo(root / f"scene_{index}_rgb.png")
        mask(root / f"scene_{index}_gt.png", [0, 1, 1])


def write_prefixed(root: Path) -> None:
    for index in range(10):
        photo(root / f"data/image_{index}.png")
        mask(root / f"data/mask_{index}.png", [0, 3])


def write_ade(root: Path) -> None:
    for part, count in (("training", 8), ("validation", 4)):
        for index in range(count):
            photo(root / f"images/{part}/ADE_{part[:3]}_{index:08d}.jpg")
            mask(root / f"annotations/{part}/ADE_{part[:3]}_{index:08d}.png", [0, 1, 150])


def write_coco(root: Path) -> None:
    for part, count in (("train2017", 8), ("val2017", 4)):
        for index in range(count):
            photo(root / f"{part}/{part[0]}{index:012d}.jpg")
            mask(root / f"masks/{part[0]}{index:012d}.png", [0, 1, 255])


def write_loveda(root: Path) -> None:
    for part, count in (("Train", 6), ("Val", 4)):
        for area in ("Urban", "Rural"):
            for index in range(count // 2):
                name = f"{part[0]}{area[0]}{index}"
                photo(root / f"{part}/{area}/images_png/{name}.png")
                mask(root / f"{part}/{area}/masks_png/{name}.png", [0, 1, 7])


def write_scenes(root: Path) -> None:
    for scene in ("north", "south", "east"):
        for index in range(4):
            photo(root / f"{scene}/images/{index}.tif")
            mask(root / f"{scene}/labels/{index}.tif", [0, 1])


def write_lists(root: Path) -> None:
    write_binary(root)
    (root / "splits").mkdir()
    (root / "splits/train.txt").write_text("\n".join(map(str, range(7))))
    (root / "splits/val.txt").write_text("\n".join(map(str, range(7, 10))))


def write_mixed_endings(root: Path) -> None:
    for index in range(10):
        photo(root / f"images/{index}.{('jpg', 'JPEG', 'png')[index % 3]}")
        mask(root / f"masks/{index}.png", [0, 1])


def write_without_val(root: Path) -> None:
    for part, count in (("train", 6), ("test", 3)):
        for index in range(count):
            photo(root / f"{part}/images/{index}.png")
            mask(root / f"{part}/masks/{index}.png", [0, 1])


def write_extra(root: Path) -> None:
    """Depth as 16 bits and overlays lie beside; some images have no mask."""
    for index in range(12):
        photo(root / f"rgb/{index}.png")
        photo(root / f"overlay/{index}.png")
        save(root / f"depth/{index}.png", RNG.integers(0, 5000, (48, 64)).astype(np.uint16))
        if index < 10:
            mask(root / f"gt/{index}.png", [0, 1])


CASES: dict[str, tuple[Callable[[Path], object], str, str, dict[str, object], dict[str, int]]] = {
    "0 and 255": (
        write_binary, "images/*.jpg", "masks/*.png", {"ids": {0: "background", 255: "object"}, "void": []},
        {"train": 8, "val": 2},
    ),
    "one folder": (
        write_one_folder, "*.jpg", "*.png", {"ids": {0: "background", 1: "class_1", 2: "class_2"}},
        {"train": 8, "val": 2},
    ),
    "masks marked": (write_marked, "all/*.png", "all/*_mask.png", {"void": [255]}, {"train": 8, "val": 2}),
    "both marked": (write_both_marked, "*_rgb.png", "*_gt.png", {}, {"train": 8, "val": 2}),
    "prefixes": (
        write_prefixed, "data/image_*.png", "data/mask_*.png", {"ids": {0: "background", 3: "class_3"}},
        {"train": 8, "val": 2},
    ),
    "ADE20K": (
        write_ade, "images/{split}/*.jpg", "annotations/{split}/*.png",
        {"splits": {"train": "training", "val": "validation"}}, {"train": 8, "val": 4},
    ),
    "COCO": (
        write_coco, "{split}/*.jpg", "masks/*.png", {"splits": {"train": "train2017", "val": "val2017"}},
        {"train": 8, "val": 4},
    ),
    "LoveDA": (
        write_loveda, "{split}/*/images_png/*.png", "{split}/*/masks_png/*.png",
        {"splits": {"train": "Train", "val": "Val"}}, {"train": 6, "val": 4},
    ),
    "scenes": (write_scenes, "*/images/*.tif", "*/labels/*.tif", {}, {"train": 9, "val": 3}),
    "lists": (
        write_lists, "images/*.jpg", "masks/*.png",
        {"splits": {"train": "splits/train.txt", "val": "splits/val.txt"}}, {"train": 7, "val": 3},
    ),
    "endings": (write_mixed_endings, "images/*.{jpg,jpeg,png}", "masks/*.png", {}, {"train": 8, "val": 2}),
    "no val": (
        write_without_val, "{split}/images/*.png", "{split}/masks/*.png",
        {"splits": {"train": "train", "val": "test", "test": "test"}}, {"train": 6, "val": 3},
    ),
    "other files": (write_extra, "rgb/*.png", "gt/*.png", {}, {"train": 8, "val": 2}),
    "CamVid": (write_camvid, "{split}/*.png", "{split}annot/*.png", {}, {"train": 16, "val": 3}),
    "Cityscapes": (
        write_cityscapes, "leftImg8bit/{split}/*/*_leftImg8bit.png", "gtFine/{split}/*/*_gtFine_labelIds.png", {},
        {"train": 9, "val": 3},
    ),
    "streets of many ids": (write_folder, "images/*.jpg", "masks/*_label.png", {}, {"train": 9, "val": 3}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    write, images, masks, settings, counts = CASES[name]
    write(tmp_path / "d")
    arguments, out = init(tmp_path / "d", capsys)
    assert (arguments["images"], arguments["masks"]) == (images, masks), out
    assert {key: arguments.get(key) for key in settings} == settings
    assert parts(arguments) == counts


def test_the_file_passes_the_check_and_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_binary(tmp_path / "d")
    _, out = init(tmp_path / "d", capsys)
    config = str(tmp_path / "found.yaml")
    assert f"seglab data check -c {config}" in out
    assert f"seglab fit -c {config} supervised" in out
    assert main(["data", "check", "-c", config]) == 0
    flags = ["--network", "tiny", "--data.workers", "0", "--trainer.max_steps", "1"]
    flags += ["--trainer.val_check_interval", "1"]
    flags += ["--trainer.accelerator", "cpu", "--run_dir", str(tmp_path / "run"), "--data.crop", "[32,32]"]
    assert main(["fit", "-c", config, "supervised", *flags]) == 0


def test_colours_with_shares_and_known_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        photo(tmp_path / f"d/images/{index}.png")
        painted(tmp_path / f"d/masks/{index}.png", [(128, 64, 128), (0, 0, 142), (0, 0, 142), (70, 70, 70), (0, 0, 0)])
    arguments, out = init(tmp_path / "d", capsys)
    assert arguments["colors"] == {"road": [128, 64, 128], "building": [70, 70, 70], "car": [0, 0, 142]}
    assert arguments["void_colors"] == [[0, 0, 0]]
    assert "names of the colours of Cityscapes" in out
    assert main(["data", "check", "-c", str(tmp_path / "found.yaml")]) == 0


def test_colours_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        photo(tmp_path / f"d/images/{index}.png")
        painted(tmp_path / f"d/masks/{index}.png", [(9, 8, 7), (9, 8, 7), (0, 0, 0)])
    arguments, out = init(tmp_path / "d", capsys)
    assert arguments["colors"] == {"class_0": [9, 8, 7], "background": [0, 0, 0]}
    assert "black is taken for a class" in out
    (tmp_path / "d/class_dict.csv").write_text("name,r,g,b\nleaf,9,8,7\nsoil,1,1,1\n")
    arguments, _ = init(tmp_path / "d", capsys, "--force")
    assert arguments["colors"] == {"leaf": [9, 8, 7], "soil": [1, 1, 1]}
    assert arguments["void_colors"] == [[0, 0, 0]]


def test_names_of_a_class_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_one_folder(tmp_path / "d")
    (tmp_path / "d/classes.txt").write_text("soil\ncrop\nweed\n")
    arguments, out = init(tmp_path / "d", capsys)
    assert arguments["ids"] == {0: "soil", 1: "crop", 2: "weed"}
    assert "names of classes.txt" in out


def test_what_is_doubtful_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        binary = np.where(np.arange(64) < 32, 0, 255)[None].repeat(48, 0).astype(np.uint8)
        blurred = np.asarray(Image.fromarray(binary).resize((640, 480), Image.Resampling.BICUBIC)).copy()
        blurred[0, :60] = np.arange(60) + 1
        save(tmp_path / f"d/masks/{index}.png", blurred)
        save(tmp_path / f"d/images/{index}.png", RNG.integers(0, 256, (480, 640, 3)).astype(np.uint8))
    arguments, out = init(tmp_path / "d", capsys)
    assert arguments["ids"] == {0: "background", 255: "object"}
    assert "values between those of the classes" in out
    assert "val has 2 images" in out
    assert "made up names: object. Write your own" in out


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: root.mkdir(), "holds no image"),
        (lambda root: photo(root / "a/1.jpg"), "shows no masks"),
        (lambda root: mask(root / "masks/1.png", [0, 1]), "shows no photos"),
        (lambda root: (photo(root / "i/1.jpg"), mask(root / "masks/other.png", [0, 1])), "has the name of an image"),
    ],
)
def test_folders_that_nobody_understands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / "d")
    assert main(["data", "init", str(tmp_path / "d"), "--output", str(tmp_path / "o.yaml")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.yaml").exists()


def test_a_file_is_not_replaced_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_binary(tmp_path / "d")
    init(tmp_path / "d", capsys)
    assert main(["data", "init", str(tmp_path / "d"), "--output", str(tmp_path / "found.yaml")]) == 1
    assert "exists: give another --output, or --force" in capsys.readouterr().err
    assert main(["data", "init", str(tmp_path / "nowhere")]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_a_written_file_reads_as_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_binary(tmp_path / "no: 'easy' name #1")
    arguments, _ = init(tmp_path / "no: 'easy' name #1", capsys)
    assert arguments["root"] == str(tmp_path / "no: 'easy' name #1")
    with pytest.raises(SeglabError):
        Folder(**(arguments | {"root": str(tmp_path / "gone")})).items("train")  # type: ignore[arg-type]


def test_parts_whose_folders_have_other_names_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, cities in (("train", ("aachen", "bremen")), ("val", ("munster",)), ("train_extra", ("erfurt",))):
        for city in cities:
            for index in range(4):
                key = f"{city}_{index:06d}_000019"
                photo(tmp_path / f"d/leftImg8bit/{part}/{city}/{key}_leftImg8bit.png")
                if part != "train_extra":
                    mask(tmp_path / f"d/gtFine/{part}/{city}/{key}_gtFine_labelIds.png", [7, 11, 26])
                    painted(tmp_path / f"d/gtFine/{part}/{city}/{key}_gtFine_color.png", [(128, 64, 128), (0, 0, 142)])
                    instances = np.tile(np.arange(3072).reshape(48, 64) + 26000, 1).astype(np.uint16)
                    save(tmp_path / f"d/gtFine/{part}/{city}/{key}_gtFine_instanceIds.png", instances)
    arguments, out = init(tmp_path / "d", capsys)
    assert arguments["images"] == "leftImg8bit/{split}/*/*_leftImg8bit.png"
    assert arguments["masks"] == "gtFine/{split}/*/*_gtFine_labelIds.png"
    assert parts(arguments) == {"train": 8, "val": 4}
    assert "not used: leftImg8bit/train_extra/erfurt (4 files)" in out
    assert "the folders are those of Cityscapes or IDD: if it is that, `--data Cityscapes` knows" in out


def test_masks_of_jpeg_are_read_by_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        photo(tmp_path / f"d/images/{index}.jpg")
        drawing = np.zeros((48, 64), np.uint8)
        drawing[10:30, 10:50] = 255
        save(tmp_path / f"d/masks/{index}.jpg", drawing)
    arguments, _ = init(tmp_path / "d", capsys)
    assert (arguments["nearest"], arguments["ids"]) == (True, {0: "background", 255: "object"})
    assert main(["data", "check", "-c", str(tmp_path / "found.yaml")]) == 0


def test_classes_of_roboflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 6), ("valid", 3)):
        for index in range(count):
            photo(tmp_path / f"d/{part}/field_{index}.jpg")
            mask(tmp_path / f"d/{part}/field_{index}_mask.png", [0, 1, 2])
        (tmp_path / f"d/{part}/_classes.csv").write_text("Pixel Value, Class\n0, soil\n1, crop\n2, weed\n")
    arguments, _ = init(tmp_path / "d", capsys)
    assert arguments["ids"] == {0: "soil", 1: "crop", 2: "weed"}
    assert arguments["splits"] == {"train": "train", "val": "valid"}
    assert parts(arguments) == {"train": 6, "val": 3}


def test_parts_in_folders_without_a_separator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "val", "test"):
        for index in range(4):
            photo(tmp_path / f"d/{part}crop/{index}.jpg")
            mask(tmp_path / f"d/{part}crop/{index}.png", [0, 0, 255])
    arguments, _ = init(tmp_path / "d", capsys)
    assert (arguments["images"], arguments["masks"]) == ("{split}crop/*.jpg", "{split}crop/*.png")
    assert "splits" not in arguments


def test_many_classes_are_no_mixtures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(12):
        photo(tmp_path / f"d/images/{index}.jpg")
        mask(tmp_path / f"d/masks/{index}.png", [0, *(1 + (10 * index + k) % 150 for k in range(14))])
    arguments, out = init(tmp_path / "d", capsys)
    assert len(arguments["ids"]) == 125, "0 to 124 occur"
    assert "nearest" not in arguments
    assert "values between" not in out


def test_one_class_and_ignored_pixels_are_two_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        photo(tmp_path / f"d/images/{index}.jpg")
        mask(tmp_path / f"d/masks/{index}.png", [3, 255, 255])
    arguments, out = init(tmp_path / "d", capsys)
    assert (arguments["ids"], arguments["void"]) == ({3: "class_3", 255: "background"}, [])
    assert "what looks ignored, which is taken for the background" in out
