"""The benchmark file for a folder of somebody's own, and the sheet to confirm it by."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from seglab.data.dataset import SPLITS
from seglab.data.decode import check_size, read_image, read_mask, read_pair
from seglab.data.files import Item
from seglab.data.init.content import Classes, Content, Value, count, image_size, name_classes
from seglab.data.init.layout import Layout, find_layout
from seglab.data.init.look import Kind
from seglab.data.sets.folder import Folder
from seglab.labels import IGNORE, UNKNOWN
from seglab.pictures import contact_sheet, overlay
from seglab.types import SeglabError

RARE = 0.005  # share of the pixels below which a class needs help
LARGE = 1536  # pixels of the shorter side beyond which a crop shows little
SIZES = 20  # images whose size is looked at
ROWS = 12  # images on the sheet
JPEG = (".jpg", ".jpeg", "jpg}", "jpeg}", ".webp")
KNOWN = {  # in the pattern of images or masks -> classes that know such a layout
    "leftImg8bit/": "Cityscapes or IDD",
    "rgb_anon/": "ACDC or DarkZurich",
    "JPEGImages/": "VOC or PascalContext",
    "annot/*": "CamVid",
    "annotations/{split}/ADE": "ADE20K",
    "images_png/": "LoveDA",
    "images/10k/": "BDD100K",
    "top_potsdam": "ISPRS",
    "top_mosaic": "ISPRS",
}
REST = """\
network: # EfficientNet-Lite0: 3.9 million parameters, trains on a laptop
  class_path: seglab.networks.Segmenter
  init_args:
    decoder: DeepLabV3Plus
    encoder: tu-tf_efficientnet_lite0
    weights: imagenet
    output_stride: 16
optimizer:
  class_path: torch.optim.AdamW
  init_args:
    lr: 0.0003
    weight_decay: 0.01
schedule:
  power: 0.9
  head_lr_mult: 10
