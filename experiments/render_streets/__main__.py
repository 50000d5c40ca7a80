"""The command line of the renderer: `python -m experiments.render_streets --help`."""

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.render_streets.finish import finish
from experiments.render_streets.ids import PALETTE, ROAD
from experiments.render_streets.scene import build_scene
from seglab.pictures import write_image
from seglab.types import SeglabError

SIZE = (480, 360)
HASHES = {  # frame -> SHA-256 of its label ids row by row, of the default seed and size with filled holes
    1: "a8b3915d73d2a9054ef5520d598c336ebb37d6fc51a7593537054d6b17c3f6d0",
    113: "e5e577afd15f3cbc8a3597920f1748ef9304142230a2c0ea6933159113af1e78",
    226: "ce277f939e9380651afef487376793966358b6fcf6b32c4826835b5aa0c9d56a",
    339: "7a2a1843f6a02ee7c989cf0486ba6672627ec0eea751102b8082058017760311",
    452: "fabe6b2a238b81bc6f95d6729e15c4bc6856829260b229cff9e6188835d737a2",
    564: "2a6aeb98892fb6a912f6eed4bef2fb3b5a95a89ae5a1bbf83a6a6355f0a4079a",
}
NEEDS = (
    "rendering needs Blender as a Python module, whose packages are for Python 3.11 (this is {}.{}): "
    "in an environment of Python 3.11 `pip install bpy==5.0.1 pillow`; its import says: {}"
)


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.render_streets",
        description="Render synthetic streets in GTA5's layout: images/00001.png and labels/00001.png.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; finished frames are kept")
    parser.add_argument("--first", type=int, default=1, help="number of the first frame")
    parser.add_argument("--count", type=int, default=564, help="frames; give processes side by side their own")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--samples", type=int, default=12, help="paths per pixel of a picture")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other streets")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: one per core")
    parser.add_argument("--open_holes", action="store_true", help="label what shows through railings and wheels")
    parser.add_argument("--labels_only", action="store_true", help="no pictures: fast, to compare labels")
    parser.add_argument("--check", action="store_true", help="render nothing; compare labels in --out with known ones")
    return parser.parse_args(args)


def verify(options: argparse.Namespace) -> None:
    """Raise a SeglabError where a flag is out of range."""
    for name, least in {"first": 1, "count": 1, "samples": 1, "seed": 0, "threads": 0}.items():
        if getattr(options, name) < least:
            raise SeglabError(f"--{name} {getattr(options, name)}: give {least} or more")
    if min(options.size) < 32:
        raise SeglabError(f"--size {options.size[0]} {options.size[1]}: both sides need at least 32 pixels")


def prepare_folder(options: argparse.Namespace) -> None:
    """Make the folders, and note in ``--out`` what its frames depend on.

    Raises:
        SeglabError: nothing can be written there, or it holds frames of other settings.
    """
    settings = {name: getattr(options, name) for name in ("size", "samples", "seed", "open_holes")}
    settings["size"] = list(settings["size"])
    try:
        for folder in ("images", "labels"):
            (options.out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeglabError(f"cannot make folders in {options.out} ({error}): choose another --out") from error
    file = options.out / "render_streets.json"
    if not file.exists():
        unfinished = file.with_name(f".{os.getpid()}_{file.name}")
        unfinished.write_text(json.dumps(settings))
        unfinished.replace(file)
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise SeglabError(f"{file} is not valid JSON ({error}): choose another --out") from error
    if other := [f"{name} {found.get(name)}" for name, value in settings.items() if found.get(name) != value]:
        raise SeglabError(f"{options.out} holds frames of {', '.join(other)}: choose another --out")


def files(options: argparse.Namespace, index: int) -> list[Path]:
    """What a finished frame consists of; the label is written last."""
    folders = ("labels",) if options.labels_only else ("images", "labels")
    return [options.out / folder / f"{index:05d}.png" for folder in folders]


def render(options: argparse.Namespace) -> None:
    """Render the frames that are not there yet."""
    prepare_folder(options)
    frames = range(options.first, options.first + options.count)
    missing = [index for index in frames if not all(path.exists() for path in files(options, index))]
    print(f"{len(frames) - len(missing)} of {len(frames)} frames are there already", flush=True)
    if not missing:
        return
    try:
        from experiments.render_streets.studio import Studio  # brings bpy, which the rest does without
    except ImportError as error:
        raise SeglabError(NEEDS.format(*sys.version_info[:2], error)) from error
    width, height = options.size
    studio = Studio((width, height), options.samples, options.seed, options.threads, options.open_holes)
    for index in missing:
        *image, label = files(options, index)
        if label.exists() and all(path.exists() for path in image):
            continue  # by a process beside this one
        started = time.monotonic()
        studio.load(build_scene(options.seed, index, height / width))
        paths = options.seed * 100003 + index
        if image:
            rng = np.random.default_rng([options.seed, index, 1])
            write_image(image[0], finish(studio.picture(paths), rng))
        ids = studio.label(paths)
        write_image(label, ids, PALETTE)
        road = 100 * np.mean(ids == ROAD)
        print(f"frame {index}: {time.monotonic() - started:.1f} s, {road:.1f} % road", flush=True)


def digest(label: Path) -> str:
    """SHA-256 of the ids that a label file stores, whatever its compression."""
    return hashlib.sha256(np.asarray(Image.open(label)).tobytes()).hexdigest()


def check(out: Path) -> None:
    """Compare the labels of ``out`` with the known ones.

    Raises:
        SeglabError: a label differs, or there is none to compare.
    """
    there = [index for index in HASHES if (out / "labels" / f"{index:05d}.png").exists()]
    if not there:
        known = ", ".join(map(str, HASHES))
        raise SeglabError(f"{out}/labels has none of the frames {known}: render one, as --labels_only --count 1 does")
    wrong = [index for index in there if digest(out / "labels" / f"{index:05d}.png") != HASHES[index]]
    if wrong:
        raise SeglabError(
            f"the labels of frames {', '.join(map(str, wrong))} in {out} are not those of the first rendering, which "
            "was made by bpy 5.0.1 with the default --size and --seed, without --open_holes"
        )
    print(f"the labels of frames {', '.join(map(str, there))} are those of the first rendering")


def main(args: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parse(args)
    try:
        verify(options)
        if options.check:
            check(options.out)
        else:
            render(options)
    except SeglabError as error:
        print(f"render_streets: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("render_streets: interrupted; the same command goes on", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
