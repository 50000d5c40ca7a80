"""CAM: a classifier of image tags, whose maps become labels of pixels."""

from typing import Any

import torch
from torch import Tensor, nn

from seglab.labels import IGNORE
from seglab.methods.base import Method
from seglab.networks.cam import Located
from seglab.ops.cam import confident_seeds, multi_label_loss, multi_scale, normalised, scores
from seglab.ops.crf import DenseCRF
from seglab.ops.mixing import one_hot
from seglab.types import Batch, Sample, SeglabError, require


class CAM(Method):
    """Class activation maps (Zhou et al., CVPR 2016) as the start of learning from image tags (the code of IRN).

    The network's classifier is a 1x1 convolution without bias. Score s_c is the mean of its map M_c over the image, the
    loss is binary cross-entropy with the tags, and relu(M_c) shows where a class is. ``label`` sums the maps over
    scales and mirror images, keeps the image's tags, divides each by its maximum, and labels what two background
    scores agree on, each after a dense CRF. Validation takes one scale, the tags with s > 0 and the mean of the
    two scores. A background class is no tag; where there is none, the largest map labels each pixel. Tags that every
    image has teach nothing: scenes of streets are no data for it.

    Deviations from the code of IRN:
        IRN's boundaries and random walk after the seeds -> the seeds themselves; they are a system of their own.
        Momentum 1e-4, which a swapped argument leaves -> that of the benchmark's optimiser.
        Maps at a quarter of the resolution are averaged, then enlarged -> each is enlarged.

    Args:
        levels: scores of the background: no map above the first is background, above the second is sure.
        scales: of the images that are labelled.
        crf: refines each of the two labels; 0 iterations leave them as they are.
        background: name of the class that is no tag.
    """

    reads = {"tagged": ("tags",)}

    def __init__(
        self,
        levels: tuple[float, float] = (0.15, 0.3),
        scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0),
        crf: DenseCRF = DenseCRF(10, 3.0, 3.0, 10.0, 50.0, 5.0),
        background: str = "background",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        name = type(self).__name__
        require(0 <= levels[0] <= levels[1] <= 1, f"{name}.levels", levels, "give two scores in [0, 1], in order")
        require(bool(scales) and min(scales) > 0, f"{name}.scales", scales, "give factors above 0")
        crf.check()
        self.levels, self.scales, self.crf = levels, scales, crf
        self.empty = self.class_names.index(background) if background in self.class_names else -1
        kept = [index for index in range(self.num_classes) if index != self.empty]
        if not kept:
            raise SeglabError(f"{name}.background {background} leaves no class")
        self.register_buffer("classes", torch.tensor(kept), persistent=False)

    classes: Tensor

    def build(self) -> None:
        super().build()
        layer = nn.Conv2d(self.student.feature_channels, self.num_classes, 1, bias=False)
        nn.init.xavier_uniform_(layer.weight)
        self.student.replace_head(layer)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        tagged = batch["tagged"]
        score = scores(self.student(tagged["image"]).logits)[:, self.classes]
        return {"tags": multi_label_loss(score, tagged["tags"][:, self.classes])}

    def locate(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Maps B T H W of images, and the scores B T of their classes."""
        maps = self.student(image).logits[:, self.classes]
        return maps, scores(maps)

    def evaluated(self) -> dict[str, nn.Module]:
        level = sum(self.levels) / 2
        return {"student": Located(self.locate, self.classes, self.empty, level, self.num_classes)}

    def label(self, sample: Sample, network: nn.Module) -> Tensor:
        image, tags = sample["image"], sample["tags"]
        maps = multi_scale(lambda view: self.locate(view)[0], image, self.scales)
        maps = normalised(maps, tags[:, self.classes])
        crf = self.crf if self.crf.iterations else None
        seeds = confident_seeds(maps, image, tags, self.classes, self.empty, self.levels, crf)
        unknown = (seeds == IGNORE).unsqueeze(1) / self.num_classes
        return one_hot(seeds, self.num_classes) + unknown
