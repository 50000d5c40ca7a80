"""What a method remembers: prototypes, queues of embeddings by class, thresholds. All are the same on every rank."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.ops.ranks import gather, total, world_size
from seglab.types import require


@torch.no_grad()
def class_sums(features: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Sum of the embeddings of each class and, in a last column, their number: K D+1, float32, of this rank's images.

    Args:
        features: N D.
        label: N class indices; 255 belongs to no class.
        num_classes: K.
    """
    member = (label == torch.arange(num_classes, device=label.device).unsqueeze(1)).float()  # K N
    with torch.autocast(features.device.type, enabled=False):
        sums = member @ features.float()
    return torch.cat([sums, member.sum(1, keepdim=True)], 1)


def choose(mask: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """A random choice of at most ``number`` of the True entries of each row, without a wait for the device.

    Args:
        mask: C N bool.
        number: n, at most N are returned.

    Returns:
        Column indices C n, each at most once per row, and C n bool: False where a row had fewer.
    """
    key = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1.0)
    value, index = key.topk(min(number, mask.shape[1]), dim=1)
    return index, value >= 0.0


def hard_and_easy(
    label: Tensor, predicted: Tensor, num_classes: int, views: int, samples: int
) -> tuple[Tensor, Tensor]:
    """Equally many pixels of each class and image, half of them predicted wrongly (Wang et al., ICCV 2021).

    A class takes part in an image that has more than ``views`` pixels of it. Each gets min(views, samples / number of
    such pairs) pixels; what one half lacks, the other makes up for.

    Args:
        label: B P class indices; 255 is never chosen.
        predicted: B P class indices.
        num_classes: K.
        views: pixels of a class in an image, at most.
        samples: pixels altogether, at most.

    Returns:
        ``samples`` indices into B P as one row, or 2 B K ``views`` if that is less, and their labels, 255 where there
        are fewer pixels than that.
    """
    pixels, classes = label.shape[1], torch.arange(num_classes, device=label.device)
    member = label.unsqueeze(1) == classes.unsqueeze(1)  # B K P
    member = member & (member.sum(2, keepdim=True) > views)
    each = (samples // member.any(2).sum().clamp(min=1)).clamp(max=views)
    wrong = (predicted != label).unsqueeze(1)
    halves = [(member & wrong).flatten(0, 1), (member & ~wrong).flatten(0, 1)]  # B*K P
    hard, easy = (half.sum(1) for half in halves)
    hard = torch.minimum(hard, torch.maximum(each // 2, each - easy))

    index, kept = [], []
    for half, number in zip(halves, (hard, each - hard), strict=True):
        chosen, valid = choose(half, views)
        place = torch.arange(chosen.shape[1], device=label.device)
        index.append(chosen)
        kept.append(valid & (place < number.unsqueeze(1)))
    row = torch.arange(len(halves[0]), device=label.device).unsqueeze(1)
    places = torch.cat(index, 1) + row // num_classes * pixels  # B*K 2n
    found = torch.where(torch.cat(kept, 1), row % num_classes, IGNORE).flatten()
    first = (found == IGNORE).int().argsort(stable=True)[:samples]
    return places.flatten()[first], found[first]


def draw(probability: Tensor, number: int) -> Tensor:
    """``number`` columns of each row, drawn with its probabilities and with replacement, without a wait for the device.

    Args:
        probability: R C, each row with a positive sum.
        number: n.

    Returns:
        Column indices R n; a column of probability 0 is never among them.
    """
    cumulative = probability.cumsum(1)
    share = torch.rand(len(probability), number, device=probability.device) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, share.to(cumulative.dtype), right=True).clamp(max=probability.shape[1] - 1)


def draw_rows(label: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """For each class asked for, a random row of that class, with replacement and without a wait for the device.

    Args:
        label: N class indices; 255 belongs to no class.
        classes: class indices of any shape.
        num_classes: K.

    Returns:
        Row indices of the shape of ``classes``; any row for a class that has none.
    """
    order = label.argsort()
    number = (label == torch.arange(num_classes, device=label.device).unsqueeze(1)).sum(1)
    first, size = (number.cumsum(0) - number)[classes], number[classes]
    share = torch.rand(classes.shape, device=label.device)
    place = first + (share * size).long().minimum((size - 1).clamp(min=0))
    return order[place.clamp(max=len(label) - 1)]


class Prototypes(nn.Module):
    """One embedding per class: a running mean of the means of batches.

    A class begins as the mean of the first batch that shows it, and stays as it is in a batch that does not.

    Args:
        num_classes: K.
        dim: D.
        momentum: share of the old prototype kept at each update, in [0, 1]. Papers often name the share of the new one.
        shrink_absent: let a class that a batch does not show shrink by ``momentum``, as the published code of SPCL
            does.

    Raises:
        SeglabError: ``momentum`` is outside [0, 1].
    """

    mean: Tensor  # K D, zero for a class not seen yet
    seen: Tensor  # K bool

    def __init__(self, num_classes: int, dim: int, momentum: float, shrink_absent: bool = False) -> None:
        super().__init__()
        require(0.0 <= momentum <= 1.0, "the prototypes' momentum", momentum, "give the share kept, in [0, 1]")
        self.momentum, self.shrink_absent = momentum, shrink_absent
        self.register_buffer("mean", torch.zeros(num_classes, dim))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, label: Tensor) -> None:
        """Move towards the class means of embeddings N D with labels N, taken over all ranks."""
        sums = total(class_sums(features, label, len(self.mean)))
        number = sums[:, -1]
        present = (number > 0).unsqueeze(1)
        new = sums[:, :-1] / number.clamp(min=1).unsqueeze(1)
        moved = torch.where(self.seen.unsqueeze(1), self.momentum * self.mean + (1 - self.momentum) * new, new)
        self.mean.copy_(moved if self.shrink_absent else torch.where(present, moved, self.mean))
        self.seen |= number > 0

    @torch.no_grad()
    def start(self, sums: Tensor) -> None:
        """Begin with the means of ``class_sums`` K D+1 over all ranks; a class without an embedding stays unseen."""
        number = sums[:, -1:]
        self.mean.copy_(sums[:, :-1] / number.clamp(min=1))
        self.seen.copy_(number.squeeze(1) > 0)


class ConfidenceBank(Prototypes):
    """How well each class is learned: a running mean of the probability of the true class (AEL, Hu et al., 2021).

    A class begins with that of the first batch that shows it, and with 0 before; it is the same on every rank.

    Args:
        num_classes: K.
        momentum: share of the old value kept at each update, in [0, 1].
        shrink_absent: let the value of a class that a batch does not show shrink by ``momentum``, as the published code
            does.

    Raises:
        SeglabError: ``momentum`` is outside [0, 1].
    """

    def __init__(self, num_classes: int, momentum: float = 0.999, shrink_absent: bool = False) -> None:
        super().__init__(num_classes, 1, momentum, shrink_absent)

    @property
    def confidence(self) -> Tensor:
        """K float32 in [0, 1]."""
        return self.mean[:, 0]

    @torch.no_grad()
    def follow(self, logits: Tensor, label: Tensor) -> None:
        """Move towards what logits B K H W say of their labels B H W; 255 does not count."""
        index = label.clamp(max=logits.shape[1] - 1).unsqueeze(1)
        self.update(logits.float().softmax(1).gather(1, index).flatten().unsqueeze(1), label.flatten())

    def weakness(self, power: float = 1.0) -> Tensor:
        """((1 - confidence) / its largest value)^power: 1 for the worst class, 0 for one that is perfect; K."""
        lack = 1.0 - self.confidence
        return (lack / lack.max().clamp(min=1e-12)) ** power

    def draw(self, number: int, power: float = 1.0, allowed: Tensor | None = None) -> Tensor:
        """Classes drawn with replacement, with probabilities softmax((1 - confidence)^power): int64, (number,).

        Args:
            number: of draws.
            power: of what a class lacks; 1 for AEL's CutMix, 1/2 for its Copy-Paste.
            allowed: K bool, the classes to draw from; all by default.
        """
        score = (1.0 - self.confidence) ** power
        score = score if allowed is None else score.masked_fill(~allowed, -torch.inf)
        noise = -torch.empty(number, len(score), device=score.device).exponential_().log()  # Gumbel: nothing waits
        return (score + noise).max(1).indices


class RunningThreshold(nn.Module):
    """A threshold that follows how sure predictions are (CorrMatch, Sun et al., CVPR 2024).

    A running mean of the mean over the predicted classes of the largest confidence of each. It is the same on every
    rank: the largest confidences are those of all ranks.

    Args:
        start: its first value, in [0, 1].
        momentum: share of the old value kept at each update, in [0, 1].

    Raises:
        SeglabError: one of them is outside its range.
    """

    value: Tensor  # scalar

    def __init__(self, start: float = 0.85, momentum: float = 0.999) -> None:
        super().__init__()
        require(0.0 <= start <= 1.0, "the threshold's start", start, "give a confidence in [0, 1]")
        require(0.0 <= momentum <= 1.0, "the threshold's momentum", momentum, "give the share kept, in [0, 1]")
        self.momentum = momentum
        self.register_buffer("value", torch.tensor(start))

    @torch.no_grad()
    def update(self, label: Tensor, confidence: Tensor, valid: Tensor, num_classes: int) -> None:
        """Follow predictions B H W (int64), their confidences and which pixels count; without any it stays."""
        largest = torch.zeros(num_classes, device=label.device)
        largest.scatter_reduce_(0, label.flatten(), torch.where(valid, confidence, 0.0).flatten(), "amax")
        largest = gather(largest.unsqueeze(0)).amax(0)
        number = (largest > 0).sum()
        new = torch.where(number > 0, largest.sum() / number.clamp(min=1), self.value)
        self.value.copy_(self.momentum * self.value + (1 - self.momentum) * new)


class RunningMeans(nn.Module):
    """One embedding per class: the mean of all that were ever seen, each with the same weight (ProCA).

    Args:
        num_classes: K.
        dim: D.
    """

    mean: Tensor  # K D, zero for a class not seen yet
    number: Tensor  # K, embeddings seen

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_classes, dim))
        self.register_buffer("number", torch.zeros(num_classes, dtype=torch.float64))

    @torch.no_grad()
    def update(self, features: Tensor, label: Tensor) -> None:
        """Take in embeddings N D with labels N of all ranks; 255 belongs to no class."""
        self.add(total(class_sums(features, label, len(self.mean))))

    @torch.no_grad()
    def add(self, sums: Tensor) -> None:
        """Take in what ``class_sums`` K D+1 made of embeddings."""
        new = sums[:, -1].double()
        self.number += new
        share = (new / self.number.clamp(min=1)).float().unsqueeze(1)
        self.mean.lerp_(sums[:, :-1] / sums[:, -1:].clamp(min=1), share)


