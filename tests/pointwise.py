"""Methods on a network that is one 1x1 convolution, so that a test can write down what their losses must be."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seglab.evaluation import Whole
from seglab.labels import LabelSpace, label_space
from seglab.methods import Method, Schedule
from seglab.networks import Network
from seglab.ops.boxes import BoxSampler
from seglab.ops.losses import CrossEntropy
from seglab.ops.views import StrongView
from seglab.types import Batch, Output, SideOutput

OFF = StrongView(jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0)


class Pointwise(Network):
    """Logits are a linear function of each pixel's colour."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space, ([0.0] * 3, [1.0] * 3), 1, 1)
        self.encoder = nn.Conv2d(3, space.num_classes, 1)
        self.feature_channels = space.num_classes

    def encode(self, image: Tensor) -> list[Tensor]:
        return [self.encoder(self.prepare(image))]

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return Output(self.restore(stages[-1], size), stages[-1])


class TwoHeads(Pointwise):
    """A second linear function of the colour, as an auxiliary head."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.aux_weight = 0.1
        self.second = nn.Conv2d(space.num_classes, space.num_classes, 1)

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return (
            super()
            .decode(stages, size)
            ._replace(side={"aux": SideOutput(self.restore(self.second(stages[-1]), size), self.aux_weight)})
        )


class Everywhere(BoxSampler):
    """A box as large as the image."""

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        return torch.ones(batch, height, width, dtype=torch.bool, device=device)


def method(kind: type[Method], classes: Sequence[str] = ("a", "b"), **arguments: Any) -> Any:
    """A method of two classes, built; ``arguments`` are its own or override the common ones."""
    common: dict[str, Any] = {
        "network": Pointwise,
        "criterion": CrossEntropy(),
        "optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1),
        "schedule": Schedule(),
        "evaluation": Whole(),
        "space": label_space(classes),
    }
    built = kind(**common | arguments)
    built.configure_model()
    return built


def batch(size: int = 2, shape: tuple[int, int] = (4, 6)) -> Batch:
    """Random images; the first row of labels is void, the last column of unlabeled images padding."""
    torch.manual_seed(0)
    height, width = shape
    valid = torch.ones(size, height, width, dtype=torch.bool)
    padded = valid.clone()
    padded[:, :, -1] = False
    mask = torch.randint(0, 2, valid.shape)
    mask[:, 0] = 255
    labeled = {"image": torch.rand(size, 3, height, width), "mask": mask, "valid": valid, "key": ["l"] * size}
    unlabeled = {"image": torch.rand(size, 3, height, width), "valid": padded, "key": ["u"] * size}
    return {"labeled": labeled, "unlabeled": unlabeled}  # type: ignore[typeddict-item]
