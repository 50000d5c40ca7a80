"""The memory of PixelContrast (Wang et al., ICCV 2021): pixels of each class, and means of classes in images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.ops.memory import ClassQueue, choose


class PixelMemory(nn.Module):
    """The latest pixels of each class, and the latest means of a class in an image; the same on every rank.

    Args:
        num_classes: K.
        size: pixels, and as many means, that are kept of each class.
        enqueued: pixels of a class and image that join.
        dim: D of the embeddings.
    """

    def __init__(self, num_classes: int, size: int, enqueued: int, dim: int) -> None:
        super().__init__()
        self.enqueued = enqueued
        self.pixels, self.means = (ClassQueue(dim, [size] * num_classes, torch.float16) for _ in range(2))

    def contents(self) -> tuple[Tensor, Tensor]:
        """All places of both: embeddings M D float32, and M their classes, 255 where a place is empty."""
        keys, labels = zip(self.pixels.contents(), self.means.contents(), strict=True)
        return torch.cat(keys), torch.cat(labels)

    @torch.no_grad()
    def append(self, embedding: Tensor, label: Tensor) -> None:
        """Take in embeddings B P D of length 1 with labels B P; 255 belongs to no class."""
        num_classes = len(self.pixels.size)
        member = label.unsqueeze(1) == torch.arange(num_classes, device=label.device).unsqueeze(1)  # B K P
        index, valid = choose(member.flatten(0, 1), self.enqueued)  # B*K n
        pair = torch.arange(len(index), device=label.device)
        of_class = pair % num_classes
        pixels = embedding[(pair // num_classes).unsqueeze(1), index]  # B*K n D
        self.pixels.append(pixels.flatten(0, 1), torch.where(valid, of_class.unsqueeze(1), IGNORE).flatten())
        with torch.autocast(embedding.device.type, enabled=False):
            means = F.normalize(member.float() @ embedding, dim=2)  # B K D
        self.means.append(means.flatten(0, 1), torch.where(member.any(2).flatten(), of_class, IGNORE))
