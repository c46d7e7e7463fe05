"""3D-DenseUNet's way up: enlarge, join, separable convolution; see nets/encoders/dense.py for the paper.

A step interpolates linearly by 2, joins the level of that size and ends in a separable convolution with
batch norm and ReLU, to the channels that the level has.

Differs: the paper's decoder is not public to us; this is the plain reading of its description.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.encoders.dense import SeparableConv
from allograft.nets.layers import init_kaiming, norm
from allograft.nets.network import Encoder, axis_strides

__all__ = ["DenseDecoder"]


class DenseDecoder(nn.Module):
    """The decoder.

    Args:
        encoder: its first level has stride 1, and no level has stride 0.

    Raises:
        ConfigError: the encoder has other levels.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        strides = axis_strides(encoder)
        if set(strides[0]) != {1} or min(map(min, strides)) < 1:
            msg = (
                f'decoder "dense" needs a first level of stride 1 and none of one position, got {encoder.strides}. '
                'Take the encoder "dense", or the decoder "unet".'
            )
            raise ConfigError(msg)
        self.mode = "bilinear" if encoder.dims == 2 else "trilinear"
        channels = encoder.channels
        self.steps = nn.ModuleList(
            nn.Sequential(
                SeparableConv(encoder.dims, (channels[i + 1] + channels[i], channels[i])),
                norm(encoder.dims, channels[i]),
                nn.ReLU(inplace=True),
            )
            for i in reversed(range(len(channels) - 1))
        )
        self.channels = channels[0]
        init_kaiming(self)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, channels, *S) for levels (B, c_i, *S / s_i)."""
        x = levels[-1]
        for step, skip in zip(self.steps, levels[-2::-1], strict=True):
            if x.shape[2:] != skip.shape[2:]:
                x = F.interpolate(x, size=skip.shape[2:], mode=self.mode, align_corners=False)
            x = step(torch.cat([x, skip], dim=1))
        return x
