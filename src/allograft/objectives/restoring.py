"""Restoring: what objectives share that rebuild an image from a spoilt copy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from allograft.contracts import Criterion
from allograft.core.errors import ConfigError
from allograft.data.case import Batch
from allograft.nets.decoders.unet import UNet
from allograft.nets.layers import conv
from allograft.nets.network import Network, axis_strides
from allograft.objectives.pretext import pixels

__all__ = ["Restorer", "RestoringCriterion", "unit_range"]


def unit_range(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return images (B, C, *S) with values in [0, 1], each by its own smallest and largest, and these, (B, 1, 1, ...).

    A constant image becomes 0.
    """
    flat = image.flatten(1)
    shape = (-1, *[1] * (image.ndim - 1))
    low, high = flat.min(1).values.reshape(shape), flat.max(1).values.reshape(shape)
    return (image - low) / (high - low).clamp_min(1e-12), low, high


class Restorer(nn.Module):
    """A U-Net decoder over all levels of a network's encoder, up to the channels of the image.

    Args:
        net: whose encoder is decoded.
        most: largest width of a step.

    Raises:
        ConfigError: as `UNet`.
    """

    def __init__(self, net: Network, *, most: int = 64) -> None:
        super().__init__()
        self.up = UNet(net.shape, most=most)
        self.out = conv(net.shape.dims, (self.up.channels, net.shape.in_channels), 1, bias=True)
        self.multiple = tuple(max(1, *along) for along in zip(*axis_strides(net.shape), strict=True))

    def forward(self, net: Network, image: Tensor) -> Tensor:
        """Return images (B, C, *S) made of the encoder's levels of `image`.

        Raises:
            ConfigError: its size is no multiple of the encoder's largest stride.
        """
        size = tuple(image.shape[2:])
        if any(n % stride for n, stride in zip(size, self.multiple, strict=True)):
            msg = (
                f"images of {size} cannot be restored: the encoder's largest stride is {self.multiple}; set "
                "preprocess.size or patches.size to multiples of it."
            )
            raise ConfigError(msg)
        made: Tensor = self.out(self.up(net.encode(image)))
        return made


class RestoringCriterion(Criterion):
    """A criterion that spoils images and has them restored; it shows both."""

    def spoilt(self, image: Tensor) -> Tensor:
        """Return spoilt copies of images (B, C, *S), in the units of the images."""
        raise NotImplementedError

    def restored(self, net: Network, spoilt: Tensor) -> Tensor:
        """Return what the network makes of them, with values in [0, 1]."""
        raise NotImplementedError

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images, their spoilt copies, and what becomes of these, with values in [0, 1]."""
        image = pixels(batch)
        clean, low, high = unit_range(image)
        spoilt = self.spoilt(image)
        with torch.no_grad():
            made = self.restored(nets["net"], spoilt)
        return {"image": clean, "spoilt": (spoilt - low) / (high - low).clamp_min(1e-12), "restored": made}
