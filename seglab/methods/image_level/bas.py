"""BAS: a mask is good if what is left of the image outside of it no longer activates the class."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from seglab.methods.image_level.cam import CAM
from seglab.ops.cam import scores
from seglab.ops.grid import last_map
from seglab.ops.memory import draw
from seglab.ops.norm import frozen_statistics
from seglab.types import Batch, Output


class BAS(CAM):
    """Background activation suppression (Wu et al., CVPR 2022 and IJCV 2023), from image tags.

    A generator on the stage before the last draws a mask m = sigmoid(M_c) of one tag c of each image. With
    S = relu(s_c) of the image and S_bg that of the later layers, copied and fixed, on the stage times 1 - m:

    loss = cls + 0.2 CE(mean of sg(maps) x m, c) + mean(S_bg / S, or 1 where S_bg > S) + 1.2 mean(m)

    cls is, for each tag, the cross-entropy of its score against the scores of the classes that are no tags. ``label``
    takes the maps of the generator times the image's tags; with another network than ``CAMNetwork`` the later layers
    are its whole decoder, and the mask hides all stages.

    Deviations from the official code:
        Biases in no group of the optimiser, never trained -> they learn with the rest.
        The generator's maps are averaged with those of another classifier -> the generator's alone.
        A threshold of 0.20 to 0.44, chosen on masks -> ``levels``.

    Args:
        area_weight: of the mask's area.
        activation_weight: of the second classification, that of the masked maps.
        common: those of ``CAM`` and of every method.
    """

    def __init__(self, area_weight: float = 1.2, activation_weight: float = 0.2, **common: Any) -> None:
        super().__init__(**common)
        self.area_weight, self.activation_weight = area_weight, activation_weight

    def build(self) -> None:
        super().build()
        generator = nn.Conv2d(self.student.coarsest_channels(), self.num_classes, 3, padding=1, bias=False)
        nn.init.xavier_uniform_(generator.weight)
        self.student.add_head("generator", generator)
        self.later = [_Later(self.student)]  # in a list: its parameters are the student's, and no second entry

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        tagged = batch["tagged"]
        image, tags = tagged["image"], tagged["tags"].index_select(1, self.classes)  # B T
        stages = self.student.encode(image)
        maps = self.student.decode(stages, image.shape[-2:]).logits[:, self.classes].float()
        score = scores(maps)
        chosen = draw(tags.float() + 1e-12, 1)  # B 1, uniform over the tags
        tagged_any = tags.any(1).float()  # an image without tags has no class to find

        mask = self.masks(stages)  # B T h w
        one = mask.gather(1, chosen[..., None, None].expand(-1, 1, *mask.shape[2:]))  # B 1 h w
        hidden = [hide(stage.detach(), one) for stage in stages]
        fixed = {name: value.detach() for name, value in self.later[0].named_parameters()}
        with frozen_statistics(self.student):
            outside: Output = functional_call(self.later[0], fixed, (hidden, image.shape[-2:]))
        score_outside = scores(outside.logits[:, self.classes]).gather(1, chosen)[:, 0].relu()
        score_inside = score.detach().gather(1, chosen)[:, 0].relu()

        inside = F.interpolate(one, maps.shape[2:], mode="bilinear", align_corners=False)
        again = F.cross_entropy(scores(maps.detach() * inside), chosen[:, 0], reduction="none")
        return {
            "tags": against_negatives(score, tags),
            "activation": self.activation_weight * (again * tagged_any).mean(),
            "background": (suppression(score_outside, score_inside) * tagged_any).mean(),
            "area": self.area_weight * (one.mean((1, 2, 3)) * tagged_any).mean(),
        }

    def masks(self, stages: list[Tensor]) -> Tensor:
        """B T h w in [0, 1], of the classes that may be tags."""
        maps: Tensor = self.student.heads["generator"](last_map(stages))
        return maps[:, self.classes].float().sigmoid()

    def locate(self, image: Tensor) -> tuple[Tensor, Tensor]:
        stages, size = self.student.encode(image), image.shape[-2:]
        score = scores(self.student.decode(stages, size).logits[:, self.classes])
        return self.student.restore(self.masks(stages), size), score


class _Later(nn.Module):
    """The network from its stages on, as a module."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, stages: list[Tensor], size: tuple[int, int]) -> Output:
        out: Output = self.network.decode(stages, size)
        return out


def hide(stage: Tensor, mask: Tensor) -> Tensor:
    """A stage B D h w where a mask B 1 h' w' is not; class tokens stay."""
    if stage.ndim != 4:
        return stage
    return stage * (1 - F.interpolate(mask, stage.shape[2:], mode="bilinear", align_corners=False)).to(stage.dtype)


def suppression(outside: Tensor, inside: Tensor) -> Tensor:
    """S_bg / S of each image, 1 without a gradient where S_bg > S: B."""
    return torch.where(outside > inside, 1.0, outside / (inside + 1e-8))


def against_negatives(score: Tensor, tags: Tensor) -> Tensor:
    """Mean over images of the sum over tags of the cross-entropy of a tag's score against those of no tag: B T."""
    score = score.float()
    others = score.masked_fill(tags, -1e4).logsumexp(1, keepdim=True)  # B 1, of the negatives
    return ((torch.logaddexp(score, others) - score) * tags).sum(1).mean()
