"""The consistency half of semantically consistent translation: what a translated image shows is what it showed."""

from torch import Tensor

from seglab.methods.base import Addition, Method
from seglab.ops.losses import pixel_mean, squared_distance
from seglab.ops.norm import frozen_statistics
from seglab.types import Batch, require


class TranslationConsistency(Addition):
    """After semantically consistent image-to-image translation (Brehm et al., ICAART 2022), on top of any method.

    No code is public, and the paper's equations could not be read; its translation network, which is trained together
    with the segmenter, is left out. Translations of the source into the look of the target come from files instead
    (``data.source.translated``), and this is the half of ours that learns from them: the labels of the source teach its
    translations, and the prediction of an image and of its translation should agree. The method below brings the
    self-training on the target, such as DACS.

    Args:
        weight: of the criterion on translations.
        consistency: of the squared distance of both predictions, sum over classes, mean over valid pixels.
    """

    reads = {"labeled": ("mask", "translated")}

    def __init__(self, weight: float = 1.0, consistency: float = 1.0) -> None:
        super().__init__()
        require(weight >= 0, "TranslationConsistency.weight", weight, "give a weight of 0 or more")
        require(consistency >= 0, "TranslationConsistency.consistency", consistency, "give a weight of 0 or more")
        self.weight, self.consistency = weight, consistency

    def losses(self, method: Method, batch: Batch) -> dict[str, Tensor]:
        source = batch["labeled"]
        with frozen_statistics(method.student):
            out, out_t = method.student.apart(source["image"], source["translated"])
        unlike = squared_distance(out.logits.float().softmax(1), out_t.logits.float().softmax(1))
        return {
            "translated": self.weight * method.supervised(out_t, source["mask"]),
            "translation_consistency": self.consistency * pixel_mean(unlike, source["valid"]),
        }
