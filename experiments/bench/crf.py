"""The dense CRF of ops/crf.py on an image of VOC's size, against pydensecrf2 where it is installed.

    OMP_NUM_THREADS=1 python experiments/bench/crf.py
    pip install pydensecrf2     # builds from source; its rows are left out without it

10 iterations of 21 classes on 375x500 pixels, a drawn street with the noise of a camera, one alternative after the
other. ``agrees`` is the share of the pixels of a 48x64 part whose label is that of the exact computation over all
pairs of pixels.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _turns import DEVICE, arguments, compare, finish, spread, table, take_turns
from torch import Tensor

from seglab.ops.crf import DenseCRF, pixel_features
from seglab.streets.scene import render
from seglab.streets.style import PHOTO

CLASSES = 21
SETTINGS = {
    "DeepLab": DenseCRF(),
    "CAM seeds": DenseCRF(10, 3, 3, 10, 50, 5),
    "ADELE's kernels": DenseCRF(10, 3, 3, 10, 32, 13),
}


def library() -> Any:
    """The module of pydensecrf2, None where it is not installed."""
    try:
        return import_module("pydensecrf.densecrf")
    except ImportError:
        return None


def theirs(module: Any, crf: DenseCRF, probability: Tensor, image: Tensor) -> Tensor:
    """What pydensecrf computes for probabilities K H W and an image 3 H W."""
    classes, height, width = probability.shape
    model = module.DenseCRF2D(width, height, classes)
    model.setUnaryEnergy(np.ascontiguousarray(-probability.clamp(min=1e-20).log().flatten(1).numpy()))
    model.addPairwiseGaussian(sxy=crf.spatial_sigma, compat=crf.spatial_weight)
    pixels = np.ascontiguousarray((image * 255).round().byte().permute(1, 2, 0).numpy())
    model.addPairwiseBilateral(
        sxy=crf.bilateral_sigma, srgb=crf.colour_sigma, rgbim=pixels, compat=crf.bilateral_weight
    )
    return torch.from_numpy(np.array(model.inference(crf.iterations))).view_as(probability)


def exact(crf: DenseCRF, probability: Tensor, image: Tensor) -> Tensor:
    """The mean field over all pairs of pixels, in 64 bits."""
    features = pixel_features(image).double()
    kernels = []
    scales = [crf.spatial_sigma] * 2, [crf.bilateral_sigma] * 2 + [crf.colour_sigma] * 3
    for weight, scale in zip((crf.spatial_weight, crf.bilateral_weight), scales, strict=True):
        part = features[:, : len(scale)] / features.new_tensor(scale)
        kernel = torch.exp(-torch.cdist(part, part).square() / 2)
        root = kernel.sum(1).rsqrt()
        kernels.append(weight * root[:, None] * kernel * root)
    unary = probability.double().clamp(min=1e-20).log().flatten(1).T
    q = probability.double().flatten(1).T
    for _ in range(crf.iterations):
        q = (unary + kernels[0] @ q + kernels[1] @ q).softmax(1)
    return q.T.reshape(probability.shape)


def main() -> None:
    parser = arguments(__file__, __doc__, 5)
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500), help="height and width")
    options = parser.parse_args()
    height, width = (48, 64) if options.quick else options.size
    rounds = 1 if options.quick else options.rounds

    drawn, _ = render(np.random.default_rng(0), PHOTO, (width, height))
    image = torch.from_numpy(np.ascontiguousarray(drawn)).permute(2, 0, 1).float() / 255
    torch.manual_seed(0)
    coarse = torch.randn(1, CLASSES, max(height // 16, 2), max(width // 16, 2))
    fine = torch.randn(1, CLASSES, height, width)
    logits = 3 * F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False) + fine
    probability = logits.softmax(1)[0]
    top, left = height // 3, width // 3
    part = (slice(None), slice(top, top + 48), slice(left, left + 64))
    small, pixels = probability[part], image[part]

    module, result, lines = library(), dict[str, Any](), []
    for setting, crf in SETTINGS.items():
        on_device = probability[None].to(DEVICE), image[None].to(DEVICE)
        turns: dict[str, Callable[[], object]] = {"seglab": lambda crf=crf, on=on_device: crf(*on)}  # type: ignore[misc]
        refined = {"seglab": crf(small[None], pixels[None])[0]}
        if module:
            turns["pydensecrf"] = lambda crf=crf: theirs(module, crf, probability, image)  # type: ignore[misc]
            refined["pydensecrf"] = theirs(module, crf, small, pixels)
        truth = exact(crf, small, pixels).argmax(0)
        costs = compare(take_turns(turns, rounds), "seglab")
        for name, cost in costs.items():
            agrees = (refined[name].argmax(0) == truth).float().mean().item()
            result[f"{setting}, {name}"] = cost | {"agrees": agrees}
            lines.append((setting, name, f"{cost['median']:.2f}", spread(cost), f"{100 * agrees:.1f} %"))
    print(table(("setting", "CRF", "s / image", "x seglab", "agrees"), lines))
    finish(options.output, {"size": [height, width], "classes": CLASSES, "rounds": rounds, "crf": result})


if __name__ == "__main__":
    main()
