"""Heads that embed features for contrastive losses."""

from torch import nn


def projection_head(channels: int, width: int) -> nn.Sequential:
    """B channels h w -> B width h w, not yet normalised."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, width, 1),
    )


def representation_head(channels: int, dim: int) -> nn.Sequential:
    """B channels h w -> B dim h w, not yet normalised."""
    layers: list[nn.Module] = []
    for width in (channels, dim):
        layers += [nn.Conv2d(width, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(), nn.Dropout2d(0.1)]
    return nn.Sequential(*layers, nn.Conv2d(dim, dim, 1))
