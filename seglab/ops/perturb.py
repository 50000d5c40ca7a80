"""Perturbations of images and of the maps between encoder and decoder; class tokens among those pass through."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.compat import Dropout
from seglab.types import require, require_least, require_positive


def drop_channels(stages: Sequence[Tensor], share: float = 0.5) -> list[Tensor]:
    """Whole channels of B D h w set to 0 with probability ``share``, the others multiplied by 1 / (1 - share).

    The feature perturbation of UniMatch (Yang et al., CVPR 2023, section 3.2): drawn for each image and each map.

    Raises:
        SeglabError: ``share`` is outside [0, 1).
    """
    require(0.0 <= share < 1.0, "the share of dropped channels", share, "give a share in [0, 1)")
    return [F.dropout2d(stage, share) if stage.ndim == 4 else stage for stage in stages]


def feature_noise(stages: Sequence[Tensor], strength: float = 0.3) -> list[Tensor]:
    """Maps B D h w multiplied by 1 + noise, uniform in [-strength, strength] for each element.

    The noise of CCT (Ouali, Hudelot and Tami, CVPR 2020), which UniMatch compares with its dropout.

    Raises:
        SeglabError: ``strength`` is negative.
    """
    require(strength >= 0.0, "the strength of feature noise", strength, "give 0 or more")
    if not strength:
        return list(stages)
    return [
        stage * (1.0 + strength * (2.0 * torch.rand_like(stage) - 1.0)) if stage.ndim == 4 else stage
        for stage in stages
    ]


@torch.no_grad()
def noisy_mean(logits: Callable[[Tensor], Tensor], image: Tensor, passes: int, noise: float) -> Tensor:
    """Mean class probabilities B K H W float32 over noisy views of images B 3 H W, none of them 0.

    Args:
        logits: of a network, for images.
        image: float.
        passes: views.
        noise: standard deviation of what is added to each pixel and channel, held at twice that.
    """
    total = image.new_zeros((), dtype=torch.float32)
    for _ in range(passes):
        view = image + (noise * torch.randn_like(image)).clamp(-2 * noise, 2 * noise)
        total = total + logits(view).float().softmax(1)
    return (total / passes).clamp(min=torch.finfo(torch.float32).tiny)


def complementary_dropout(stages: Sequence[Tensor], intact: float = 0.5) -> list[Tensor]:
    """Channel dropout of two views of the same images, each of which sees the channels that the other does not.

    The complementary dropout of UniMatch V2 (Yang et al., TPAMI 2025, section 3.3). Maps of one width share their
    masks, as the four of a vision transformer do there.

    Args:
        stages: maps 2B D h w, the first view of B images and then the second of the same.
        intact: share of the images whose views keep all channels, in [0, 1]; rounded down to a number of images.
    """
    batch = len(stages[0]) // 2
    widths = sorted({stage.shape[1] for stage in stages if stage.ndim == 4})
    whole = torch.randperm(batch, device=stages[0].device) < int(batch * intact)
    masks = {width: complementary_masks(whole, width) for width in widths}
    return [
        stage * masks[stage.shape[1]].to(stage.dtype)[:, :, None, None] if stage.ndim == 4 else stage
        for stage in stages
    ]


def complementary_masks(whole: Tensor, channels: int) -> Tensor:
    """Factors 2B D of 0 and 2 whose two halves sum to 2; 1 on the images where ``whole`` (bool B) is True."""
    first = 2.0 * (torch.rand(len(whole), channels, device=whole.device) < 0.5)
    first = torch.where(whole.unsqueeze(1), 1.0, first)
    return torch.cat([first, 2.0 - first])


def adversarial_noise(
    stages: Sequence[Tensor],
    decode: Callable[[Sequence[Tensor]], Tensor],
    radius: float = 2.0,
    probe: float = 1.0,
) -> list[Tensor]:
    """Noise on an encoder's maps that changes a prediction most: virtual adversarial training (Miyato et al., 2018).

    From a random direction, one step along the gradient of the Kullback-Leibler divergence between the prediction and
    the one at a distance of ``probe``. PS-MT (Liu et al., CVPR 2022, section 3.2) has its teachers predict.

    Args:
        stages: maps B D h w, and class tokens, which get no noise.
        decode: logits B K H W of such stages; no gradient reaches its parameters.
        radius: length of the noise of an image, over all its maps together.
        probe: length of the first direction.

    Returns:
        Noise for each stage, float32, without gradient; 0 on maps that ``decode`` does not use.
    """
    with torch.autocast(stages[0].device.type, enabled=False):
        fixed = [stage.detach().float() for stage in stages]
        with torch.no_grad():
            target = decode(fixed).softmax(1)
            random = _unit([torch.rand_like(x) - 0.5 if x.ndim == 4 else torch.zeros_like(x) for x in fixed])
        with torch.enable_grad():
            moved = [(x + probe * d).requires_grad_() for x, d in zip(fixed, random, strict=True)]
            divergence = F.kl_div(decode(moved).log_softmax(1), target, reduction="sum")
            gradient = torch.autograd.grad(divergence, moved, allow_unused=True)
        found = [torch.zeros_like(x) if g is None or x.ndim != 4 else g for x, g in zip(fixed, gradient, strict=True)]
        return [radius * d for d in _unit(found)]


@dataclass(frozen=True)
class AdversarialNoise:
    """Adds ``adversarial_noise`` to an encoder's maps.

    Attributes:
        radius: length of the noise of an image, over all its maps together; 0: none.
        probe: length of the direction along which the prediction is probed.

    Raises:
        SeglabError: an attribute is outside its range.
    """

    radius: float = 2.0
    probe: float = 1.0

    def __post_init__(self) -> None:
        require_least(self, 0, radius=self.radius)
        require_positive(self, probe=self.probe)

    def __call__(self, stages: Sequence[Tensor], decode: Callable[[Sequence[Tensor]], Tensor]) -> list[Tensor]:
        """Stages with noise, of their own precision; ``decode`` as in ``adversarial_noise``."""
        if not self.radius:
            return list(stages)
        noise = adversarial_noise(stages, decode, self.radius, self.probe)
        return [stage + part.to(stage.dtype) for stage, part in zip(stages, noise, strict=True)]


def _unit(parts: Sequence[Tensor]) -> list[Tensor]:
    """Each image's parts B ... divided by their common Euclidean length; zeros stay."""
    largest = torch.stack([x.flatten(1).abs().amax(1) for x in parts]).amax(0)  # first: squares of small numbers vanish
    tiny = torch.finfo(largest.dtype).tiny
    scaled = [x / _like(largest.clamp(min=tiny), x) for x in parts]
    length = torch.stack([x.flatten(1).square().sum(1) for x in scaled]).sum(0).sqrt()
    return [x / _like(length.clamp(min=tiny), x) for x in scaled]


def _like(value: Tensor, x: Tensor) -> Tensor:
    """(B,) with as many dimensions as ``x``."""
    return value.view(-1, *[1] * (x.ndim - 1))


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Inside the block, dropout layers pass everything; all else stays in its mode. For labels that a student makes."""
    active = [part for part in module.modules() if isinstance(part, Dropout) and part.training]
    for part in active:
        part.training = False
    try:
        yield
    finally:
        for part in active:
            part.training = True


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside the block, the module is in evaluation mode."""
    mode = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(mode)
