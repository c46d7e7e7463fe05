"""MedicalNet's segmentation head: one transposed convolution behind the deepest level.

Chen, Ma, Zheng. Med3D. 2019. arXiv:1904.00625

Transposed convolution 2, stride 2, C to 32 -> batch norm -> ReLU -> convolution 3, 32 -> batch norm -> ReLU;
the released net ends in a 1 x 1 x 1 convolution without bias, which here is the network's head. Tensors have
the released names, `conv_seg.0` to `conv_seg.4`. Behind MedicalNet's encoder (stride 8) the features have
stride 4. For two classes the released head counts 158,944 numbers behind 512 channels and 552,160 behind
2048; ours has 2 more, its last layer's bias.

Differs: the released code compares logits of stride 4 with labels that are shrunk to them; here the
features are interpolated linearly to the image's grid (as the paper says of its branches). The weights of
that sum to 1, so interpolating features or logits is the same. Axes that the encoder never divided are
not enlarged, and the code also runs in 2-D.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import conv, init_kaiming, norm, up_conv
from allograft.nets.network import Encoder, axis_strides

__all__ = ["MedicalNetHead"]


class MedicalNetHead(nn.Module):
    """MedicalNet's `conv_seg` up to its last layer, then linear interpolation to the image's grid.

    Args:
        encoder: its deepest level is used, the others are not.
        width: channels of the features; 32 is the paper's.

    Raises:
        ConfigError: the deepest level has a stride that is neither 1 nor even.
    """

    def __init__(self, encoder: Encoder, *, width: int = 32) -> None:
        super().__init__()
        strides = axis_strides(encoder)[-1]
        factor = tuple(1 if stride == 1 else 2 for stride in strides)
        if any(stride < 1 or stride % step for stride, step in zip(strides, factor, strict=True)):
            msg = (
                f'decoder "medicalnet" doubles the deepest level, whose strides must be 1 or even, got {strides}. '
                "Take another encoder or decoder."
            )
            raise ConfigError(msg)
        self.left = tuple(stride // step for stride, step in zip(strides, factor, strict=True))
        self.mode = "bilinear" if encoder.dims == 2 else "trilinear"
        self.channels = width
        self.conv_seg = nn.Sequential(
            up_conv(encoder.dims, (encoder.channels[-1], width), factor),
            norm(encoder.dims, width),
            nn.ReLU(inplace=True),
            conv(encoder.dims, (width, width), 3),
            norm(encoder.dims, width),
            nn.ReLU(inplace=True),
        )
        init_kaiming(self)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, width, *S) for levels whose last is (B, C, *S / s)."""
        features = cast("Tensor", self.conv_seg(levels[-1]))
        size = [n * left for n, left in zip(features.shape[2:], self.left, strict=True)]
        return F.interpolate(features, size=size, mode=self.mode, align_corners=False)
