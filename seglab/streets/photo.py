"""The photographed look: own bonnet, lens, sensor and compression."""

import cv2
import numpy as np

from seglab.streets.canvas import noise
from seglab.streets.style import EGO, RNG, Style


def bonnet(image: np.ndarray, labels: np.ndarray, style: Style, rng: RNG) -> None:
    """Paint the camera car's bonnet over the lowest rows, in place; labelled ego vehicle."""
    h, w = labels.shape
    rise = rng.uniform(0.06, 0.13) * h
    x = np.linspace(-1, 1, w)
    top = h - rise * np.clip(1 - np.abs(x) ** 3.5 * 1.1, 0, 1)
    depth = np.arange(h)[:, None] + 0.5 - top[None, :]
    inside = depth > 0
    shine = np.clip(depth / rise, 0, 1)[..., None]
    paint = np.array(rng.choice([[46, 48, 52], [120, 124, 128], [24, 26, 34], [90, 20, 24]])) * style.warmth
    colour = paint * (0.6 + 0.4 * shine) + style.sky[1] * 0.4 * (1 - shine) ** 2
    image[inside] = np.clip(colour, 0, 255).astype(np.uint8)[inside]
    labels[inside] = EGO


def photograph(image: np.ndarray, labels: np.ndarray, style: Style, rng: RNG) -> np.ndarray:
    """Turn a painted frame into a photograph.

    Args:
        image: H W 3 uint8 RGB, not changed.
        labels: H W uint8; receives the bonnet.

    Returns:
        H W 3 uint8 RGB.
    """
    image = image.copy()
    h, w = labels.shape
    if rng.random() < 0.75:
        bonnet(image, labels, style, rng)
    linear: np.ndarray = (image.astype(np.float32) / 255) ** np.float32(2.2)

    # illumination: uneven light over the scene, exposure, white balance
    oy, ox = rng.integers(0, 384, 2)
    uneven = cv2.resize(noise(512, 64)[oy : oy + 128, ox : ox + 128], (w, h), interpolation=cv2.INTER_CUBIC)
    level = float(np.mean(linear ** np.float32(0.4545)))
    exposure = (np.clip(rng.normal(0.43, 0.06), 0.27, 0.56) / level) ** 2.2
    gain = exposure * (1 + rng.uniform(0, 0.22) * uneven)
    cast = np.exp(rng.normal(0, 0.07, 3)) * np.exp(rng.normal(0, 0.10) * np.array([1.0, 0.0, -1.0]))
    linear *= gain[..., None].astype(np.float32) * cast.astype(np.float32)

    # lens: glare of the sky, vignetting, defocus or motion
    glare = cv2.GaussianBlur(linear, (0, 0), 0.06 * w)
    veil = np.float32(rng.uniform(0.0, 0.16))
    linear = linear * (1 - veil) + glare * veil
    v, u = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    linear *= (1 - rng.uniform(0.1, 0.42) * (u**2 + 0.6 * v**2) / 1.6)[..., None].astype(np.float32)
    blur = rng.random()
    if blur < 0.65:
        linear = cv2.GaussianBlur(linear, (0, 0), rng.uniform(0.35, 0.8))
    elif blur < 0.8:
        length = int(rng.integers(2, 5))
        linear = cv2.blur(linear, (length, 1))

    # sensor: shot and read noise; then tone curve and JPEG
    signal = np.maximum(linear, np.float32(0))
    spread = np.sqrt(signal * rng.uniform(0.0001, 0.0012) + rng.uniform(0.002, 0.006) ** 2)
    linear = signal + rng.standard_normal(linear.shape, np.float32) * spread.astype(np.float32)
    tone = np.clip(linear, 0, None) ** np.float32(1 / 2.2)
    shoulder = np.where(tone > 0.8, 0.8 + 0.2 * np.tanh((tone - 0.8) / 0.2), tone)
    contrast = rng.uniform(0.85, 1.15)
    finished = np.clip((shoulder - 0.45) * contrast + 0.45 + rng.uniform(-0.03, 0.05), 0, 1)
    quality = int(rng.integers(45, 92))
    pixels = np.ascontiguousarray((finished * 255).astype(np.uint8)[..., ::-1])
    _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
