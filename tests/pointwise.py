"""Methods on a network that is one 1x1 convolution, so that a test can write down what their losses must be."""

from collections.abc import Sequence
from typing import Any

import torch
from spaces import classes
from torch import Tensor, nn

from seglab.evaluation import Whole
from seglab.labels import LabelSpace, label_space
from seglab.methods import Method, Schedule
from seglab.networks import Network
from seglab.ops.boxes import AreaBox, BoxSampler
from seglab.ops.losses import CrossEntropy
from seglab.ops.views import StrongView
from seglab.types import Batch, Output, SideOutput

OFF = StrongView(jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0)
NO_BOX = AreaBox(probability=0.0)
CALM: dict[str, Any] = {"strong": OFF, "boxes": NO_BOX}  # student and teacher see the same


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


class Decoded(Pointwise):
    """With a decoder behind a map of 8 channels, so that there are features to perturb."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(classes(8))
        self.decoder = nn.Conv2d(8, space.num_classes, 1)

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return Output(self.decoder(stages[-1]), stages[-1])


class TwoStages(Decoded):
    """The image before that map as a finer stage, which the decoder does not use."""

    def encode(self, image: Tensor) -> list[Tensor]:
        return [image, *super().encode(image)]


class Normed(Decoded):
    """With batch normalisation in encoder and decoder, and dropout."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder = nn.Sequential(self.encoder, nn.BatchNorm2d(8))
        self.decoder = nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.5), self.decoder)


class Everywhere(BoxSampler):
    """A box as large as the image."""

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        return torch.ones(batch, height, width, dtype=torch.bool, device=device)


class Halves(BoxSampler):
    """The left half of the image, then the right half, and so on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        left = torch.arange(width, device=device) < width // 2
        self.calls += 1
        return (left if self.calls % 2 else ~left).expand(batch, height, width)


def sharpen(network: nn.Module, factor: float) -> None:
    """Confidences from 0.5 to almost 1, of a network with a decoder."""
    middle = network(torch.full((1, 3, 1, 1), 0.5)).logits.flatten()  # of a pixel between the others, undecided below
    with torch.no_grad():
        network.decoder.bias.sub_(middle)  # type: ignore[union-attr]
        for parameter in network.decoder.parameters():  # type: ignore[union-attr]
            parameter.mul_(factor)


def constant(network: nn.Module, *probabilities: float) -> None:
    """Make a network with a decoder predict these probabilities everywhere."""
    with torch.no_grad():
        network.decoder.weight.zero_()  # type: ignore[union-attr]
        network.decoder.bias.copy_(torch.tensor(probabilities).clamp(1e-20).log())  # type: ignore[union-attr]


def expected_consistency(logits: Tensor, label: Tensor, kept: Tensor, valid: Tensor) -> float:
    """Sum of the kept pixels' cross-entropy over the number of valid ones."""
    loss = nn.functional.cross_entropy(logits, label, reduction="none")
    return (loss * (kept & valid)).sum().item() / valid.sum().item()


def decoded(kind: type[Method], network: type[Network] = Decoded, **arguments: Any) -> Any:
    """``method`` on a network with a decoder."""
    return method(kind, network=network, **arguments)


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
