"""Predictions of all methods for the same images, packed into a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seglab.runs.directory import PANELS
from seglab.runs.reading import Run

SIDE = 1024  # pixels: larger pictures are scaled down
BUDGET = 8_000_000  # bytes of pictures
IMAGES = 6  # shown when none are chosen


def pack_panels(
    methods: Mapping[str, Sequence[Run]], chosen: Sequence[str] = (), budget: int = BUDGET
) -> dict[str, Any]:
    """Images, truth and last predictions as data URIs; masks are grey PNGs whose value is the class index.

    One run stands for each method: the lowest seed that most methods have pictures of.

    Args:
        methods: method -> its runs.
        chosen: keys of images, as far as these runs have them; none: the first ``IMAGES``.
        budget: bytes; images beyond it are left out, which the caption says. The first one is always there.
    """
    runs = _representatives(methods)
    contents = {name: content for name, run in runs.items() if (content := _readable(run))}
    keys = list(dict.fromkeys(image["key"] for content in contents.values() for image in content["images"]))
    wanted = [key for key in chosen if key in keys] if chosen else keys[:IMAGES]
    images: list[dict[str, Any]] = []
    for key in wanted:
        packed = _pack(key, runs, contents)
        budget -= _length(packed)
        if images and budget < 0:
            break
        images += [packed] if packed else []
    if not images:
        empty = f"No run has pictures of {', '.join(chosen) or 'its predictions'} in {Path(PANELS).parent}/."
        return {"images": [], "classes": [], "palette": [], "caption": "", "empty": empty}
    packed_methods = dict.fromkeys(name for image in images for name in image["predictions"])
    seeds = ", ".join(sorted({str(runs[name].seed) for name in packed_methods}))
    left_out = len(keys) - len(images)
    absent = [name for name in methods if name not in packed_methods]
    caption = (
        f"One run of each method (seed {seeds}), last validation. Under each prediction: what is wrong in orange, "
        "pixels without truth in grey. Drag to move, pinch or double-click to zoom; all pictures follow."
        + (f" {left_out} more in the runs' panels/ (--images KEY,KEY chooses)." if left_out else "")
        + (f" No whole pictures of: {', '.join(absent)}." if absent else "")
    )
    first = next(iter(contents.values()))
    return {"images": images, "classes": first["classes"], "palette": first["palette"], "caption": caption, "empty": ""}


def picture_keys(runs: Sequence[Run]) -> list[str]:
    """Keys of all images that some run has pictures of."""
    contents = [content for run in runs if (content := _readable(run))]
    return list(dict.fromkeys(image["key"] for content in contents for image in content["images"]))


def _representatives(methods: Mapping[str, Sequence[Run]]) -> dict[str, Run]:
    having = {name: {run.seed: run for run in runs if _readable(run)} for name, runs in methods.items()}
    seeds = [seed for found in having.values() for seed in found]
    order = sorted(set(seeds), key=lambda seed: (-seeds.count(seed), seed is None, seed))
    return {name: next(found[seed] for seed in order if seed in found) for name, found in having.items() if found}


def _readable(run: Run) -> dict[str, Any] | None:
    """The run's panels, if they are whole: a list of images with key, image, truth and predictions."""
    content = run.panels
    try:
        if content and all({"key", "image", "truth", "predictions"} <= image.keys() for image in content["images"]):
            return content if content["images"] and content["classes"] and content["palette"] else None
    except (KeyError, TypeError, AttributeError):
        pass
    return None


def _pack(key: str, runs: Mapping[str, Run], contents: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """One image with every method's last prediction; None if no run has its files whole.

    A method whose files are missing or cut has no prediction.
    """
    base: dict[str, Any] = {}
    predictions: dict[str, dict[str, str]] = {}
    size = (0, 0)
    for name, content in contents.items():
        image = next((image for image in content["images"] if image["key"] == key), None)
        if image is None or not image["predictions"]:
            continue
        folder = (runs[name].folder / PANELS).parent
        last = {network: file for network, file in image["predictions"][-1].items() if network != "step"}
        try:
            if not base:
                photo = Image.open(_inside(folder, image["image"])).convert("RGB")
                photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                size = photo.size
                truth = _mask(_inside(folder, image["truth"]), size)
                base = {"image": _uri(photo, "jpeg", quality=85), "truth": truth}
            predictions[name] = {network: _mask(_inside(folder, file), size) for network, file in last.items()}
        except Exception:  # Pillow raises many kinds on broken files, and a foreign list may hold anything
            continue
    return {"key": key, **base, "predictions": predictions} if predictions else None


def _inside(folder: Path, name: str) -> Path:
    """A picture of the run itself: the page would publish whatever else a foreign run directory points to."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{path} lies outside {folder}")
    return path


def _mask(path: Path, size: tuple[int, int]) -> str:
    """A mask of class indices, scaled like its image."""
    with Image.open(path) as mask:
        indices = Image.fromarray(np.asarray(mask))  # a palette PNG's indices, not its colours
    if indices.mode != "L":
        raise ValueError(f"{path} is no mask of class indices: it has mode {indices.mode}")
    return _uri(indices.resize(size, Image.Resampling.NEAREST), "png", optimize=True)


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _length(part: Any) -> int:
    """Characters of a packed image."""
    return sum(map(_length, part.values())) if isinstance(part, dict) else len(part or "")
