"""Encoder of deepbet's LinkNet: a small residual net with instance norm, for 2 and 3 dimensions.

Fisch and others. deepbet: fast brain extraction of T1-weighted MRI using convolutional neural networks.
Computers in Biology and Medicine 2024. Chaurasia, Culurciello. LinkNet. VCIP 2017. arXiv:1707.03718.

Stem 7 with stride 2 and max pooling, then four stages of two basic blocks, 16-16-32-64-128 channels, stride
1, 2, 2, 2: a ResNet-18 a quarter as wide. Norms have no parameters and no memory: they use the single image's
statistics, so the scale of a convolution changes nothing. Tensor names are those of the published file.

Differs: the file's net is 3-D; in 2-D it is the same net with 2-D layers (ours).
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import conv, init_kaiming, instance_norm, max_pool, scaled
from allograft.nets.network import Stage

__all__ = ["Deepbet"]

CHANNELS = (16, 16, 32, 64, 128)
STRIDES = (1, 2, 2, 2)


class Deepbet(nn.Module):
    """A residual encoder; its levels are the pooled stem and the four stages.

    Args:
        dims: 2 or 3.
        in_channels: channels of the image.
        width: multiplies all channel counts, rounded there; 1 is the paper's.
        drop_path: must be 0.

    Raises:
        ConfigError: drop_path is not 0, or dims is unknown.
    """

    def __init__(self, *, dims: int = 3, in_channels: int = 1, width: float = 1.0, drop_path: float = 0.0) -> None:
        super().__init__()
        if drop_path:
            msg = f"drop_path: deepbet's encoder does not offer it, got {drop_path:g}. Set it to 0, or take a ResNet."
            raise ConfigError(msg)
        self.dims, self.in_channels = dims, in_channels
        self.channels = tuple(scaled(c, width) for c in CHANNELS)
        self.strides = (4, 4, 8, 16, 32)
        self.init = nn.Sequential(
            conv(dims, (in_channels, self.channels[0]), 7, stride=2),
            instance_norm(dims, self.channels[0], affine=False),
            nn.ReLU(inplace=True),
            max_pool(dims, 3, stride=2),
        )
        for i, stride in enumerate(STRIDES):
            inside, out = self.channels[i], self.channels[i + 1]
            blocks = {"block1": Block(dims, (inside, out), stride), "block2": Block(dims, (out, out), 1)}
            self.add_module(f"down{i}", nn.Sequential(OrderedDict(blocks)))
        init_kaiming(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return five levels for images (B, C, *S)."""
        levels = []
        for part in self.children():
            x = part(x)
            levels.append(x)
        return tuple(levels)

    def stages(self) -> tuple[Stage, ...]:
        """Return stem and stage1 to stage4."""
        return (Stage("stem", ("init",)), *(Stage(f"stage{i + 1}", (f"down{i}",)) for i in range(len(STRIDES))))


class Block(nn.Module):
    """Two convolutions of kernel 3 with instance norm; a projection where size or channels change.

    Args:
        dims: 2 or 3.
        channels: in and out.
        stride: of the first convolution and the projection.
    """

    def __init__(self, dims: int, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        out = channels[1]
        self.double_conv = nn.Sequential(
            conv(dims, channels, 3, stride=stride),
            instance_norm(dims, out, affine=False),
            nn.ReLU(inplace=True),
            conv(dims, (out, out), 3),
            instance_norm(dims, out, affine=False),
        )
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels[0] != out:
            self.downsample = nn.Sequential(
                conv(dims, channels, 1, stride=stride), instance_norm(dims, out, affine=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, *S / stride)."""
        added: Tensor = self.double_conv(x) + self.downsample(x)
        return added.relu()
