"""Reconstruction: the image back from an encoder's deepest level alone, without skips; makes an autoencoder.

A U-Net decoder that sees one level, and a 1 x 1 convolution to the image's channels. With skips of full resolution the
image could be copied, and nothing would have to be learnt.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.decoders.unet import UNet
from allograft.nets.layers import conv
from allograft.nets.network import Encoder, axis_strides

__all__ = ["Reconstruction"]


class Reconstruction(nn.Module):
    """From an encoder's levels to images.

    Args:
        encoder: gives the levels.
        most: largest width of a step, >= 1.

    Raises:
        ConfigError: no level has a place in the image.
    """

    def __init__(self, encoder: Encoder, *, most: int = 64) -> None:
        super().__init__()
        placed = [i for i, strides in enumerate(axis_strides(encoder)) if min(strides) > 0]
        if not placed:
            msg = "reconstruction: the encoder has no level with a place in the image. Take another encoder."
            raise ConfigError(msg)
        self.place = placed[-1]
        self.up = UNet(cast("Encoder", _Deepest(encoder, self.place)), most=most)
        self.out = conv(encoder.dims, (self.up.channels, encoder.in_channels), 1, bias=True)

    def forward(self, levels: tuple[Tensor, ...], like: Tensor) -> Tensor:
        """Return images of the size of `like` (B, C, *S); what a level stands for beyond its end is cut off.

        Raises:
            ConfigError: the level does not reach over the image.
        """
        made: Tensor = self.out(self.up((levels[self.place],)))
        found = made[(slice(None), slice(None), *(slice(n) for n in like.shape[2:]))]
        if found.shape != like.shape:
            msg = f"reconstruction: made images of {tuple(made.shape)}, expected {tuple(like.shape)} at least."
            raise ConfigError(msg)
        return found


class _Deepest:
    """An encoder of which one level is seen."""

    def __init__(self, encoder: Encoder, place: int) -> None:
        self.dims = encoder.dims
        self.channels, self.strides = (encoder.channels[place],), (encoder.strides[place],)
