"""``seglab data``: make, check and cache data sets."""

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from seglab.cli.commands.flags import FlagParser
from seglab.files import read_yaml, write_output
from seglab.runs import recipes
from seglab.types import SeglabError


def data(flags: list[str]) -> None:
    """Run ``data init``, ``data streets``, ``data shapes``, ``data check`` or ``data cache``.

    Args:
        flags: command line after the command's name.

    Raises:
        SeglabError: no such command, or it found something wrong.
    """
    match flags:
        case ["init", *rest]:
            _init(rest)
        case ["streets", *rest]:
            _streets(rest)
        case ["shapes", *rest]:
            _shapes(rest)
        case ["check", *rest]:
            _check(rest)
        case ["cache", *rest]:
            _cache(rest)
        case _:
            raise SeglabError(
                "seglab data init, seglab data streets, seglab data shapes, seglab data check or seglab data cache"
            )


def _init(flags: list[str]) -> None:
    from seglab.data.init.write import propose, write_sheet

    parser = FlagParser(
        "data init", "Look at a folder of your images and masks, and write a benchmark file and a contact sheet for it."
    )
    parser.add_argument("folder", type=str, help="Folder of images and masks, in whatever folders below it.")
    parser.add_argument("--output", type=str, default="", help="YAML file to write; default: the folder's name, here.")
    parser.add_argument("--force", action="store_true", help="Replace the file.")
    options = parser.parse_args(flags)
    root = Path(options.folder).expanduser()
    path = Path(options.output or f"{root.resolve().name}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise SeglabError(f"--output {path}: give the name of a .yaml file")
    if path.exists() and not options.force:
        raise SeglabError(f"{path} exists: give another --output, or --force to replace it")
    found = propose(root, path.stem)
    sheet = path.with_suffix(".png")
    write_output(path, found.text)
    drawn = write_sheet(found, sheet)
    body = found.text[found.text.index("  init_args:") : found.text.index("network:")].rstrip()
    print(f"{path}, which you can edit, reads {root} so:\n\n{body}\n")
    for part, items in found.parts.items():
        print(f"{part}: {len(items)} images, {sum(item.mask is not None for item in items)} with mask")
    for note in found.layout.notes:
        print(f"note: {note}")
    for doubt in found.doubts:
        print(f"look at this: {doubt}")
    name = shlex.quote(str(path))
    bare = any(item.mask is None for item in found.parts.get("train", []))
    print(
        f"\n{sheet} shows {drawn} images with their masks: are the classes where they should be? Then\n\n"
        f"  seglab data check -c {name}              # every file\n"
        f"  seglab fit -c {name} supervised          # the baseline\n"
        f"  seglab fit -c {name} unimatch"
        + (
            "            # and the images without mask"
            if bare
            else " --data.labeled 1/8   # fewer labels, the rest unlabeled"
        )
    )


def _streets(flags: list[str]) -> None:
    from seglab.streets.writer import write_streets

    parser = FlagParser(
        "data streets", "Generate street scenes: a clean domain in GTA5's layout, a photographed one in Cityscapes'."
    )
    parser.add_argument("--root", type=str, required=True, help="Folder to write to.")
    parser.add_argument("--images", type=int, default=256, help="Training images per domain.")
    parser.add_argument("--seed", type=int, default=0, help="Another seed, other scenes.")
    options = parser.parse_args(flags)
    counts = write_streets(Path(options.root).expanduser(), options.images, options.seed)
    print(f"seglab: {options.root}: " + ", ".join(f"{count} {part}" for part, count in counts.items()))


def _shapes(flags: list[str]) -> None:
    from seglab.shapes import write_shapes

    parser = FlagParser("data shapes", "Generate scenes of a few objects, with masks, image tags and empty scenes.")
    parser.add_argument("--root", type=str, required=True, help="Folder to write to.")
    parser.add_argument("--images", type=int, default=512, help="Training images.")
    parser.add_argument("--seed", type=int, default=0, help="Another seed, other scenes.")
    options = parser.parse_args(flags)
    counts = write_shapes(Path(options.root).expanduser(), options.images, options.seed)
    print(f"seglab: {options.root}: " + ", ".join(f"{count} {part}" for part, count in counts.items()))


def _check(flags: list[str]) -> None:
    from seglab.data import SegmentationData
    from seglab.data.checks.check import check_data
    from seglab.data.checks.report import print_report, write_bad, write_sheet

    parser = FlagParser("data check", "Verify a data set before training.")
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="Benchmark file, whose data section is used; repeatable."
    )
    parser.add_argument(
        "--data",
        type=SegmentationData,
        required=True,
        sub_configs=True,
        help="A data set class, with its options as --data.KEY VALUE.",
    )
    parser.add_argument("--sheet", type=str, default="", help="Write a contact sheet with overlays to this PNG.")
    parser.add_argument("--bad", type=str, default="", help="List the images to leave out in this file, for data.skip.")
    parser.add_argument("--workers", type=int, default=0, help="Images decoded at once; 0: as the cores allow.")
    options = parser.instantiate(parser.parse_args(_data_sections(flags)))
    if options.sheet and Path(options.sheet).suffix.lower() != ".png":
        raise SeglabError(f"--sheet {options.sheet}: give the name of a .png file")
    if options.workers < 0:
        raise SeglabError(f"--workers {options.workers}: give 1 or more, or 0 for as the cores allow")
    report = check_data(options.data, options.workers)
    print_report(report, options.data, Console())
    if options.bad:
        for line in write_bad(report, options.data, Path(options.bad)):
            print(line)
    if options.sheet:
        write_sheet(report, Path(options.sheet))
        print(f"contact sheet: {options.sheet}")
    if report.problems:
        raise SeglabError(f"the data set has problems: {len(report.problems)}, named above")