"""


class Proposal(NamedTuple):
    """What ``seglab data init`` says about a folder."""

    data: Folder
    layout: Layout
    parts: dict[str, list[Item]]
    text: str  # of the file
    doubts: list[str]  # what to look at before training


def propose(root: Path, name: str) -> Proposal:
    """Look at a folder of images and masks.

    Args:
        root: the folder.
        name: of the benchmark.

    Raises:
        SeglabError: it is absent, or holds nothing that looks like images and their masks.
    """
    if not root.is_dir():
        raise SeglabError(f"{root} is no folder: give the folder of your images and masks")
    layout = find_layout(root)
    patterns: dict[str, Any] = {"images": layout.images, "masks": layout.masks}
    if layout.splits:
        patterns["splits"] = layout.splits
    probe = Folder(str(root), classes=["a", "b"], **patterns)
    parts: dict[str, list[Item]] = {}
    for split in SPLITS:
        with suppress(SeglabError):  # an absent part
            if (found := probe.find(split)) not in parts.values():
                parts[split] = found
    masks = [item.mask for items in parts.values() for item in items if item.mask]
    if not masks:
        probe.find("train")  # says why
        raise SeglabError(f"{root}: no mask of {layout.masks} has an image of {layout.images}")
    colours = layout.kind == Kind.COLOURS
    content = count(masks, colours)
    classes = name_classes(root, content, colours)
    names = list(dict.fromkeys(classes.names.values()))
    doubts = _doubts(content, classes, parts, colours)
    if known := next((name for mark, name in KNOWN.items() if mark in f"{layout.images} {layout.masks}"), None):
        doubts.insert(
            0, f"the folders are those of {known}: if it is that, `--data {known.split()[0]}` knows its classes"
        )
    if len(names) < 2 and classes.void:
        for value in classes.void:
            classes.names[value] = "background"
        classes = classes._replace(void=[])
        doubts.insert(0, f"the masks show {names[0]} and what looks ignored, which is taken for the background")
    elif len(names) < 2:
        classes.names[_spare(classes, colours)] = "object"
        doubts.insert(0, f"the masks show one class alone, {names[0]}: training needs two")
    every = [item.image for items in parts.values() for item in items]
    sizes = [size for path in _spread(every, SIZES) if (size := image_size(path))]
    height, width = np.median(sizes or [(512, 512)], axis=0).astype(int).tolist()
    text = _text(root, name, layout, content, classes, parts, (height, width), doubts)
    arguments = yaml.safe_load(text)["data"]["init_args"]
    data = Folder(**arguments)
    return Proposal(data, layout, parts, text, doubts)


def _spare(classes: Classes, colours: bool) -> Value:
    """An id or colour that no mask has."""
    if colours:
        return next((n, n, n) for n in range(1, 256) if (n, n, n) not in classes.names)
    return 1 + max(value for value in classes.names if isinstance(value, int))


def _doubts(content: Content, classes: Classes, parts: dict[str, list[Item]], colours: bool) -> list[str]:
    doubts = []
    made_up = [name for name in classes.names.values() if name.startswith("class_") or name == "object"]
    if made_up:
        doubts.append(f"made up names: {', '.join(dict.fromkeys(made_up))}. Write your own")
    if content.blurred:
        doubts.append(
            f"{100 * content.blurred:.1f} % of the pixels have values between those of the classes, as resizing with "
            "interpolation or JPEG makes them; nearest: true brings each to the nearest class. Exact masks are better"
        )
    if colours and (0, 0, 0) in content.shares and (0, 0, 0) in classes.names:
        doubts.append("black is taken for a class: where it means unlabeled, list it under void_colors instead")
    if classes.void and not colours and content.shares.get(IGNORE, 0) > 0.5:
        doubts.append("255 is ignored, and it is most of the pixels: where it means a class, add it to ids")
    rare = [name for value, name in classes.names.items() if 0 < content.shares.get(value, 0) < RARE]
    if rare:
        doubts.append(
            f"{', '.join(rare)}: less than {100 * RARE:.1f} % of the pixels; `--criterion.weights "
            "balanced`, Dice (`seglab list criteria`) and data.rare_classes help such classes"
        )
    if "val" in parts and len(parts["val"]) < 10:
        doubts.append(f"val has {len(parts['val'])} images: scores will jump from seed to seed")
    bare = sum(item.mask is None for item in parts.get("val", []))
    if bare:
        doubts.append(f"{bare} images of val have no mask: leave them out with skip, or label them")
    return doubts


def _text(
    root: Path,
    name: str,
    layout: Layout,
    content: Content,
    classes: Classes,
    parts: dict[str, list[Item]],
    size: tuple[int, int],
    doubts: Sequence[str],
) -> str:
    counts = ", ".join(
        f"{part} {len(items)} ({sum(item.mask is not None for item in items)} with mask)"
        for part, items in parts.items()
    )
    lines = [f"# {name}: {counts}; images of about {size[1]}x{size[0]}. Written by `seglab data init`."]
    lines += [f"# Look at this: {doubt}." for doubt in doubts]
    lines += [f"# {note}" for note in layout.notes]
    lines += [f"benchmark: {_quoted(name)}", "data:", "  class_path: Folder", "  init_args:"]
    lines += [f"    root: {_quoted(str(root.resolve()))}"]
    lines += [f"    images: {_quoted(layout.images)}", f"    masks: {_quoted(layout.masks)}"]
    if layout.splits:
        lines += [f"    splits: {_flow(layout.splits)}"]
    elif "{split}" not in layout.images + layout.masks:
        lines += ["    holdout: 5 # every fifth image with a mask is val; frames of one video flatter: list parts then"]
    lines += _class_lines(content, classes, layout.kind == Kind.COLOURS)
    if content.blurred or any(path.lower().endswith(JPEG) for path in layout.masks.split(",")):
        lines.append("    nearest: true # values between those of the classes become the nearest one")
    crop = [max(32, min(512, side // 32 * 32)) for side in size]
    large = min(size) >= LARGE
    lines += [f"    crop: {crop}"]
    lines += [
        f"    scale: {[0.25, 1.0] if large else [0.5, 2.0]} # by which training images are resized before the crop"
    ]
    lines += ["    labeled: all # or 1/8, a number of images, or a list file; the rest is unlabeled"]
    whole = max(size) <= 2 * 512
    evaluation = ["evaluation:", f"  class_path: {'Whole' if whole else 'Slide'}"]
    if not whole:
        evaluation += ["  init_args:", f"    window: {crop}", f"    stride: {[side * 3 // 4 for side in crop]}"]
        evaluation += ["    scales: [0.5]"] if large else []
    trainer = ["trainer:", "  max_steps: 2000", "  val_check_interval: 200"]
    return "\n".join([*lines, REST.rstrip(), *evaluation, *trainer]) + "\n"


def _class_lines(content: Content, classes: Classes, colours: bool) -> list[str]:
    names = list(dict.fromkeys(classes.names.values()))
    said = f" # names of {classes.source}" if classes.source else ""

    def share(value: Any) -> str:
        shown = content.images.get(value, 0)
        return f"{100 * content.shares.get(value, 0):.2f} % of the pixels, in {shown} of {content.opened} masks"

    lines = [f"    classes: {_flow(names)}{said}", "    colors:" if colours else "    ids:"]
    if colours:
        for name in names:
            own = [value for value, other in classes.names.items() if other == name]
            shown: Any = [list(value) for value in own if isinstance(value, tuple)]
            lines.append(f"      {_quoted(name)}: {shown[0] if len(shown) == 1 else shown} # {share(own[0])}")
        if classes.void:
            lines.append(f"    void_colors: {[list(value) for value in classes.void if isinstance(value, tuple)]}")
        return lines
    lines += [f"      {value}: {_quoted(name)} # {share(value)}" for value, name in classes.names.items()]
    if IGNORE not in classes.names:
        lines.append("    void: [255] # ignored" + (f": {share(IGNORE)}" if classes.void else ""))
    else:
        lines.append("    void: []")
    return lines


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, width=10_000, allow_unicode=True).removesuffix("\n").removesuffix("\n...")


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True).strip()


def write_sheet(proposal: Proposal, path: Path) -> int:
    """Images beside their masks, chosen so that every class is on it; returns how many.

    Raises:
        SeglabError: none can be read.
    """
    space = proposal.data.space
    colours = space.colours.copy()
    colours[UNKNOWN] = 255, 0, 255
    rows: list[list[np.ndarray]] = []
    captions, missing = [], set(range(space.num_classes))
    labeled = [(part, item) for part, items in proposal.parts.items() for item in items if item.mask]
    spread = _spread(labeled, ROWS // 2)
    for part, item in [*spread, *_spread([pair for pair in labeled if pair not in spread], 10 * ROWS)]:
        if len(rows) >= ROWS or (len(rows) >= len(spread) and not missing):
            break
        try:
            image, mask = read_image(item.image), read_mask(item.mask, space)
            check_size(item.mask, mask, item.image, image)
        except SeglabError:  # `data check` names it
            continue
        shown = {int(index) for index in np.unique(mask)} - {IGNORE, UNKNOWN}
        if len(rows) >= len(spread) and not shown & missing:
            continue
        missing -= shown
        rows.append([image, overlay(image, mask, colours), colours[mask]])
        captions.append(f"{part}: {item.key}: {', '.join(space.names[index] for index in sorted(shown))}")
    if not rows:
        image_of = labeled[0][1]
        read_image(image_of.image)
        read_pair(image_of, space)  # says why
        raise SeglabError(f"no mask fits its image, such as {image_of.mask}")
    legend = dict(zip(space.names, space.palette, strict=True))
    contact_sheet(rows, ["image", "overlay", "mask (ignored: black, unknown: magenta)"], path, captions, legend=legend)
    return len(rows)


def _spread(values: Sequence[Any], most: int) -> list[Any]:
    return list(values[:: max(1, -(-len(values) // most))])
