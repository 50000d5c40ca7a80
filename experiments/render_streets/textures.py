"""Tileable textures, as a grey factor around 1 that multiplies a surface's colour."""

import numpy as np

SIZE = 512  # pixels along each side of a texture


def fractal(rng: np.random.Generator, height: int, width: int, slope: float = 1.0, low: int = 1) -> np.ndarray:
    """Tileable noise H W in 0..1, whose spectrum falls with frequency to the power ``slope`` and begins at ``low``."""
    fy, fx = np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width
    frequency = np.hypot(fy, fx)
    amplitude = np.where(frequency >= low, 1 / np.maximum(frequency, 1) ** slope, 0)
    noise = np.fft.ifft2(amplitude * np.exp(2j * np.pi * rng.random((height, width)))).real
    return np.clip(0.5 + (noise - noise.mean()) / (noise.std() * 5), 0, 1)


def blocks(
    rng: np.random.Generator, rows: int, columns: int, joint: float, spread: float, mortar: float = 0.75
) -> np.ndarray:
    """Courses of bricks, stones, pavers or tiles, every other one shifted by half a block.

    Args:
        joint: half the width of a joint, as a fraction of the texture.
        spread: range of the blocks' brightness.
        mortar: brightness of a joint.
    """
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    row = np.floor(y * rows).astype(int)
    shifted = x * columns + (row % 2) * 0.5
    column = np.floor(shifted).astype(int) % columns
    tone = 1 + spread * (rng.random((rows, columns))[row % rows, column] - 0.5)
    across, up = np.abs((y * rows) % 1 - 0.5), np.abs(shifted % 1 - 0.5)
    gap = (across > 0.5 - joint * rows) | (up > 0.5 - joint * columns)
    return np.where(gap, mortar, tone) * (0.85 + 0.3 * fractal(rng, SIZE, SIZE, 0.8))


def make_textures(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """All textures by name, SIZE SIZE each."""
    n = SIZE
    asphalt = 0.3 + 0.8 * fractal(rng, n, n, 0.2, 30) + 0.6 * fractal(rng, n, n, 1.2, 2)
    cracks = np.abs(fractal(rng, n, n, 1.5, 2) - 0.5) < 0.004
    asphalt = np.where(cracks, asphalt * 0.7, asphalt)
    plaster = 0.75 + 0.35 * fractal(rng, n, n, 1.3) + 0.15 * fractal(rng, n, 8, 0.5).repeat(n // 8, 1)
    grass = 0.35 + 0.9 * fractal(rng, n, n, 0.5, 6) + 0.4 * fractal(rng, n, n, 1.4)
    return {
        "asphalt": asphalt,
        "paver": blocks(rng, 8, 8, 0.003, 0.28, 0.7),
        "brick": blocks(rng, 24, 10, 0.004, 0.5, 1.15),
        "stone": blocks(rng, 10, 6, 0.004, 0.25),
        "plaster": plaster,
        "grass": grass,
        "roof": blocks(rng, 20, 16, 0.005, 0.3, 0.6),
        "stain": 0.72 + 0.56 * fractal(rng, n, n, 1.3),
        "dirt": 0.45 + 1.1 * fractal(rng, n, n, 1.3),
        "worn": 0.45 + 0.75 * np.clip(fractal(rng, n, n, 0.6, 4) * 2.2 - 0.35, 0, 1),
    }
