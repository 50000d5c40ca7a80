"""Mixing by how badly classes are learned: the adaptive Copy-Paste and CutMix of AEL (Hu et al., NeurIPS 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seglab.ops.boxes import BoxSampler, FixedAreaBox
from seglab.ops.components import component_box
from seglab.ops.memory import ConfidenceBank
from seglab.ops.mixing import IDS, Pixels, cutmix_partner, mix, select
from seglab.types import require_least, require_shares

NEVER_PASTED = (
    *("road", "sidewalk", "building", "vegetation", "sky"),
    *("pavement", "tree", "background"),  # what CamVid and Pascal VOC call theirs
)


@dataclass(frozen=True)
class AdaptiveCopyPaste:
    """Classes drawn with softmax((1 - confidence)^(1/2)) are pasted from the neighbour in the batch.

    The classes are drawn once for the batch of a process, as in the published code. There, images that are pasted from
    are drawn apart, at scales of 0.1 to 2, and classes that are never pasted have fixed numbers, those of Cityscapes,
    on Pascal VOC too.

    Attributes:
        probability: that an image gets pixels of another; a single one gets none.
        classes: drawn in a step; the same one may be drawn again.
        never: names of classes that are not pasted; those that the data lacks do not count.

    Raises:
        SeglabError: an attribute is outside its range.
    """

    probability: float = 0.5
    classes: int = 3
    never: tuple[str, ...] = NEVER_PASTED

    def __post_init__(self) -> None:
        require_shares(self, probability=self.probability)
        require_least(self, 1, classes=self.classes)

    def allowed(self, names: Sequence[str]) -> Tensor:
        """K bool: which of the classes may be pasted, by their names."""
        return torch.tensor([name.lower() not in self.never for name in names])

    def __call__(self, images: Pixels, bank: ConfidenceBank, allowed: Tensor) -> Pixels:
        """Labeled images, some with the pixels of badly learned classes of their neighbours; ``allowed``: K bool."""
        device = images.label.device
        classes = torch.zeros(IDS, dtype=torch.bool, device=device)
        classes.scatter_(0, bank.draw(self.classes, 0.5, allowed), True)
        other = Pixels(*(x.roll(1, 0) for x in images))
        chosen = torch.rand(len(images.label), 1, 1, device=device) < self.probability
        return mix(chosen & select(other.label, classes.expand(len(other.label), -1)), other, images)


@dataclass(frozen=True)
class AdaptiveCutMix:
    """Of each image a class is drawn with softmax(1 - confidence), and a component of it is cut from a partner.

    The partner is one that shows the class, else any, and what is pasted is the bounding box of the component. In the
    published code it comes from all unlabeled images, by a memory of which classes the teacher saw in them; here from
    the batch, by what the teacher sees now: data then depends on the position alone, and a run resumes to the bit.
    ``candidates`` makes the batch a larger pool. Components are told apart in cells of 8 pixels, there pixel by pixel.

    Attributes:
        candidates: one image in so many is mixed; the others are partners alone.
        component_area: a component whose box is cut has more than this share of the image; else any box is cut.
        class_area: share of the image from which it shows a class.
        boxes: what is cut where no component is large enough.

    Raises:
        SeglabError: ``candidates`` is below 1.
    """

    candidates: int = 1
    component_area: float = 0.005
    class_area: float = 0.01
    boxes: BoxSampler = field(default_factory=FixedAreaBox)

    def __post_init__(self) -> None:
        require_least(self, 1, candidates=self.candidates)

    def __call__(self, pool: Pixels, labeled: Pixels, bank: ConfidenceBank) -> Pixels:
        """The first images of the pool, each with a box of another one; of a labeled one if the pool is one image."""
        number = max(1, len(pool.label) // self.candidates)
        own, wanted = Pixels(*(x[:number] for x in pool)), bank.draw(number)
        other = self.partners(pool, wanted) if len(pool.label) > 1 else cutmix_partner(pool, labeled)
        box, found = component_box(other.label == wanted.view(-1, 1, 1), self.component_area)
        any_box = self.boxes(number, box.shape[1], box.shape[2], box.device)
        return mix(torch.where(found.view(-1, 1, 1), box, any_box), other, own)

    def partners(self, pool: Pixels, wanted: Tensor) -> Pixels:
        """For each of the first n images of the pool another one: one that shows the class ``wanted`` (n), else any."""
        shows = torch.stack([(pool.label == c).float().mean((1, 2)) for c in wanted]) >= self.class_area  # n B
        score = torch.rand(shows.shape, device=shows.device) + shows.float()
        partner = score.fill_diagonal_(-1.0).max(1).indices  # never the image itself
        return Pixels(*(x[partner] for x in pool))
