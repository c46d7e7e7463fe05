"""AlbuNet-3D34's decoder: planes grow by transposed convolutions, added 3 x 1 x 1 convolutions mix slices.

Wacker, Ladeira, Nascimento. Transfer learning for brain tumor segmentation. 2019. arXiv:1912.12452

With f = 16, e1 to e4 the four deepest levels (in-plane strides 4, 8, 16, 32) and

    CR(a, b)     convolution 1 x 3 x 3 with bias -> batch norm -> ReLU
    DR(a)        convolution 3 x 1 x 1 with bias -> batch norm -> ReLU
    UP(a, m, b)  CR(a, m) -> transposed convolution (1, 4, 4), stride (1, 2, 2), m to b -> ReLU

the decoder is

    e4 = DR(512)(e4);  c = CR(512, 8f)(e4)
    d5 = UP(512 + 8f, 16f, 8f)([c, e4]);   d4 = DR(8f)(UP(256 + 8f, 16f, 8f)([d5, e3]))
    d3 = UP(128 + 8f, 8f, 2f)([d4, e2]);   d2 = DR(4f)(UP(64 + 2f, 4f, 4f)([d3, e1]))
    d1 = UP(4f, 4f, f)(d2);                d0 = DR(f)(CR(f, f)(d1))

and the network's head is its last 1 x 1 x 1 convolution. Behind `resnet34_slice` with 3 channels and 4
classes the network counts 26,673,172 numbers.

Differs: the converted encoder has no biases (the released converter adds random ones, a fault). In 2-D
there is no depth to mix and DR is left out. Any encoder with such strides will do, and its channels
take the place of 64 to 512.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import UP_CONV, Extent, conv, in_plane, init_kaiming, norm
from allograft.nets.network import Encoder, axis_strides

__all__ = ["AlbuNet"]


class AlbuNet(nn.Module):
    """AlbuNet's decoder.

    Args:
        encoder: its four deepest levels have strides 4, 8, 16 and 32 in the plane and 1 along depth.
        f: channels of the output and unit of all widths, >= 1; 16 is the paper's.

    Raises:
        ConfigError: the encoder has other strides.
    """

    def __init__(self, encoder: Encoder, *, f: int = 16) -> None:
        super().__init__()
        dims, self.channels = encoder.dims, f
        found = axis_strides(encoder)[-4:]
        if found != tuple((1,) * (dims - 2) + (s, s) for s in (4, 8, 16, 32)):
            msg = (
                'decoder "albunet" needs levels of in-plane strides 4, 8, 16, 32 that keep the depth, got '
                f'{found}. Take the encoder "resnet34_slice", or the decoder "unet".'
            )
            raise ConfigError(msg)
        one, two, three, four = encoder.channels[-4:]
        self.mix4 = _depth(dims, four)
        self.center = _plane(dims, four, 8 * f)
        self.up5 = _up(dims, four + 8 * f, 16 * f, 8 * f)
        self.up4 = nn.Sequential(_up(dims, three + 8 * f, 16 * f, 8 * f), _depth(dims, 8 * f))
        self.up3 = _up(dims, two + 8 * f, 8 * f, 2 * f)
        self.up2 = nn.Sequential(_up(dims, one + 2 * f, 4 * f, 4 * f), _depth(dims, 4 * f))
        self.up1 = _up(dims, 4 * f, 4 * f, f)
        self.last = nn.Sequential(_plane(dims, f, f), _depth(dims, f))
        init_kaiming(self)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, f, *S) for levels whose last four are e1 to e4."""
        one, two, three, four = levels[-4:]
        four = self.mix4(four)
        x = self.up5(torch.cat([self.center(four), four], dim=1))
        x = self.up4(torch.cat([x, three], dim=1))
        x = self.up3(torch.cat([x, two], dim=1))
        x = self.up2(torch.cat([x, one], dim=1))
        return cast("Tensor", self.last(self.up1(x)))


def _plane(dims: int, inside: int, width: int) -> nn.Sequential:
    """CR: a convolution in the plane."""
    return _unit(dims, (inside, width), in_plane(dims, 3))


def _depth(dims: int, width: int) -> nn.Module:
    """DR: a convolution along depth; nothing in 2-D."""
    return nn.Identity() if dims == 2 else _unit(dims, (width, width), (3, 1, 1))


def _unit(dims: int, channels: tuple[int, int], kernel: Extent) -> nn.Sequential:
    return nn.Sequential(conv(dims, channels, kernel, bias=True), norm(dims, channels[1]), nn.ReLU(inplace=True))


def _up(dims: int, inside: int, middle: int, width: int) -> nn.Sequential:
    """UP: a convolution, then the plane doubled."""
    kernel, stride, padding = in_plane(dims, 4), in_plane(dims, 2), 1 if dims == 2 else (0, 1, 1)
    grow = UP_CONV[dims](middle, width, kernel, stride=stride, padding=padding)
    return nn.Sequential(_plane(dims, inside, middle), grow, nn.ReLU(inplace=True))
