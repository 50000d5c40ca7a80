"""Images per second per core of data loading: a plain Pillow pipeline, seglab from PNGs, seglab from its cache.

    python experiments/bench/loader.py                  # 2048x1024 PNGs of about 2.4 MB, crop 801; JSON beside it
    python experiments/bench/loader.py --memory true    # resident memory of 4 workers over 10,000 samples too

One process, one thread, seconds of processor time. The three take turns image by image, so that whatever else the
machine does to caches and memory hits all alike. Images are drawn by the generator of `streets` with sensor
noise that makes PNGs as large as photographs', and are kept in the system's folder for temporary files; every file is
read once before the clock starts.

The Pillow pipeline is written from the description of UniMatch's data set: decode image and mask, resize both whole by
a random factor in [0.5, 2], pad, crop, flip; then for one unlabeled sample a weak view and two strong ones (colour
jitter 0.5, 0.5, 0.5, 0.25 with probability 0.8, grayscale 0.2, blur 0.5), normalised float tensors, two CutMix boxes.

Three readings, each counted from the files on:
  geometry  image and mask cropped and flipped, in bytes
  tensors   plus what a training step needs before any colour changes: three views, float and normalised,
            and the mask as int64. Pillow does it in the worker, seglab on the device, which is counted
  strong    plus two strong views and their CutMix boxes: Pillow in the worker; seglab with StrongView on the device
"""

import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from _turns import DEVICE, arguments, finish, flag
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision import transforms

from seglab.data import Cityscapes
from seglab.data.cache import write_cache
from seglab.data.decode import decode_png
from seglab.data.streams import Positions, Stream, stream_loader
from seglab.ops.boxes import AreaBox
from seglab.ops.views import StrongView
from seglab.streets.scene import render
from seglab.streets.style import PHOTO

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
READINGS = ("geometry", "tensors", "strong")
WEIGHT = (2.2, 2.6)  # MB per 2048x1024 PNG, as those of Cityscapes have


# The data.


def photographs(count: int, size: tuple[int, int]) -> Path:
    """A folder in Cityscapes' layout with ``count`` images of ``size`` = width, height."""
    root = Path(tempfile.gettempdir()) / f"seglab-bench-{size[0]}x{size[1]}"
    for index in range(count):
        stem = f"train/city/city_{index:06d}_000019"
        image = root / f"leftImg8bit/{stem}_leftImg8bit.png"
        mask = root / f"gtFine/{stem}_gtFine_labelIds.png"
        if image.is_file() and mask.is_file():
            continue
        pixels, labels = render(np.random.default_rng([0, 1, index]), PHOTO, size)
        image.parent.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(mask)
        image.write_bytes(_as_heavy_as_a_photograph(pixels, index))
    return root


def _as_heavy_as_a_photograph(pixels: np.ndarray, seed: int) -> bytes:
    """PNG of an image with as much grey noise as gives it the bytes per pixel of Cityscapes' files."""
    noise = np.random.default_rng(seed).standard_normal(pixels.shape[:2], np.float32)[..., None]
    scale = pixels.shape[0] * pixels.shape[1] / (2048 * 1024) * 1e6
    low, high, content = 0.0, 8.0, b""
    for _ in range(8):
        buffer = BytesIO()
        middle = (low + high) / 2
        Image.fromarray(np.clip(pixels + middle * noise, 0, 255).astype(np.uint8)).save(buffer, "PNG")
        content = buffer.getvalue()
        if WEIGHT[0] * scale <= len(content) <= WEIGHT[1] * scale:
            break
        low, high = (middle, high) if len(content) < WEIGHT[0] * scale else (low, middle)
    return content


# The plain pipeline.

