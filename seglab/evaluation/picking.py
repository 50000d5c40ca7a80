"""Which pixels of labeled images to ask for next: PixelPick (Shin, Xie and Albanie, ICCV workshop 2021).

The least sure pixels of an image form a pool, of which a few are drawn uniformly: the pool makes them worth asking, the
draw keeps them apart from each other. Deviations:
    labeled and void pixels rank last, and are drawn again where few others are left -> they are never drawn.
    void pixels are known -> only where a mask answers; somebody who answers says ``void``.
    Monte Carlo dropout, and the reverse order (a random pool, its least sure pixels) -> left out.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from seglab.data.decode import Reader, check_size, read_image
from seglab.data.files import Item, describe
from seglab.data.points import Point, image_size
from seglab.labels import IGNORE
from seglab.types import SeglabError

Score = Callable[[Tensor], Tensor]  # an image 1 3 H W uint8 -> how unsure its pixels are, H W


def pick_pixels(
    items: Iterable[Item],
    known: Sequence[Point],
    number: int,
    top: float,
    seed: int,
    score: Score | None = None,
    answers: Reader | None = None,
) -> Iterator[list[Point]]:
    """The next pixels of each image; their classes, where masks answer.

    Args:
        items: the images, in order.
        known: pixels that were asked for before; they are not asked for again.
        number: of pixels of an image.
        top: share of an image's pixels that the pool has.
        seed: with it, the pixels of an image are a function of its key, its scores and how many were asked before.
        score: how unsure the network is; None: pixels are drawn from the whole image.
        answers: reads the masks that answer; their void pixels are not asked for.

    Raises:
        SeglabError: an image has no mask to answer.
    """
    items = list(items)
    if answers and (bare := [item.image for item in items if item.mask is None]):
        raise SeglabError(f"--simulate reads masks, and {len(bare)} images have none: {describe(bare)}")
    before: dict[str, list[Point]] = {}
    for point in known:
        before.setdefault(point.key, []).append(point)
    for item in items:
        asked = before.get(item.key, [])
        yield _pick(item, asked, number, top, _generator(seed, item.key, len(asked)), score, answers)


def _pick(
    item: Item,
    asked: Sequence[Point],
    number: int,
    top: float,
    rng: np.random.Generator,
    score: Score | None,
    answers: Reader | None,
) -> list[Point]:
    image = read_image(item.image) if score else None
    size = image_size(item.image) if image is None else (image.shape[0], image.shape[1])
    free = np.ones(size, bool)
    for point in asked:
        free[point.row, point.column] = False
    labels = None
    if answers:
        assert item.mask is not None
        labels = answers.labels(item)
        if image is not None:
            check_size(item.mask, labels, item.image, image)
        free &= labels != IGNORE
    unsure = None
    if score and image is not None:
        unsure = score(torch.from_numpy(image).permute(2, 0, 1)[None]).cpu().numpy()
    rows, columns = draw(free, number, top, rng, unsure)
    classes: Sequence[int | None] = [None] * len(rows) if labels is None else labels[rows, columns].tolist()
    return [
        Point(item.key, *place)
        for place in sorted(zip(rows.tolist(), columns.tolist(), classes, strict=True), key=lambda place: place[:2])
    ]


def draw(
    free: np.ndarray, number: int, top: float, rng: np.random.Generator, unsure: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of pixels drawn uniformly from the free ones that are least sure.

    Args:
        free: H W bool, the pixels that may be drawn.
        number: to draw; all free ones where there are fewer.
        top: share of all pixels that are drawn from, and at least as many as are drawn.
        rng: draws.
        unsure: H W; None: all free ones may be drawn.
    """
    pool = np.flatnonzero(free)
    if unsure is not None:
        size = max(number, int(top * free.size))
        pool = pool[np.argsort(-unsure.ravel()[pool], kind="stable")[:size]]
    drawn = rng.choice(pool, min(number, len(pool)), replace=False)
    rows, columns = np.divmod(drawn, free.shape[1])
    return rows, columns


def shares(points: Sequence[Point], names: Sequence[str]) -> Mapping[str, int]:
    """How many answered points each class has."""
    counts = Counter(point.label for point in points)
    return {name: counts[index] for index, name in enumerate(names)}


def _generator(seed: int, key: str, asked: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(key.encode()), asked])
