"""When a network stops learning a class and begins to memorise its wrong labels, and what it then corrects (ADELE)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.labels import IGNORE
from seglab.ops.counting import counted
from seglab.types import Output

LEAST = 1e-6  # of a curve's numbers


def overlaps(predicted: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Pixels of intersection and of union of each class, over the batch: 2 K int64.

    Args:
        predicted: B H W class indices.
        label: B H W class indices or 255, which counts nowhere.
        num_classes: K.
    """
    known = label != IGNORE
    of = (known & (predicted == label), label), (known, label), (known, predicted)
    both, by_label, by_network = (
        counted(torch.where(here, value, num_classes), num_classes + 1)[:-1] for here, value in of
    )
    return torch.stack([both, by_label + by_network - both])


def fit_learning_curve(time: Tensor, value: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The curve a (1 - exp(-t^b / c)), a and b in [0, 1], c >= 0, that is nearest to the values of each class.

    Least squares in which late values weigh more: their deviations fall from 1 to 0.1 geometrically, and weights are
    1 / deviation². For b and c the best a is known; they are searched on a grid, and then on finer and finer ones
    around the best: no start, no iterations that may diverge, and nothing that the host must wait for.

    Args:
        time: (n,) of the values.
        value: n K.
        seen: n K bool, the values that there are.

    Returns:
        a, b and c, each (K,) float64.
    """
    time, value = time.double(), torch.where(seen, value, 0).double().T  # K n
    deviation = torch.logspace(0, -1, len(time), dtype=torch.float64, device=time.device)
    weight = seen.T / deviation.square()  # K n
    exponent = torch.linspace(0.05, 1, 20, dtype=torch.float64, device=time.device)
    scale = torch.linspace(-5, 9, 57, dtype=torch.float64, device=time.device)  # ln c
    b, c = (x.flatten().expand(len(value), -1) for x in torch.meshgrid(exponent, scale, indexing="ij"))
    width = torch.tensor([0.05, 0.25], dtype=torch.float64, device=time.device)
    steps = torch.linspace(-1, 1, 7, dtype=torch.float64, device=time.device)
    near = torch.stack([x.flatten() for x in torch.meshgrid(steps, steps, indexing="ij")])  # 2 49
    for _ in range(12):
        a, index = _nearest(time, value, weight, b, c)
        best_b, best_c = b.gather(1, index), c.gather(1, index)
        b, c = (best_b + width[0] * near[0]).clamp(LEAST, 1), best_c + width[1] * near[1]
        width = width / 2
    return a.squeeze(1), best_b.squeeze(1), best_c.squeeze(1).exp()


def _nearest(time: Tensor, value: Tensor, weight: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Of candidates K M the one with the least squared error, and the a that goes with it; each K 1."""
    power = time.clamp(min=LEAST).log() * b.unsqueeze(2) - c.unsqueeze(2)  # K M n: ln(t^b / c)
    shape = -torch.expm1(-power.exp())
    product, square = (shape * (weight * value).unsqueeze(1)).sum(2), (shape.square() * weight.unsqueeze(1)).sum(2)
    a = (product / square.clamp(min=LEAST)).clamp(0, 1)
    index = (a.square() * square - 2 * a * product).argmin(1, keepdim=True)
    return a.gather(1, index), index


def slope(time: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Derivative of the curve with a of 1 at times T, for each class: T K."""
    time = time.unsqueeze(1)
    return b / c * time ** (b - 1) * (-(time**b) / c).exp()


def memorises_from(b: Tensor, c: Tensor, drop: float, epochs: int = 15) -> Tensor:
    """The epoch (K,) from which classes are corrected: after the last one whose slope has not fallen by ``drop``.

    The slope's fall is |f'(t) - f'(1)| / f'(1) at epochs 1, 2, ...; one above 1 counts as 0, as in the official code.
    """
    time = torch.arange(1, epochs + 1, dtype=torch.float64, device=b.device)
    slopes = slope(time, b, c)
    fall = (slopes - slopes[:1]).abs() / slopes[:1].clamp(min=torch.finfo(torch.float64).tiny)
    fall = torch.where(fall > 1, 0.0, fall)
    return (fall <= drop).sum(0) + 1


def corrected(
    label: Tensor, probability: Tensor, switched: Tensor, threshold: float, valid: Tensor, background: bool
) -> Tensor:
    """Labels with what a network is sure of in the place of what they say: B H W.

    A pixel becomes the most probable class if that is above the threshold and allowed. Allowed are switched classes
    that the image's label shows, and the background if it shows that; an image of background alone may get any switched
    class, and one that shows no switched class stays as it is. So does one whose foreground would fall below half with
    more than 95 % background left.

    Args:
        label: B H W class indices or 255.
        probability: B K H W.
        switched: (K,) bool, the classes that are corrected.
        threshold: probability above which a pixel changes.
        valid: B H W bool; padding never changes.
        background: class 0 is none of the foreground's.
    """
    confidence, predicted = probability.max(1)
    classes = torch.arange(len(switched), device=label.device)
    shown = (label.flatten(1).unsqueeze(1) == classes.view(1, -1, 1)).any(2)  # B K
    first = (classes == 0) & background
    may = switched | first
    has_foreground = (shown & ~first).any(1)
    allowed = torch.where(has_foreground.unsqueeze(1), shown & may, may)
    stays = has_foreground & ~(shown & switched & ~first).any(1)
    changes = allowed.gather(1, predicted.flatten(1)).view_as(label) & (confidence > threshold) & valid
    new = torch.where(changes & ~stays.view(-1, 1, 1), predicted, label)
    if not background:
        return new
    before, after = ((x != 0).flatten(1).sum(1) for x in (label, new))
    lost = (2 * after < before) & ((new == 0).flatten(1).float().mean(1) > 0.95)
    return torch.where(lost.view(-1, 1, 1), label, new)


def at_scales(network: Callable[[Tensor], Output], image: Tensor, scales: Sequence[float]) -> list[Output]:
    """Outputs for images B 3 H W resized by each scale, with logits B K H W.

    That of the first one, which is 1, has its other supervised maps as well: they are of the image's size.
    """
    outs = [network(image)]
    for scale in scales[1:]:
        size = [max(1, round(side * scale)) for side in image.shape[-2:]]
        out = network(F.interpolate(image, size, mode="bilinear", align_corners=True))
        logits = F.interpolate(out.logits, image.shape[-2:], mode="bilinear", align_corners=True)
        outs.append(Output(logits, out.features))
    return outs


def agreement(logits: Sequence[Tensor], weights: Tensor, label: Tensor, confidence: float) -> Tensor:
    """Divergence of several predictions from their weighted mean, in images where that is sure of a labelled pixel.

    With q the mean of the softmaxes p_k with ``weights``, held in [0.001, 0.999]: mean over all pixels of the sum over
    k and classes of p_k log(p_k / q), 0 in images without a labelled pixel and class of q >= ``confidence`` (ADELE, Liu
    et al., CVPR 2022, equation 5).

    Args:
        logits: B K H W each.
        weights: one each, with a sum of 1.
        label: B H W class indices or 255.
        confidence: in [0, 1].
    """
    log_p = torch.stack([x.float().log_softmax(1) for x in logits])  # S B K H W
    p = log_p.exp()
    mean = (weights.view(-1, 1, 1, 1, 1) * p).sum(0).clamp(1e-3, 1 - 1e-3)
    sure = (torch.where(label != IGNORE, mean.detach().amax(1), 0.0).flatten(1).amax(1) >= confidence).float()  # B
    return (sure.view(-1, 1, 1) * (p * (log_p - mean.log())).sum((0, 2))).mean()
