"""The baseline that every other method is compared with."""

from torch import Tensor

from seglab.methods.base import Method
from seglab.types import Batch


class Supervised(Method):
    """Training on the labeled images alone; on a source domain, the source-only baseline."""

    reads = {"labeled": ("mask",)}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labeled = batch["labeled"]
        return {"supervised": self.supervised(self.student(labeled["image"]), labeled["mask"])}