def _cache(flags: list[str]) -> None:
    from seglab.data import SegmentationData
    from seglab.data.cache import verify_cache, write_cache

    parser = FlagParser("cache", "Decode every image and mask once, into a folder that --data.cache reads.")
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="Benchmark file, whose data section is used; repeatable."
    )
    parser.add_argument(
        "--data",
        type=SegmentationData,
        required=True,
        sub_configs=True,
        help="A data set class, with its options as --data.KEY VALUE.",
    )
    parser.add_argument("--output", type=str, required=True, help="Folder to write to; again to finish or update it.")
    parser.add_argument("--scale", type=float, default=1.0, help="Resize by it; below 1 only training images go in.")
    parser.add_argument("--workers", type=int, default=0, help="Decoding threads; 0: one per CPU core.")
    parser.add_argument("--verify", type=bool, default=False, help="Compare a written cache with its checksums.")
    options = parser.instantiate(parser.parse_args(_data_sections(flags)))
    data, output = options.data, Path(options.output).expanduser()
    for side, part in data.sides.items():
        folder = output / side
        if options.verify:
            print(f"seglab: {folder}: {verify_cache(folder)} entries are sound")
            continue
        items = part.items("train")
        scored = part is data.evaluated and options.scale == 1
        for split in ("val", "test") if scored else ():  # evaluation reads the files of a downscaled cache
            with suppress(SeglabError):  # many data sets keep a part back
                items += part.items(split)
        count = write_cache(items, part.root, part.own_space, folder, options.scale, options.workers)
        flag = f"--data.{side}.cache" if side else "--data.cache"
        print(f"seglab: {folder}: {count} images decoded; train with {flag} {folder}")


def _data_sections(flags: list[str]) -> list[str]:
    """Replace every name or ``-c FILE`` by its ``data`` section: the other sections do not matter here."""
    names = recipes.leading(flags)
    flags = [*recipes.named(names), *flags[len(names) :]]
    kept, sections = [], []
    left = iter(flags)
    for flag in left:
        if flag not in ("-c", "--config"):
            kept.append(flag)
            continue
        file = Path(next(left, ""))
        recipes.read(file)  # an old name has an error of its own
        config = _read_yaml(file, flag)
        if not isinstance(config, dict):
            raise SeglabError(f"{flag} {file} is no config: its top level has no keys")
        if section := config.get("data"):
            sections += ["--data", json.dumps(_from(section, file.parent))]
    return sections + kept


def _from(section: Any, folder: Path) -> Any:
    """Paths of YAML files inside a section are relative to the file it stands in."""
    if isinstance(section, dict):
        return {key: _from(value, folder) for key, value in section.items()}
    if isinstance(section, str) and section.endswith(".yaml"):
        file = folder / section
        return _from(_read_yaml(file, "data"), file.parent)
    return section


def _read_yaml(file: Path, flag: str) -> Any:
    if not file.is_file():
        raise SeglabError(f"{flag} needs a YAML file, got {str(file)!r}")
    return read_yaml(file)
