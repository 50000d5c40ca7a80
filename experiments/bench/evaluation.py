"""Evaluation of 2048x1024 images, whole and by sliding windows, against a plain loop that does the same forwards.

    OMP_NUM_THREADS=1 python experiments/bench/evaluation.py

``seglab`` is a validation step: probabilities by the protocol, the most probable class, the confusion matrix. ``plain``
is what one would write: whole images to logits and their argmax; windows of 801x801 (stride 534) one after the other,
whose softmax is added up; then ``np.bincount``. The script fails if their matrices differ. ``forwards`` is the
network alone on the same images or windows, which nothing can undercut.
"""

from collections.abc import Callable

import numpy as np
import torch
from _turns import DEVICE, arguments, compare, finish, spread, table, take_turns
from torch import Tensor

from seglab.evaluation import Inference, SegmentationMetric, Slide, Whole
from seglab.labels import CITYSCAPES
from seglab.networks import Segmenter
from seglab.ops.pseudo import hard_label
from seglab.streets.scene import render
from seglab.streets.style import PHOTO

CLASSES = 19


def starts(length: int, window: int, stride: int) -> list[int]:
    return sorted({min(start, length - window) for start in range(0, length - window + stride, stride)})


def windows(image: Tensor, window: int, stride: int) -> list[tuple[slice, slice]]:
    height, width = image.shape[-2:]
    return [
        (slice(top, top + window), slice(left, left + window))
        for top in starts(height, window, stride)
        for left in starts(width, window, stride)
    ]


def plain(network: Segmenter, image: Tensor, mask: Tensor, window: int, stride: int) -> np.ndarray:
    """Confusion matrix K x K of one image."""
    if window:
        total = torch.zeros(1, CLASSES, *image.shape[-2:], device=DEVICE)
        count = torch.zeros(image.shape[-2:], device=DEVICE)
        for rows, columns in windows(image, window, stride):
            total[..., rows, columns] += network(image[..., rows, columns]).logits.softmax(1)
            count[rows, columns] += 1
        label = (total / count).argmax(1)
    else:
        label = network(image).logits.argmax(1)
    truth, label_ = mask.cpu().numpy().ravel(), label.cpu().numpy().ravel()
    known = truth != 255
    cells = truth[known].astype(np.int64) * CLASSES + label_[known]
    return np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


@torch.no_grad()
def measure(
    network: Segmenter, image: Tensor, mask: Tensor, window: int, stride: int, rounds: int
) -> dict[str, list[float]]:
    # one window in a forward on a CPU, as the plain loop: batches of windows pay on a GPU
    slide = {"batch": 1} if DEVICE.type == "cpu" else {}
    protocol: Inference = Slide((window, window), (stride, stride), **slide) if window else Whole()  # type: ignore[arg-type]
    metric = SegmentationMetric([str(index) for index in range(CLASSES)]).to(DEVICE)

    def seglab() -> None:
        metric.update(hard_label(protocol(network, image)), mask)

    def forwards() -> None:
        for rows, columns in windows(image, window, stride) if window else [(slice(None), slice(None))]:
            network(image[..., rows, columns])

    seglab()
    ours, theirs = metric.confusion.cpu().numpy(), plain(network, image, mask, window, stride)
    if np.abs(ours - theirs).sum() > 1e-3 * theirs.sum():  # rounding may decide between two equal classes
        raise SystemExit(f"the plain loop counts other pixels: {ours.sum()} and {theirs.sum()}")
    turns: dict[str, Callable[[], object]] = {
        "seglab": seglab,
        "plain": lambda: plain(network, image, mask, window, stride),
        "forwards": forwards,
    }
    return take_turns(turns, rounds, warmup=0)  # the comparison of the matrices was one


def main() -> None:
    parser = arguments(__file__, __doc__, 5)
    parser.add_argument("--encoder", default="tu-tf_efficientnet_lite0")
    options = parser.parse_args()
    size, window, stride = (2048, 1024), 801, 534
    if options.quick:
        options.encoder, options.rounds, size, window, stride = "tu-test_efficientnet", 1, (256, 128), 96, 64
    torch.manual_seed(0)
    network = Segmenter(CITYSCAPES, encoder=options.encoder, weights="none").to(DEVICE).eval()
    pixels, ids = render(np.random.default_rng(0), PHOTO, size)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].to(DEVICE).float().div_(255)
    mask = torch.from_numpy(np.where(ids < CLASSES, ids, 255)).to(DEVICE)[None]  # any labels will do

    result: dict[str, object] = {}
    lines = []
    for name, side in (("whole", 0), ("slide", window)):
        seconds = measure(network, image, mask, side, stride, options.rounds)
        against = {other: compare(seconds, other)["seglab"] for other in ("plain", "forwards")}
        result[name] = against
        lines.append([name, f"{against['plain']['median']:.2f}", *(spread(one) for one in against.values())])
    print(table(["protocol", "s / image", "x plain", "x forwards"], lines))
    setup = {"size": size, "window": window, "stride": stride, "encoder": options.encoder, "rounds": options.rounds}
    finish(options.output, setup | {"protocols": result})


if __name__ == "__main__":
    main()
