"""HRDA: any network sees a whole image small, and a part of it in full resolution."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks.base import Network, NetworkFactory
from seglab.networks.heads import convolution, embedded
from seglab.ops.grid import window_starts
from seglab.ops.norm import replace_norms
from seglab.types import Output, SideOutput, require


class HRDA(Network):
    """HRDA (Hoyer, Dai and Van Gool, ECCV 2022): context and detail, fused by a learned attention to scales.

    One network sees the image at 1 / ``factor`` of its size (context, section 3.2) and a window of it in full
    resolution (detail). Where the window is, the attention a of each class and cell of the context weighs the two:
    (1 - a) context + a detail, logits all; elsewhere the context stands alone (equation 9). In training the window is
    drawn anew in each forward and labels supervise the detail, too (equation 10), pseudo-labels included. In evaluation
    mode, as a teacher and in validation, windows that overlap by half cover the image (section 3.4).

    ``encode`` gives the context's stages alone, so that DAFormer's feature distance is that of the context, as
    published; ``features``, projections and auxiliary heads are those of the context. Methods know nothing of it.

    Deviations from the official code:
        Other decoders than DAFormer's have an attention of their own form -> of DAFormer's form.
        Windows never lie at the right or bottom end of the image -> anywhere.
        A window as large as the image has a loss on the context and a feature distance at both scales -> it has not.

    Args:
        space: classes to tell apart.
        network: what is wrapped; its options ``aux_weight``, ``train_norms`` and so on are given there.
        window: height and width of the detail, in pixels; an image that is smaller is seen as a whole.
        factor: the image is shrunk by it for the context.
        detail_weight: of the detail's loss, in [0, 1); the fused logits have the rest.
        width: channels of the attention.

    Raises:
        SeglabError: a setting is outside its range, the window does not fit the network's grid, or the network's
            logits have none.
    """

    joins = False  # a forward draws its own window

    def __init__(
        self,
        space: LabelSpace,
        network: NetworkFactory,
        window: tuple[int, int] = (512, 512),
        factor: int = 2,
        detail_weight: float = 0.1,
        width: int = 256,
    ) -> None:
        require(factor >= 1, "HRDA.factor", factor, "give a whole number of 1 or more")
        require(0 <= detail_weight < 1, "HRDA.detail_weight", detail_weight, "give a weight in [0, 1)")
        inner = network(space)
        inner.restores = False
        stages, logits = _probe(inner)
        stride, rest = divmod(inner.minimum, logits.shape[-1])
        require(not rest, "HRDA.network", type(inner).__name__, "its logits have no stride in whole pixels")
        cell = factor * stride  # of the context's logits, in pixels of the image
        multiple = math.lcm(factor * inner.multiple, cell)
        step = math.lcm(inner.multiple, cell)
        fits = all(side % step == 0 and side >= inner.minimum for side in window)
        require(fits, "HRDA.window", list(window), f"give multiples of {step}, at least {inner.minimum}")
        minimum = -(-factor * inner.minimum // multiple) * multiple
        super().__init__(space, (inner.mean.flatten().tolist(), inner.std.flatten().tolist()), multiple, minimum)
        self.train_norms, self.channel_order = inner.train_norms, inner.channel_order
        self.projection, self.aux_weight = inner.projection, inner.aux_weight
        del self.heads  # those of the network below

        self.network = inner
        self.feature_channels = inner.feature_channels
        self.window, self.factor, self.stride, self.detail_weight = window, factor, stride, detail_weight
        self.seen = [place for place, stage in enumerate(stages) if stage.shape[-1] <= logits.shape[-1]]
        channels = [stages[place].shape[1] for place in self.seen]
        self.attention = ScaleAttention(channels, width, space.num_classes)
        replace_norms(self.attention)

    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        return self.network.encoder

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        return self.network.head

    @property
    def heads(self) -> nn.ModuleDict:  # type: ignore[override]
        return self.network.heads

    def encode(self, image: Tensor) -> list[Tensor]:
        """The context's stages, and last the padded image B 3 H'W', of which ``decode`` takes the detail."""
        right, bottom = self._padding(image.shape[-1]), self._padding(image.shape[-2])
        if right or bottom:
            image = F.pad(image - self.mean, (0, right, 0, bottom)) + self.mean  # with the mean colour
        size = [side // self.factor for side in image.shape[-2:]]
        context = F.interpolate(image, size, mode="bilinear", align_corners=False)
        return [*self.network.encode(context), image.flatten(2)]

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        *context, image = stages
        extent = self.extent(size)
        out = self.network.decode(context, [side // self.factor for side in extent])
        maps = [stage for stage in context if stage.ndim == 4]
        attention = self.attention([maps[place] for place in self.seen]).sigmoid()  # B K h w
        attention = _resized(attention, out.logits.shape[-2:])

        windows = self.windows(extent, size)
        detail = self.in_detail(image.unflatten(2, extent), windows)  # n B K h' w'
        if self.training:
            attention = attention * self.inside(windows[0], attention)
        grid = [side // self.stride for side in extent]
        fused = _resized((1 - attention) * out.logits, grid)
        fused = fused + _resized(attention, grid) * self.placed(detail, windows, grid)

        aux = {name: part._replace(logits=self.restore(part.logits, size)) for name, part in out.side.items()}
        whole = out._replace(logits=self.restore(fused, size), side=aux)
        if not (self.training and self.detail_weight):
            return whole
        side = self.supervised_detail(detail[0], windows[0], size)
        return whole._replace(side={"detail": side} | aux, share=1 - self.detail_weight)

    def windows(self, extent: Sequence[int], size: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """Top, left, height, width in pixels: one at random in training, else as many as cover the image.

        Args:
            extent: height and width of the padded image.
            size: of the image itself, of which the one window shows something.
        """
        height, width = (min(side, length) for side, length in zip(self.window, extent, strict=True))
        if self.training:
            cell = self.factor * self.stride
            last = [
                min(length - side, own - 1) // cell
                for side, length, own in zip((height, width), extent, size, strict=True)
            ]
            place = torch.rand(2).tolist()  # on the CPU: nothing waits for the device
            top, left = (cell * int(share * (number + 1)) for share, number in zip(place, last, strict=True))
            return [(top, left, height, width)]
        steps = [max(side // 2 // self.stride, 1) * self.stride for side in (height, width)]
        rows, columns = (
            window_starts(length, side, step) for length, side, step in zip(extent, (height, width), steps, strict=True)
        )
        return [(top, left, height, width) for top in rows for left in columns]

    def in_detail(self, image: Tensor, windows: Sequence[tuple[int, int, int, int]]) -> Tensor:
        """Logits n B K h w of the parts of images B 3 H W that n windows show."""
        parts = torch.cat([image[:, :, top : top + h, left : left + w] for top, left, h, w in windows])
        size = parts.shape[-2:]
        return self.network.decode(self.network.encode(parts), size).logits.unflatten(0, (len(windows), -1))

    def inside(self, window: Sequence[int], context: Tensor) -> Tensor:
        """1 where the window is, else 0, on the grid of the context's maps B K h w: h w."""
        top, left, height, width = (side // (self.factor * self.stride) for side in window)
        mask = torch.zeros_like(context[0, 0])
        mask[top : top + height, left : left + width] = 1
        return mask

    def placed(self, detail: Tensor, windows: Sequence[Sequence[int]], grid: Sequence[int]) -> Tensor:
        """The mean of windows n B K h w where they lie on a grid, 0 where none does: B K rows columns."""
        total, count = detail.new_zeros(*detail.shape[1:3], *grid), detail.new_zeros(*grid)
        for logits, window in zip(detail, windows, strict=True):
            top, left, height, width = (side // self.stride for side in window)
            total[..., top : top + height, left : left + width] += logits
            count[top : top + height, left : left + width] += 1
        return total / count.clamp(min=1)

    def supervised_detail(self, logits: Tensor, window: tuple[int, int, int, int], size: Sequence[int]) -> SideOutput:
        """Logits B K h w of a window, for the labels of an image whose padding, if any, the window may show."""
        top, left, height, width = window
        shown = max(0, min(height, size[0] - top)), max(0, min(width, size[1] - left))
        logits = _resized(logits, (height, width))[..., : shown[0], : shown[1]]
        return SideOutput(logits, self.detail_weight, (top, left, *shown), on_pseudo=True)

    def grow(self, space: LabelSpace) -> None:
        super().grow(space)
        self.network.space = space

    def replace_head(self, head: nn.Module) -> None:
        self.network.replace_head(head)

    def classifiers(self) -> list[nn.Module]:
        return [*self.network.classifiers(), self.attention.head]


class ScaleAttention(nn.Module):
    """From stages of an encoder to one logit per class and cell of the finest (section 3.3): B K h w.

    Args:
        channels: of the stages, from fine to coarse.
        width: of the embedding of each stage, and of what they are fused to.
        num_classes: K.
    """

    def __init__(self, channels: Sequence[int], width: int, num_classes: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Conv2d(number, width, 1) for number in channels)
        self.fusion = convolution(len(channels) * width, width)
        self.dropout = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.fusion(embedded(self.embeddings, stages))))
        return logits


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """B C h w at a height and width, bilinear."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, list(size), mode="bilinear", align_corners=False)


@torch.inference_mode()
def _probe(network: Network) -> tuple[list[Tensor], Tensor]:
    """Feature maps and logits on their own grid of the smallest image that a network takes."""
    training = network.training
    side = network.minimum
    stages = network.eval().encode(torch.zeros(1, 3, side, side))
    logits = network.decode(stages, (side, side)).logits
    network.train(training)
    return [stage for stage in stages if stage.ndim == 4], logits
