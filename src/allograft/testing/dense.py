"""Tiny dense networks: a label for every element, hard to blend wrongly without being seen."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Head, Network
from allograft.testing.tiny import TinyEncoder

__all__ = ["TinyDecoder", "dense_net"]


class TinyDecoder(nn.Module):
    """The first level and the deepest one, brought to its size, through a function that is not linear.

    Args:
        dims: 2 or 3.
        widths: channels of the encoder's levels.
        channels: features of each element.
    """

    def __init__(self, dims: int, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        layer = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.channels = channels
        self.mix = layer(widths[0] + widths[-1], channels, 3, padding=1)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, channels, *S)."""
        size = levels[0].shape[2:]
        deep = nn.functional.interpolate(levels[-1], size=size, mode="nearest")
        return torch.tanh(cast("Tensor", self.mix(torch.cat([levels[0], deep], 1))))


def dense_net(
    dims: int, *, outputs: int = 3, features: int = 4, in_channels: int = 1, seed: int = 0, head: Head | None = None
) -> Network:
    """Return a network with the head "label" and O(1) differences between classes, in evaluation mode.

    Args:
        dims: 2 or 3.
        outputs: classes.
        features: channels of the decoder.
        in_channels: channels of the image.
        seed: of its values.
        head: None takes a voxel head.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        widths = (3, 4)
        encoder = TinyEncoder(dims, in_channels=in_channels, widths=widths, norm="none")
        own = head or PointwiseHead(dims, features, outputs, dropout=0.5)
        net = Network(encoder, {"label": own}, TinyDecoder(dims, widths, features))
        for value in own.parameters():
            nn.init.normal_(value)
    return net.eval()
