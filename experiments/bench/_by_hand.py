"""Seven methods as one would write them for a single experiment: forwards, backward, AdamW, teacher, nothing else.

Each takes a network and its number of classes and returns a step on a batch of bytes. The steps do the same forwards on
the same tensors as the files of ``experiments/method`` do; there are no curves, no logs and no settings.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.networks.discriminator import Discriminator
from seglab.ops.boxes import AreaBox
from seglab.ops.views import StrongView

Step = Callable[[dict[str, dict[str, Any]]], object]


def read(sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Image in [0, 1] and, where there is one, mask."""
    return sample["image"].float().div(255), sample["mask"].long() if "mask" in sample else sample["valid"]


def adamw(*networks: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for network in networks for p in network.parameters()], lr=3e-4, weight_decay=0.01)


def descend(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - decay)
    torch._foreach_copy_(list(teacher.buffers()), list(student.buffers()))


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, ignore_index=255)


def weighted(logits: Tensor, label: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    return (F.cross_entropy(logits, label, reduction="none", ignore_index=255) * weight * valid).sum() / valid.sum()


def supervised(net: nn.Module, classes: int) -> Step:
    optimizer = adamw(net)

    def step(batch: dict[str, dict[str, Any]]) -> None:
        image, mask = read(batch["labeled"])
        descend(cross_entropy(net(image).logits, mask), optimizer)

    return step


def mean_teacher(net: nn.Module, classes: int) -> Step:
    optimizer, teacher = adamw(net), deepcopy(net).requires_grad_(False).eval()

    def step(batch: dict[str, dict[str, Any]]) -> None:
        (image_l, mask), (image_u, valid) = read(batch["labeled"]), read(batch["unlabeled"])
        with torch.no_grad():
            target_l, target_u = teacher(image_l).logits.softmax(1), teacher(image_u).logits.softmax(1)
        logits = net(image_l).logits
        distance_l = (logits.softmax(1) - target_l).square().sum(1)
        distance_u = (net(image_u).logits.softmax(1) - target_u).square().sum(1) * valid
        consistency = (distance_l.sum() + distance_u.sum()) / (distance_l.numel() + valid.sum()) / classes
        descend(cross_entropy(logits, mask) + 10 * consistency, optimizer)
        follow(teacher, net, 0.99)

    return step


def pasted(label: Tensor, weight: Tensor, image: Tensor, valid: Tensor) -> list[Tensor]:
    """A strong view with boxes of the neighbour's."""
    box = AreaBox()(len(image), *image.shape[-2:], image.device)
    image = StrongView()(image)
    parts = [image, label, weight, valid]
    return [torch.where(box.unsqueeze(1) if x.ndim == 4 else box, x.roll(1, 0), x) for x in parts]


def fixmatch(net: nn.Module, classes: int) -> Step:
    optimizer, teacher = adamw(net), deepcopy(net).requires_grad_(False).eval()

    def step(batch: dict[str, dict[str, Any]]) -> None:
        (image_l, mask), (image_u, valid) = read(batch["labeled"]), read(batch["unlabeled"])
        with torch.no_grad():
            confidence, label = teacher(image_u).logits.softmax(1).max(1)
        view, label, weight, valid = pasted(label, (confidence >= 0.95).float(), image_u, valid)
        loss = cross_entropy(net(image_l).logits, mask) + weighted(net(view).logits, label, weight, valid)
        descend(loss, optimizer)
        follow(teacher, net, 0.996)

    return step


def unimatch(net: Any, classes: int) -> Step:
    optimizer, dropouts = adamw(net), [part for part in net.modules() if isinstance(part, nn.Dropout)]

    def step(batch: dict[str, dict[str, Any]]) -> None:
        (image_l, mask), (image_u, valid) = read(batch["labeled"]), read(batch["unlabeled"])
        size = image_u.shape[-2:]
        stages = net.encode(image_u)
        for part in dropouts:
            part.eval()
        with torch.no_grad():
            confidence, label = net.decode(stages, size).logits.softmax(1).max(1)
        for part in dropouts:
            part.train()
        weight = (confidence >= 0.95).float()
        views = [pasted(label, weight, image_u, valid) for _ in range(2)]
        logits = net(image_l).logits
        strong = net(torch.cat([view[0] for view in views])).logits.chunk(2)
        dropped = net.decode([F.dropout2d(stage) for stage in stages], size).logits
        consistency = [weighted(z, *view[1:]) for z, view in zip(strong, views, strict=True)]
        consistency = (consistency[0] + consistency[1]) / 4 + weighted(dropped, label, weight, valid) / 2
        descend(cross_entropy(logits, mask) + consistency, optimizer)

    return step


def cps(net: nn.Module, classes: int) -> Step:
    other = deepcopy(net)
    optimizer = adamw(net, other)

    def step(batch: dict[str, dict[str, Any]]) -> None:
        (image_l, mask), (image_u, valid) = read(batch["labeled"]), read(batch["unlabeled"])
        one_l, two_l, one_u, two_u = (model(x).logits for x in (image_l, image_u) for model in (net, other))
        supervised = cross_entropy(one_l, mask) + cross_entropy(two_l, mask)
        one, two = torch.cat([one_l, one_u]), torch.cat([two_l, two_u])
        counted = torch.cat([torch.ones_like(valid), valid])
        cross = weighted(one, two.argmax(1), 1.0, counted) + weighted(two, one.argmax(1), 1.0, counted)
        descend(supervised + 1.5 * cross, optimizer)

    return step


def advent(net: nn.Module, classes: int) -> Step:
    judge = Discriminator(classes).to(next(net.parameters()).device)
    optimizers = adamw(net), torch.optim.Adam(judge.parameters(), 1e-4, (0.9, 0.99))

    def information(logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(1)
        return -log_p.exp() * log_p / torch.tensor(classes).log()

    def judged(maps: Tensor, domain: float) -> Tensor:
        logits = judge(maps)
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, domain))

    def step(batch: dict[str, dict[str, Any]]) -> None:
        (source, mask), (target, _) = read(batch["labeled"]), read(batch["unlabeled"])
        logits_s, logits_t = net(source).logits, net(target).logits
        maps_s, maps_t = information(logits_s), information(logits_t)
        for optimizer in optimizers:
            optimizer.zero_grad()
        judge.requires_grad_(False)
        (cross_entropy(logits_s, mask) + 1e-3 * judged(maps_t, 0.0)).backward()
        judge.requires_grad_(True)
        ((judged(maps_s.detach(), 0.0) + judged(maps_t.detach(), 1.0)) / 2).backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def dacs(net: nn.Module, classes: int) -> Step:
    optimizer, teacher = adamw(net), deepcopy(net).requires_grad_(False).train()
    for part in (part for part in teacher.modules() if isinstance(part, nn.Dropout)):
        part.eval()
    strong = StrongView(0.8, 0.25, 0.25, 0.25, 0.25, grayscale_probability=0.0, blur_sigma=(0.15, 1.15))

    def step(batch: dict[str, dict[str, Any]]) -> None:
        (source, mask), (target, valid) = read(batch["labeled"]), read(batch["unlabeled"])
        with torch.no_grad():
            confidence, label = teacher(target).logits.softmax(1).max(1)
        weight = (confidence >= 0.968).float().mean() * torch.ones_like(confidence)
        paste = torch.zeros_like(mask, dtype=torch.bool)
        for i, classes_i in enumerate(one.unique() for one in mask):
            classes_i = classes_i[classes_i != 255]
            chosen = classes_i[torch.randperm(len(classes_i))[: (len(classes_i) + 1) // 2]]
            paste[i] = torch.isin(mask[i], chosen)
        image = strong(torch.where(paste.unsqueeze(1), source, target))
        label, weight = torch.where(paste, mask, label), torch.where(paste, 1.0, weight)
        loss = cross_entropy(net(source).logits, mask) + weighted(net(image).logits, label, weight, valid | paste)
        descend(loss, optimizer)
        follow(teacher, net, 0.99)

    return step


LOOPS: dict[str, Callable[[Any, int], Step]] = {
    build.__name__: build for build in (supervised, mean_teacher, fixmatch, unimatch, cps, advent, dacs)
}
