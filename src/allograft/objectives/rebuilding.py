"""Rebuilding: what lies under the hidden parts of an image, told by a network that does not see them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from allograft.nets.decoders.tokens import Tokens
from allograft.nets.network import Network, TokenEncoder
from allograft.objectives.patch_grid import joined
from allograft.objectives.restoring import Restorer

__all__ = ["Filled", "LeftOut", "token_side"]


def token_side(net: Network) -> int:
    """Return the side of the patches that a network's encoder can leave out, 0 where it reads whole images."""
    return net.encoder.token if net.bag is None and isinstance(net.encoder, TokenEncoder) else 0


class Filled(nn.Module):
    """Hidden elements are filled with a learnt value of each channel; a U-Net decoder makes the image."""

    def __init__(self, net: Network, width: int) -> None:
        super().__init__()
        self.restorer = Restorer(net, most=width)
        self.fill = nn.Parameter(torch.zeros(net.shape.in_channels, *[1] * net.shape.dims))

    def forward(self, net: Network, image: Tensor, out: Tensor) -> Tensor:
        """Return images (B, C, *S) made of what is not hidden, out (B, 1, *S)."""
        made: Tensor = self.restorer(net, self.seen(image, out))
        return made

    def seen(self, image: Tensor, out: Tensor) -> Tensor:
        """Return what the network is shown."""
        return torch.where(out, self.fill, image)


class LeftOut(nn.Module):
    """Hidden tokens are left out of the encoder; transformer blocks make the image from the others."""

    def __init__(self, net: Network, width: int) -> None:
        super().__init__()
        self.side, self.channels = token_side(net), net.shape.in_channels
        self.tokens = Tokens(net.shape.channels[-1], self.channels * self.side**net.shape.dims, width=width)

    def forward(self, net: Network, image: Tensor, out: Tensor) -> Tensor:
        """Return images (B, C, *S) made of what is not hidden, out (B, 1, *S), equally much of each image."""
        grid = tuple(n // self.side for n in image.shape[2:])
        first: tuple[slice, ...] = (slice(None),) * 2 + (slice(None, None, self.side),) * len(grid)
        kept = (~out[first].flatten(1)).nonzero()[:, 1].reshape(len(image), -1)
        seen = cast("TokenEncoder", net.encoder).seen(image, kept)
        made = self.tokens(seen, kept, grid)
        return joined(made.reshape(*made.shape[:2], self.channels, *[self.side] * len(grid)), grid)

    def seen(self, image: Tensor, out: Tensor) -> Tensor:
        """Return what the network is shown, 0 where nothing is."""
        return torch.where(out, torch.zeros_like(image), image)