class ClassQueue(nn.Module):
    """The latest embeddings of each class, first in first out.

    Args:
        dim: D.
        sizes: embeddings kept of each class.
        dtype: in which they are kept; ``torch.float16`` halves the memory and the checkpoint.

    Raises:
        SeglabError: a size is below 1.
    """

    storage: Tensor  # rows D: the ring of class 0, that of class 1, ..., and a spare row that is always zero
    size: Tensor  # K
    first: Tensor  # K, the row at which the ring of a class begins
    pointer: Tensor  # K, the next place of each ring to be written
    filled: Tensor  # K, how many places hold an embedding

    def __init__(self, dim: int, sizes: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        require(min(sizes) >= 1, "the queues' sizes", list(sizes), "give 1 or more for every class")
        size = torch.tensor(sizes)
        self.register_buffer("storage", torch.zeros(sum(sizes) + 1, dim, dtype=dtype))
        self.register_buffer("size", size, persistent=False)
        self.register_buffer("first", size.cumsum(0) - size, persistent=False)
        self.register_buffer("pointer", torch.zeros_like(size))
        self.register_buffer("filled", torch.zeros_like(size))

    @torch.no_grad()
    def enqueue(self, features: Tensor, valid: Tensor) -> None:
        """Append the embeddings K n D where ``valid`` (K n bool) is True, those of all ranks in rank order."""
        features = gather(features.to(self.storage.dtype).transpose(0, 1)).transpose(0, 1)  # K ranks*n D
        valid = gather(valid.T).T
        place, number = valid.cumsum(1) - 1, valid.sum(1)
        kept = valid & (place >= (number - self.size).unsqueeze(1))  # the newest, if more come than fit
        row = self.first.unsqueeze(1) + (self.pointer.unsqueeze(1) + place) % self.size.unsqueeze(1)
        self._write(torch.where(kept, row, len(self.storage) - 1).flatten(), features.flatten(0, 1), number)

    @torch.no_grad()
    def append(self, features: Tensor, label: Tensor) -> None:
        """Append embeddings N D to the queues of their classes N (255: of none), those of all ranks in rank order."""
        features, label = gather(features.to(self.storage.dtype)), gather(label)
        member = label == torch.arange(len(self.size), device=label.device).unsqueeze(1)  # K N
        own, number = label.clamp(max=len(self.size) - 1), member.sum(1)
        place = (member.cumsum(1) - 1).gather(0, own.unsqueeze(0)).squeeze(0)
        kept = (label != IGNORE) & (place >= (number - self.size)[own])  # the newest, if more come than fit
        row = self.first[own] + (self.pointer[own] + place) % self.size[own]
        self._write(torch.where(kept, row, len(self.storage) - 1), features, number)

    def _write(self, row: Tensor, features: Tensor, number: Tensor) -> None:
        """Embeddings to their rows, and the pointers past ``number`` more of each class."""
        self.storage.index_copy_(0, row, features)
        self.storage[-1] = 0
        self.pointer.copy_((self.pointer + number) % self.size)
        self.filled.copy_(torch.minimum(self.filled + number, self.size))

    def contents(self) -> tuple[Tensor, Tensor]:
        """A copy of every place: embeddings M D float32, and M their classes, 255 where a place is empty."""
        row = torch.arange(len(self.storage) - 1, device=self.storage.device)
        label = torch.searchsorted(self.first, row, right=True) - 1
        filled = row - self.first[label] < self.filled[label]
        return self.storage[:-1].to(torch.float32, copy=True), torch.where(filled, label, IGNORE)

    @torch.no_grad()
    def sample(self, number: int) -> tuple[Tensor, Tensor]:
        """``number`` embeddings of each class, with replacement: K n D float32; K bool, False if it has none."""
        row, filled = self.draw(number)
        return self.storage[row].float(), filled

    @torch.no_grad()
    def draw(self, number: int) -> tuple[Tensor, Tensor]:
        """As ``sample``, but the rows of ``storage`` in which they lie: K n."""
        share = torch.rand(len(self.size), number, device=self.storage.device)
        place = (share * self.filled.unsqueeze(1)).long().minimum((self.filled - 1).clamp(min=0).unsqueeze(1))
        return self.first.unsqueeze(1) + place, self.filled > 0


class RecentSteps(nn.Module):
    """Embeddings of the last steps with their labels, first in first out.

    Args:
        steps: how many are kept, the latest included.
        number: embeddings of a step, over all ranks.
        dim: D.
    """

    embedding: Tensor  # steps number D, the latest first
    label: Tensor  # steps number, 255 where there is none

    def __init__(self, steps: int, number: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embedding", torch.zeros(steps, number, dim))
        self.register_buffer("label", torch.full((steps, number), IGNORE))

    @torch.no_grad()
    def push(self, embedding: Tensor, label: Tensor) -> None:
        """Keep a random choice of this rank's embeddings N D with labels N: its share of ``number``, or all of them."""
        _, number, _ = self.embedding.shape
        share = number // world_size()
        drawn = torch.randperm(len(label), device=label.device)[:share]
        missing = share - len(drawn)
        embedding = gather(F.pad(embedding[drawn].float(), (0, 0, 0, missing)))
        label = gather(F.pad(label[drawn], (0, missing), value=IGNORE))
        rest = number - len(label)
        embedding, label = F.pad(embedding, (0, 0, 0, rest)), F.pad(label, (0, rest), value=IGNORE)
        self.embedding.copy_(torch.cat([embedding[None], self.embedding[:-1]]))
        self.label.copy_(torch.cat([label[None], self.label[:-1]]))

    def all(self) -> tuple[Tensor, Tensor]:
        """Embeddings and labels of all steps kept: steps*number D, steps*number."""
        return self.embedding.flatten(0, 1), self.label.flatten()