JITTER = transforms.ColorJitter(0.5, 0.5, 0.5, 0.25)
NORMALISED = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def plain_geometry(image_path: Path, mask_path: Path, crop: int) -> tuple[Image.Image, Image.Image]:
    """Law G1: scale the whole image, pad at the right and bottom, crop, flip."""
    image = Image.open(image_path).convert("RGB")
    mask = Image.fromarray(np.array(Image.open(mask_path)))
    width, height = image.size
    long = random.randint(max(width, height) // 2, max(width, height) * 2)
    factor = long / max(width, height)
    size = (int(width * factor + 0.5), int(height * factor + 0.5))
    image, mask = image.resize(size, Image.Resampling.BILINEAR), mask.resize(size, Image.Resampling.NEAREST)
    border = (0, 0, max(crop - size[0], 0), max(crop - size[1], 0))
    image, mask = ImageOps.expand(image, border, fill=0), ImageOps.expand(mask, border, fill=255)
    left, top = random.randint(0, image.size[0] - crop), random.randint(0, image.size[1] - crop)
    box = (left, top, left + crop, top + crop)
    image, mask = image.crop(box), mask.crop(box)
    if random.random() < 0.5:
        image, mask = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image, mask


def plain_strong(image: Image.Image) -> Image.Image:
    """Law S1."""
    if random.random() < 0.8:
        image = JITTER(image)
    if random.random() < 0.2:
        image = transforms.functional.to_grayscale(image, num_output_channels=3)
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    return image


def plain_box(crop: int) -> Tensor:
    """Law C1."""
    mask = torch.zeros(crop, crop)
    if random.random() > 0.5:
        return mask
    area = random.uniform(0.02, 0.4) * crop * crop
    while True:
        ratio = random.uniform(0.3, 1 / 0.3)
        width, height = int((area / ratio) ** 0.5), int((area * ratio) ** 0.5)
        left, top = random.randrange(crop), random.randrange(crop)
        if left + width <= crop and top + height <= crop:
            mask[top : top + height, left : left + width] = 1
            return mask


def plain(image_path: Path, mask_path: Path, crop: int, reading: str) -> object:
    image, mask = plain_geometry(image_path, mask_path, crop)
    if reading == "geometry":
        return image, mask
    views, boxes = [image] * 3, []
    if reading == "strong":
        views[1:] = [plain_strong(view) for view in views[1:]]
        boxes = [plain_box(crop), plain_box(crop)]
    return [NORMALISED(view) for view in views], torch.from_numpy(np.array(mask)).long(), boxes


# seglab.

STRONG, BOX = StrongView(), AreaBox()


def on_device(image: Tensor, mask: Tensor, reading: str) -> object:
    """What a method does with a batch before its networks see it."""
    image = image.to(DEVICE, non_blocking=True).float().div_(255)
    views, boxes = [image] * 3, []
    if reading == "strong":
        views[1:] = [STRONG(image), STRONG(image)]
        boxes = [BOX(len(image), *image.shape[-2:], DEVICE) for _ in range(2)]
    mean, std = (torch.tensor(values, device=DEVICE).view(1, 3, 1, 1) for values in (MEAN, STD))
    return [(view - mean) / std for view in views], mask.to(DEVICE, non_blocking=True).long(), boxes


def ours(stream: Stream, position: int, reading: str) -> object:
    sample = stream[position]
    if reading == "geometry" or DEVICE.type == "cuda":  # an accelerator's share is measured in batches, below
        return sample
    return on_device(sample["image"][None], sample["mask"][None], reading)


def device_seconds(crop: int, reading: str, batch: int = 8, repeats: int = 30) -> float:
    """Seconds per image that the accelerator adds; 0 where there is none, as the CPU's share is in the turns."""
    if reading == "geometry" or DEVICE.type != "cuda":
        return 0.0
    image, mask = (
        torch.zeros(batch, 3, crop, crop, dtype=torch.uint8),
        torch.zeros(batch, crop, crop, dtype=torch.uint8),
    )
    for repeat in range(2 * repeats):
        if repeat == repeats:
            torch.cuda.synchronize()
            start = time.perf_counter()
        on_device(image, mask, reading)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / (batch * repeats)


# The measurements.


def speed(count: int, size: tuple[int, int], crop: int, rounds: int) -> dict[str, object]:
    root = photographs(count, size)
    with tempfile.TemporaryDirectory() as cache:
        data = Cityscapes(str(root))
        items = data.items("train")[:count]
        write_cache(items, root, data.own_space, Path(cache))
        (listed := Path(cache) / "labeled.txt").write_text("\n".join(item.key for item in items))
        files, cached = (
            Cityscapes(str(root), labeled=str(listed), crop=(crop, crop), cache=folder).stream("labeled", 0)
            for folder in ("", cache)
        )
        seconds = {reading: dict.fromkeys(("pillow", "png", "cache"), 0.0) for reading in READINGS}
        for position in range(-count, count * rounds):  # the first pass warms up
            item = items[position % count]
            assert item.mask is not None
            for reading in READINGS:
                turns: dict[str, Callable[[], object]] = {
                    "pillow": lambda item=item, r=reading: plain(item.image, item.mask, crop, r),
                    "png": lambda p=position % (count * rounds), r=reading: ours(files, p, r),
                    "cache": lambda p=position % (count * rounds), r=reading: ours(cached, p, r),
                }
                for name, turn in turns.items():
                    start = time.process_time()  # of a core: what else it does is not counted
                    turn()
                    if position >= 0:
                        seconds[reading][name] += time.process_time() - start
    samples = count * rounds
    result: dict[str, object] = {"samples": samples, "crop": crop, "size": list(size), "png_mb": _megabytes(items)}
    for reading, spent in seconds.items():
        extra = device_seconds(crop, reading)
        each = {name: total / samples + (0 if name == "pillow" else extra) for name, total in spent.items()}
        result[reading] = {
            "images_per_second": {name: round(1 / value, 2) for name, value in each.items()},
            "ratio_png": round(each["pillow"] / each["png"], 2),
            "ratio_cache": round(each["pillow"] / each["cache"], 2),
        }
    return result


def _megabytes(items: list) -> float:
    return round(sum(item.image.stat().st_size for item in items) / len(items) / 1e6, 2)


def memory(samples: int, workers: int) -> dict[str, object]:
    """Resident memory of the workers, in MB: anonymous (their own) and of mapped files (the kernel's to take back)."""
    root = photographs(8, (256, 128))
    result: dict[str, object] = {"samples": samples, "workers": workers}
    with tempfile.TemporaryDirectory() as cache:
        data = Cityscapes(str(root))
        write_cache(data.items("train"), root, data.own_space, Path(cache))
        for name, folder in (("png", ""), ("cache", cache)):
            stream = Cityscapes(str(root), crop=(96, 96), cache=folder).stream("labeled", 0)
            batches = iter(stream_loader(stream, Positions(4), workers))
            early = late = None
            for batch in range(samples // 4):
                next(batches)
                if batch == samples // 40:  # a tenth of the way: everything has been allocated once
                    early = _resident()
            late = _resident()
            del batches
            result[name] = {"early": early, "late": late}
    return result


def _resident() -> dict[str, float] | None:
    total = {"RssAnon": 0.0, "RssFile": 0.0}
    for child in multiprocessing.active_children():
        status = Path(f"/proc/{child.pid}/status")
        if not status.is_file():  # not Linux
            return None
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        for name in total:
            total[name] += int(fields[name].split()[0]) / 1e3
    return {name: round(value, 1) for name, value in total.items()}


def main() -> None:
    parser = arguments(__file__, __doc__, 8)
    parser.add_argument("--memory", type=flag, default=False, help="true: memory of workers too")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    random.seed(0)

    result: dict[str, object] = {"png_decoder": "kornia-rs" if decode_png else "opencv"}
    result |= speed(2, (256, 128), 100, 1) if options.quick else speed(8, (2048, 1024), 801, options.rounds)
    for reading in READINGS:
        print(f"{reading:9} {json.dumps(result[reading])}")
    if options.quick or options.memory:
        result["memory"] = memory(200 if options.quick else 10_000, workers=1 if options.quick else 4)
        print(f"memory    {json.dumps(result['memory'])}")
    finish(options.output, result)


if __name__ == "__main__":
    main()
