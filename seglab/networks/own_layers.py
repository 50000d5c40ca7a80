"""Layers that one domain has for itself, in place of those of a network."""

from collections.abc import Sequence
from copy import deepcopy

from torch import Tensor, nn
from torch.func import functional_call

from seglab.networks.base import Network
from seglab.types import Output


class OwnLayers(nn.Module):
    """Copies of parts of an encoder, which take their place for the images of one domain (BiCL, Lee et al., ECCV 2022).

    Attributes:
        encoder: the copies, so that they learn at the encoder's rate.

    Args:
        network: whose encoder is copied, as it is now.
        names: of direct parts of the encoder; those that it lacks do not count.
    """

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        super().__init__()
        parts = dict(network.encoder.named_children())
        self.encoder = nn.ModuleDict({name: deepcopy(parts[name]) for name in names if name in parts})

    def forward(self, network: Network, image: Tensor) -> Output:
        """What the network says of images B 3 H W with these layers."""
        tensors = {**dict(self.encoder.named_parameters()), **dict(self.encoder.named_buffers())}
        output: Output = functional_call(network, {f"encoder.{name}": x for name, x in tensors.items()}, (image,))
        return output
