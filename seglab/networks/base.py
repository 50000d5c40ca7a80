"""What every network is: images in [0, 1] in, ``Output`` at the resolution of the image out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.compiled import compilable, same_layout
from seglab.networks.heads import auxiliary_head, last_convolutions, projection_head, widen
from seglab.networks.incremental import IncrementalHead
from seglab.ops.grid import last_map
from seglab.ops.norm import apart, batch_norms, frozen_statistics, replace_norms, tells_apart
from seglab.types import Output, SeglabError, SideOutput, require

MeanStd = tuple[Sequence[float], Sequence[float]]


class Network(nn.Module, ABC):
    """Base class of segmentation networks, with the options that all of them have.

    A subclass sets ``encoder``, ``head`` and ``feature_channels``, ends its constructor with ``finish``, and writes
    ``encode`` around ``prepare`` and ``decode`` around ``output``. Methods that perturb features, or compare them, call
    the two; all others the network itself.

    Where a batch normalisation would see one value per channel in training, as behind a global pooling with one image
    per step, it uses its running statistics for that call and leaves them alone.

    What ``channels_last`` and ``compile`` change in numbers: each operation is the same, but sums run in another order
    and fused operations round less often, so values differ in the last bits of the precision; with ``compile``, dropout
    draws other random numbers from the same seed. Two runs with the same options on the same machine and versions stay
    equal bit for bit, resumed or not.

    Attributes:
        space: the classes that it tells apart.
        encoder: the pre-trained part; every parameter outside it gets the head's learning-rate multiplier.
        head: the classifier on ``Output.features``.
        heads: further heads by name, each a module on features or on a stage of the encoder: ``projection`` and
            ``aux`` by the options below, others by methods. ``init_from`` leaves out those that one side lacks.
            ``bridge``, if a method sets it, turns the stages of ``encode`` into those that ``decode`` sees.
        feature_channels: D of ``Output.features``.
        align_corners: of the interpolation of the logits.
        restores: whether ``output`` brings logits to the resolution of the image; a network that wraps this one, and
            fuses them before, turns it off.
        joins: whether ``apart`` may compute several batches in one forward.

    Args:
        space: classes to tell apart.
        encoder_mean_std: mean and standard deviation per channel (red, green, blue) of the images in [0, 1] that the
            encoder was trained with.
        multiple: height and width that the encoder and decoder accept are multiples of it, in pixels.
        minimum: least height and width that they accept, in pixels, a multiple of ``multiple``.
        train_norms: what training changes in the encoder's batch normalisation. ``all``: batch statistics, and weights
            and biases learn. ``affine_fixed``: batch statistics, weights and biases stay as pre-trained (most
            adaptation papers). ``frozen``: running statistics, weights and biases stay as pre-trained, whatever the
            mode of the network.
        mean_std: other means and standard deviations than the encoder's own, red, green and blue in [0, 1].
        channel_order: ``bgr`` for weights that were trained with blue first.
        projection: width of an embedding per pixel, L2-normalised, in ``aux["projection"]`` (B projection h w), for
            contrastive losses: convolution 1x1 - batch normalisation - ReLU - convolution 1x1 on the features.
            0 for none.
        aux_weight: weight of the supervised loss of a second head on the encoder's last stage but one (layer 3 of a
            ResNet), its logits B K H W in ``side["aux"]``. 0 for none.
        channels_last: keep weights and maps with their channels last in memory, as the tensor cores of GPUs want them:
            faster there in bf16 or fp16, seldom on a CPU.
        compile: run ``encode`` and ``decode`` through torch.compile while training, for teachers and frozen copies
            too. The first steps then take minutes, once for every size of images and batches; for what is short, such
            as tests, leave it. A GPU needs Triton, a CPU a C++ compiler.

    Raises:
        SeglabError: ``train_norms`` is not ``all`` and the encoder has no batch normalisation; a negative
            ``projection`` or ``aux_weight``; a standard deviation that is not positive; in the first compiled step,
            there is no compiler.
    """

    encoder: nn.Module
    head: nn.Module
    feature_channels: int
    align_corners = False
    restores = joins = True
    channels_last = compile_pieces = False
    mean: Tensor  # 1 3 1 1
    std: Tensor  # 1 3 1 1

    def __init__(
        self,
        space: LabelSpace,
        encoder_mean_std: MeanStd,
        multiple: int,
        minimum: int,
        train_norms: Literal["all", "affine_fixed", "frozen"] = "all",
        mean_std: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None,
        channel_order: Literal["rgb", "bgr"] = "rgb",
        projection: int = 0,
        aux_weight: float = 0.0,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        require(projection >= 0, "network.projection", projection, "give a width, or 0 for none")
        require(aux_weight >= 0, "network.aux_weight", aux_weight, "give a positive weight, or 0 for no auxiliary head")
        mean, std = mean_std or encoder_mean_std
        require(min(std) > 0, "network.mean_std", mean_std, "give means, then positive standard deviations, in [0, 1]")
        self.space = space
        self.multiple, self.minimum = multiple, minimum
        self.train_norms, self.channel_order = train_norms, channel_order
        self.projection, self.aux_weight = projection, aux_weight
        self.channels_last, self.compile_pieces = channels_last, compile
        self.heads = nn.ModuleDict()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("encode", "decode"):
            if name in cls.__dict__:
                setattr(cls, name, compilable(cls.__dict__[name]))

    def finish(self, aux_channels: int) -> None:
        """Build what the options ask for: the end of a subclass's constructor.

        Args:
            aux_channels: of the encoder's last stage but one.
        """
        if self.projection:
            self.heads["projection"] = projection_head(self.feature_channels, self.projection)
        if self.aux_weight:
            self.heads["aux"] = self.auxiliary(aux_channels)
        replace_norms(self)
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        norms = batch_norms(self.encoder)
        if self.train_norms != "all":
            remedy = "the encoder has no batch normalisation, so leave it at all"
            require(bool(norms), "network.train_norms", self.train_norms, remedy)
            for norm in norms:
                norm.requires_grad_(False)
        self.train(self.training)

    def auxiliary(self, channels: int) -> nn.Module:
        """A new auxiliary head on a stage of the encoder, B channels h w -> logits B K h w."""
        return auxiliary_head(channels, self.space.num_classes, dropout=0.1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.train_norms == "frozen":
            for norm in batch_norms(self.encoder):
                norm.eval()
        return self

    @abstractmethod
    def encode(self, image: Tensor) -> list[Tensor]:
        """The encoder's stages for images B 3 H W in [0, 1].

        Returns:
            feature maps B D h w from fine to coarse; the first may be the prepared image itself. Entries that are not
            4-dimensional are class tokens of a vision transformer, one per map, after the maps.
        """

    @abstractmethod
    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        """From encoder stages to the output for images of ``size`` (height, width)."""

    def forward(self, image: Tensor) -> Output:
        """Segment images.

        Args:
            image: B 3 H W float in [0, 1], any H and W; a small one is padded.

        Returns:
            ``logits`` B K H W at the resolution of ``image``; ``features`` B D h w on the decoder's own grid, which
            covers the padded image (see ``prepare``): the last row and column may see padding only; ``aux`` and
            ``side`` as the options say.

        Raises:
            SeglabError: the image is not floating point.
        """
        stages = self.encode(image)
        if "bridge" in self.heads:
            stages = self.heads["bridge"](stages)
        return self.decode(stages, image.shape[-2:])

    def prepare(self, image: Tensor) -> Tensor:
        """Normalise, order the channels, then pad to the required multiple: B 3 H W in [0, 1] -> B 3 H' W'.

        The padding is at the right and at the bottom, and zero after normalisation (the mean colour), which is what
        the zero padding of every convolution shows beyond the other borders.
        """
        if not image.is_floating_point():
            raise SeglabError(f"a network takes float images in [0, 1], not {image.dtype}: divide by 255 first")
        right, bottom = self._padding(image.shape[-1]), self._padding(image.shape[-2])
        image = (same_layout(image, self.channels_last) - self.mean) / self.std
        image = image.flip(1) if self.channel_order == "bgr" else image
        any_size = torch.compiler.is_exporting()  # where no question about a size may be asked
        return F.pad(image, (0, right, 0, bottom)) if any_size or right or bottom else image

    def output(self, logits: Tensor, features: Tensor, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        """The output for images of ``size``: ``logits`` B K h w restored, and the heads on features and stages.

        Args:
            stages: of ``encode``, feature maps alone.
        """
        aux, side = {}, {}
        if self.projection:
            aux["projection"] = F.normalize(self.heads["projection"](features), dim=1)
        if self.aux_weight:
            side["aux"] = SideOutput(self.restore(self.heads["aux"](stages[-2]), size), self.aux_weight)
        return Output(self.restore(logits, size), features, aux, side)

    def restore(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Logits of the prepared image -> those of the image of ``size``: B K h w -> B K H W, bilinear, padding cut.

        Where the network does not restore, they stay as they are.
        """
        if not self.restores:
            return logits
        height, width = size
        extent = self.extent(size)
        if logits.shape[-2:] != extent:
            # Losses want classes apart in memory: here there are fewer pixels to move than behind the interpolation.
            logits = F.interpolate(logits.contiguous(), size=extent, mode="bilinear", align_corners=self.align_corners)
        if torch.compiler.is_exporting():  # a slice would ask whether it is one
            return F.pad(logits, (0, width - extent[1], 0, height - extent[0]))
        return logits[..., :height, :width]

    def extent(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width of a prepared image of ``size``, padding included: what the grid of ``features`` covers."""
        height, width = size
        return height + self._padding(height), width + self._padding(width)

    def split(self, *images: Tensor) -> tuple[Output, ...]:
        """Several batches in one forward, and one ``Output`` for each: B1 3 H W, B2 3 H W, ... -> that many.

        Batch normalisation in training mode then takes its statistics over all of them together. Batches of different
        sizes cannot be joined: each gets a forward, and statistics, of its own.
        """
        if len({image.shape[1:] for image in images}) > 1:
            return tuple(self(image) for image in images)
        output: Output = self(torch.cat(images))
        return output.split([len(image) for image in images])

    def apart(self, *images: Tensor, frozen: Sequence[bool] = ()) -> tuple[Output, ...]:
        """As one forward after the other, B1 3 H W, B2 3 H W, ... -> that many outputs, but computed together.

        Each batch is normalised with its own statistics. Batches of different sizes get a forward of their own.

        Args:
            frozen: for each batch, whether it leaves the running statistics alone; by default none does.
        """
        frozen = frozen or [False] * len(images)
        if not self._joined({image.shape[1:] for image in images}):
            outputs = []
            for image, still in zip(images, frozen, strict=True):
                with frozen_statistics(self, still):
                    outputs.append(self(image))
            return tuple(outputs)
        numbers = [len(image) for image in images]
        with apart(self, numbers, frozen):
            output: Output = self(torch.cat(images))
        return output.split(numbers)

    def encode_apart(self, *images: Tensor, frozen: Sequence[bool] = ()) -> list[list[Tensor]]:
        """The stages of several batches, as ``apart``."""
        frozen = frozen or [False] * len(images)
        if not self._joined({image.shape[1:] for image in images}):
            parts = []
            for image, still in zip(images, frozen, strict=True):
                with frozen_statistics(self, still):
                    parts.append(self.encode(image))
            return parts
        numbers = [len(image) for image in images]
        with apart(self, numbers, frozen):
            stages = self.encode(torch.cat(images))
        return [list(part) for part in zip(*(stage.split(numbers) for stage in stages), strict=True)]

    def decode_apart(
        self, stages: Sequence[list[Tensor]], sizes: Sequence[Sequence[int]], frozen: Sequence[bool] = ()
    ) -> tuple[Output, ...]:
        """The outputs for the stages of several batches, whose images have ``sizes`` (height, width), as ``apart``."""
        frozen = frozen or [False] * len(stages)
        if not self._joined({tuple(size) for size in sizes}):
            outputs = []
            for part, size, still in zip(stages, sizes, frozen, strict=True):
                with frozen_statistics(self, still):
                    outputs.append(self.decode(part, size))
            return tuple(outputs)
        numbers = [len(part[0]) for part in stages]
        with apart(self, numbers, frozen):
            output: Output = self.decode([torch.cat(maps) for maps in zip(*stages, strict=True)], sizes[0])
        return output.split(numbers)

    def _joined(self, sizes: set[tuple[int, ...]]) -> bool:
        """Whether batches of these sizes go through one forward."""
        replace_norms(self)  # those that came later, or that a conversion made anew
        return len(sizes) == 1 and self.joins and tells_apart(self)

    def grow(self, space: LabelSpace) -> None:
        """Tell more classes apart, in place: the classifier and the auxiliary head keep the weights of the old ones.

        Classes are found by name, and may change their position. Weights of new classes are drawn from a normal
        distribution as wide as that of the old ones, their biases are 0. An ``IncrementalHead`` adds a part for the new
        classes, which come last. An optimiser made earlier holds the old
        weights: call it before ``configure_optimizers``, and copy teachers afterwards.

        Raises:
            SeglabError: ``space`` lacks a class of the network.
        """
        if lost := [name for name in self.space.names if name not in space.names]:
            raise SeglabError(f"a network grows to more classes, but the new ones {list(space.names)} lack {lost}")
        rows = torch.tensor([space.names.index(name) for name in self.space.names])
        for part in self.classifiers():
            if isinstance(part, IncrementalHead):
                part.grow(space.num_classes - self.space.num_classes)
                continue
            for layer in last_convolutions(part):
                widen(layer, space.num_classes, rows)
        self.space = space

    def add_head(self, name: str, head: nn.Module) -> None:
        """Own a further head. Like the other ones it trains on a single value per channel, and ``init_from`` skips it.

        Args:
            name: in ``heads``.
            head: a module on features or on a stage of the encoder.
        """
        replace_norms(head)
        self.heads[name] = head

    @torch.inference_mode()
    def coarsest_channels(self) -> int:
        """Channels of the encoder's last feature map, seen in a forward of one black image."""
        mode, weight = self.training, next(self.encoder.parameters())
        self.eval()
        stages = self.encode(weight.new_zeros(1, 3, 32, 32))
        self.train(mode)
        return last_map(stages).shape[1]

    def replace_head(self, head: nn.Module) -> None:
        """Give the features another classifier, B D h w -> B K h w."""
        replace_norms(head)
        self.head = head

    def classifiers(self) -> list[nn.Module]:
        """The modules whose output channels are classes."""
        return [self.head, *(self.heads[name] for name in ("aux",) if name in self.heads)]

    def _padding(self, size: int) -> int:
        # As a multiple less the size: an exported program for any size then knows which maps have equal sizes.
        steps: Any = torch.sym_max((size + self.multiple - 1) // self.multiple, self.minimum // self.multiple)
        padding: int = self.multiple * steps - size
        return padding


NetworkFactory = Callable[[LabelSpace], Network]
"""Builds a newly initialised network for the classes of a label space; each call, another one."""
