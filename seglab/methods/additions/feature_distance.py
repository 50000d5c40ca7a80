"""The feature distance of DAFormer: what ImageNet taught the encoder of countable things is not forgotten."""

from torch import Tensor

from seglab.methods.base import Addition, Method
from seglab.ops.grid import THINGS, thing_classes, thing_distance
from seglab.ops.norm import frozen_statistics
from seglab.ops.teacher import Frozen
from seglab.types import Batch, require


class FeatureDistance(Addition):
    """DAFormer's feature distance (Hoyer et al., CVPR 2022, section 3.3), on top of any method.

    Where one class of countable things fills a cell of the encoder's last stage, the feature of a labeled image is held
    close to that of a frozen ImageNet encoder, for one more forward of the encoder. DAFormer, CLUDA and CRDA have this
    term already; CAMix, which its paper puts on DAFormer too, gets it here.

    Args:
        weight: of the mean Euclidean distance.
        share: of a cell's pixels that one class must have, in [0, 1].
        things: names of the classes to hold; those that the data lacks do not count.

    Raises:
        SeglabError: a setting is outside its range, or none of ``things`` is a class of the data.
    """

    reads = {"labeled": ("mask",)}
    needs_pretrained = True

    def __init__(self, weight: float = 0.005, share: float = 0.75, things: tuple[str, ...] = THINGS) -> None:
        super().__init__()
        require(weight >= 0, "FeatureDistance.weight", weight, "give a weight of 0 or more")
        require(0 <= share <= 1, "FeatureDistance.share", share, "give a share in [0, 1]")
        self.weight, self.share, self.things = weight, share, things

    held: Tensor  # 256 bool

    def build(self, method: Method) -> None:
        held = thing_classes(method.class_names, self.things, "FeatureDistance.things")
        self.register_buffer("held", held, persistent=False)
        # Another network, because ``init_from`` may have given the student other weights than the published ones.
        self.imagenet = Frozen(method.network(method.space))

    def losses(self, method: Method, batch: Batch) -> dict[str, Tensor]:
        image, mask = batch["labeled"]["image"], batch["labeled"]["mask"]
        with frozen_statistics(method.student):
            stages = method.student.encode(image)
        extent = method.student.extent(image.shape[-2:])
        distance = thing_distance(stages, self.imagenet.encode(image), mask, extent, self.held, self.share)
        return {"feature_distance": self.weight * distance}
