"""What a cheap camera adds to a picture."""

import numpy as np


def blur(a: np.ndarray, k: float) -> np.ndarray:
    """Each pixel gives the fraction ``k`` of itself to its neighbours, along both axes in turn."""
    for axis in (0, 1):
        a = (1 - k) * a + k / 2 * (np.roll(a, 1, axis) + np.roll(a, -1, axis))
    return a


def finish(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White balance, vignette, softness or sharpening, smeared colour and grain.

    Args:
        rgb: H W 3 uint8.
        rng: the frame's generator for this step.

    Returns:
        H W 3 uint8.
    """
    height, width = rgb.shape[:2]
    x = rgb / 255 * (1 + rng.normal(0, 0.025, 3))
    yy, xx = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    x = x * (1 - rng.uniform(0, 0.16) * (xx**2 + yy**2)[..., None])
    x = x + rng.uniform(-0.5, 0.7) * (x - blur(x, 0.5))
    grey = x.mean(-1, keepdims=True)
    x = grey + blur(blur(x - grey, 0.6), 0.6)
    x = x + rng.normal(0, rng.uniform(0.004, 0.016), x.shape)
    x = x + blur(rng.normal(0, rng.uniform(0, 0.012), (height, width, 1)), 0.5)
    return np.clip(np.rint(x * 255), 0, 255).astype(np.uint8)
