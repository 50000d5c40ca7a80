"""W-OoD: images that show no class, but what classes are often seen with, teach a classifier of tags."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.methods.image_level.cam import CAM
from seglab.ops.cam import multi_label_loss, scores
from seglab.ops.clustering import k_means
from seglab.ops.ranks import gather_objects
from seglab.types import Batch, require


class WOoD(CAM):
    """Weakly supervised segmentation with out-of-distribution images (Lee et al., CVPR 2022), from image tags.

    Begins with a classifier of ``CAM`` (``init_from``). Before step 0 the means mu_c of the features of each class (an
    image counts for each of its tags) and k centres o_k of those of the outside images are found, and stay. With f_b
    the mean feature of a tagged image, d_bc = |f_b - mu_c|, e_bk = |f_b - o_k| and y the tags:

    L_M = T / k mean(y d) - mean(e where e is below its 20 % quantile); outside images are climbed,
    x' = x + 0.07 g / max|g| with g the gradient of their largest scores, and L_ood = mean(softplus(s(x'))).
    loss = BCE + 0.007 L_M + 0.25 L_ood

    Deviations from the official code:
        Images whose largest class is bottle (4) do not count in L_ood -> all count; the number is left from debugging.
        Selection of the checkpoint by masks of the training images -> the last one.
        K-means begins with the first K features -> the same, of one list of all ranks.
        Images are climbed after normalisation -> in [0, 1], by as much of their range.

    Args:
        clusters: k.
        distance_weight: of L_M.
        outside_weight: of L_ood.
        climb: how far the outside images go.
        nearest: share of all distances to centres that are pushed.
        common: those of ``CAM`` and of every method.
    """

    reads = {"tagged": ("tags",), "outside": ()}

    def __init__(
        self,
        clusters: int = 50,
        distance_weight: float = 0.007,
        outside_weight: float = 0.25,
        climb: float = 0.07,
        nearest: float = 0.2,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(clusters >= 1, "WOoD.clusters", clusters, "give 1 or more")
        require(0 < nearest < 1, "WOoD.nearest", nearest, "give a share between 0 and 1")
        self.clusters, self.climb, self.nearest = clusters, climb, nearest
        self.distance_weight, self.outside_weight = distance_weight, outside_weight

    def build(self) -> None:
        super().build()
        width = self.student.feature_channels
        self.register_buffer("means", torch.zeros(len(self.classes), width))
        self.register_buffer("centres", torch.zeros(self.clusters, width))

    means: Tensor
    centres: Tensor

    def before_first_step(self) -> None:
        own = [(self.features(s["image"])[0].cpu(), s["tags"][0, self.classes].cpu()) for s in self.one_pass("tagged")]
        found = [pair for part in gather_objects(own) for pair in part]
        features, tags = (torch.stack(parts).float() for parts in zip(*found, strict=True))  # N D, N T
        self.means.copy_(tags.T @ features / tags.sum(0).clamp(min=1).unsqueeze(1))
        outside = [self.features(sample["image"])[0].cpu() for sample in self.one_pass("outside")]
        self.centres.copy_(k_means(torch.stack([f for part in gather_objects(outside) for f in part]), self.clusters))

    def features(self, image: Tensor) -> Tensor:
        """B D, the mean over the image."""
        return self.student(image).features.float().mean((2, 3))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        tagged, outside = batch["tagged"], batch["outside"]["image"]
        climbed = self.climbed(outside)
        out, out_o = self.student.apart(tagged["image"], climbed)
        score, score_o = (scores(part.logits)[:, self.classes] for part in (out, out_o))
        tags = tagged["tags"][:, self.classes].float()

        features = out.features.float().mean((2, 3))
        to_class, to_centre = distances(features, self.means), distances(features, self.centres)
        return {
            "tags": multi_label_loss(score, tags),
            "distance": self.distance_weight * metric(to_class, to_centre, tags, self.nearest),
            "outside": self.outside_weight * F.softplus(score_o).mean(),
        }

    def climbed(self, image: Tensor) -> Tensor:
        """Images that show their most probable class a little more."""
        with torch.enable_grad():
            x = image.detach().requires_grad_()
            was = self.student.training
            self.student.eval()  # the climb leaves running statistics alone
            (gradient,) = torch.autograd.grad(scores(self.student(x).logits)[:, self.classes].amax(1).sum(), x)
            self.student.train(was)
        step = self.climb * gradient / gradient.abs().amax().clamp(min=1e-12)
        return (image + step).clamp(0, 1).detach()


def distances(features: Tensor, points: Tensor) -> Tensor:
    """Euclidean distances B M of features B D to points M D, with a gradient of 0 where they meet."""
    return (features.unsqueeze(1) - points).square().sum(2).clamp(min=1e-12).sqrt()


def metric(to_class: Tensor, to_centre: Tensor, tags: Tensor, nearest: float) -> Tensor:
    """L_M of distances B T and B K with tags B T: near to the own classes, far from the nearest centres."""
    number = to_centre.numel()
    limit = to_centre.flatten().topk(max(1, int((1 - nearest) * number))).values[-1]
    pushed = (to_centre * (to_centre < limit)).sum() / number
    ratio = tags.shape[1] / to_centre.shape[1]
    return ratio * (tags * to_class).mean() - pushed
