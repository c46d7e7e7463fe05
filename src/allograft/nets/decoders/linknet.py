"""LinkNet decoder: levels are added, not joined, so it is light; for 2 and 3 dimensions.

Chaurasia, Culurciello. LinkNet: exploiting encoder representations for efficient semantic segmentation.
VCIP 2017. arXiv:1707.03718. Norms, names and the last layers are those of deepbet's published file.

From the deepest level up: 1 x 1 convolution to a quarter of the channels, transposed convolution 3 (stride 2
where the next level is larger, else 1), 1 x 1 convolution to the next level's channels; that level is added.
Then a transposed convolution 3 to half the channels, a convolution, and a transposed convolution 2 to the
image's grid.

Differs: 1. In the papers the last transposed convolution gives the logits; here it keeps its channels, starts
as nearest-neighbour enlargement and a 1 x 1 head follows: the same functions, and a head for any classes.
2. Norm and convolutions have no scale and shift of their own, as in deepbet's file.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import conv, init_kaiming, instance_norm, up_conv
from allograft.nets.network import Encoder

__all__ = ["LinkNet"]


class LinkNet(nn.Module):
    """A LinkNet decoder.

    Args:
        encoder: its first two levels have stride 4, every further one twice the stride before.
        channels: what it gives for every element, >= 1; None for half of the first level's.

    Attributes:
        task_layers: the last layer, which the published net has for its own classes; it counts as head.

    Raises:
        ConfigError: the levels have other strides.
    """

    task_layers = ("tp_conv2",)

    def __init__(self, encoder: Encoder, *, channels: int | None = None) -> None:
        super().__init__()
        self._check(encoder)
        dims, widths = encoder.dims, encoder.channels
        half = max(1, widths[0] // 2)
        for i, level in enumerate(range(len(widths) - 1, 0, -1)):
            stride = 2 if level > 1 else 1
            self.add_module(f"up{i}", _block(dims, (widths[level], widths[level - 1]), stride))
        self.tp_conv1 = nn.Sequential(up_conv(dims, (widths[0], half), 2, kernel=3), *_after(dims, half))
        self.conv = nn.Sequential(conv(dims, (half, half), 3, bias=True), *_after(dims, half))
        self.channels = half if channels is None else channels
        self.tp_conv2 = up_conv(dims, (half, self.channels), 2)
        init_kaiming(self)
        self._start_as_nearest()

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, channels, *S) for levels (B, c_i, *S / s_i)."""
        x = levels[-1]
        for i, level in enumerate(reversed(levels[:-1])):
            x = cast("nn.Module", self._modules[f"up{i}"])(x) + level
        return cast("Tensor", self.tp_conv2(self.conv(self.tp_conv1(x))))

    def _start_as_nearest(self) -> None:
        """Let each channel pass to the positions that it covers."""
        weight, bias = cast("Tensor", self.tp_conv2.weight), cast("Tensor", self.tp_conv2.bias)
        eye = torch.eye(*weight.shape[:2], device=weight.device)
        with torch.no_grad():
            weight.copy_(eye.reshape(*eye.shape, *[1] * (weight.ndim - 2)).expand_as(weight))
            bias.zero_()

    @staticmethod
    def _check(encoder: Encoder) -> None:
        expected = (4, *(4 * 2**i for i in range(len(encoder.channels) - 1)))
        if len(expected) < 2 or tuple(encoder.strides) != expected:
            msg = (
                f'decoder "linknet": needs levels of stride {", ".join(map(str, expected))}, the encoder has '
                f'{", ".join(map(str, encoder.strides))}. Use it with "deepbet", or take the decoder "unet".'
            )
            raise ConfigError(msg)


def _block(dims: int, channels: tuple[int, int], stride: int) -> nn.Module:
    """Return the block between two levels: 1 x 1 to a quarter, transposed convolution, 1 x 1."""
    inside, out = channels
    small = max(1, inside // 4)
    parts = {
        "conv1": nn.Sequential(conv(dims, (inside, small), 1), *_after(dims, small)),
        "tp_conv": nn.Sequential(up_conv(dims, (small, small), stride, kernel=3, bias=False), *_after(dims, small)),
        "conv2": nn.Sequential(conv(dims, (small, out), 1), *_after(dims, out)),
    }
    return nn.Sequential(OrderedDict(parts))


def _after(dims: int, channels: int) -> tuple[nn.Module, nn.Module]:
    return instance_norm(dims, channels, affine=False), nn.ReLU(inplace=True)
