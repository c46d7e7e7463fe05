"""Dense encoder with depthwise-separable convolutions, as in 3D-DenseUNet, for 2 and 3 dimensions.

Alalwan and others. Efficient 3D deep learning model for medical image semantic segmentation. Alexandria
Engineering Journal 2021. doi 10.1016/j.aej.2020.10.046

A dense layer is batch norm -> ReLU -> convolution 1 (4 g channels) -> batch norm -> ReLU -> separable convolution 3 (g
channels), its output joined to its input: a block of n layers turns c channels into c + n g. Between blocks a
transition (batch norm, ReLU, convolution 1 that halves the channels) and average pooling of 2. A separable convolution
is one kernel per channel and then a 1 x 1 x 1 that mixes channels: 1 / c_out + 1 / k^d of the numbers.

Differs: the paper's block counts and growth rate are not public to us, so this does not reproduce
"3D-DenseUNet-569": both are settings, and `convolutions` counts layers, so that a claim can be compared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import AVG_POOL, CONV, UP_CONV, conv, init_kaiming, norm, scaled
from allograft.nets.network import Stage

__all__ = ["DENSE", "Dense", "DenseForm", "SeparableConv", "convolutions"]


class DenseForm(NamedTuple):
    """A member of the family: layers of each block, growth rate g, channels of the stem."""

    blocks: tuple[int, ...]
    growth: int
    stem: int


DENSE = DenseForm((4, 6, 8, 12), 16, 32)
"""Ours: small enough for volumes on a CPU."""


class Dense(nn.Module):
    """A dense encoder; its levels are the blocks' outputs, the first at the image's resolution.

    Args:
        form: blocks, growth and stem.
        dims: 2 or 3.
        in_channels: channels of the image.
        width: multiplies growth and stem, rounded there.
        drop_path: must be 0, there is no residual branch to drop.

    Raises:
        ConfigError: drop_path is not 0, or dims is unknown.
    """

    def __init__(
        self,
        form: DenseForm = DENSE,
        *,
        dims: int = 3,
        in_channels: int = 1,
        width: float = 1.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if drop_path:
            msg = f"drop_path: dense nets have no residual branches to drop, got {drop_path:g}. Set it to 0."
            raise ConfigError(msg)
        self.dims, self.in_channels = dims, in_channels
        self.strides = tuple(2**i for i in range(len(form.blocks)))
        growth, inside = scaled(form.growth, width), scaled(form.stem, width)
        self.stem = conv(dims, (in_channels, inside), 3)
        found: list[int] = []
        for i, count in enumerate(form.blocks):
            layers: list[nn.Module] = [DenseLayer(dims, inside + j * growth, growth) for j in range(count)]
            if i:
                layers.insert(0, Transition(dims, (found[-1], inside)))
            self.add_module(f"block{i + 1}", nn.Sequential(*layers))
            found.append(inside + count * growth)
            inside = max(1, found[-1] // 2)
        self.channels = tuple(found)
        init_kaiming(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one level per block for images (B, C, *S)."""
        levels = []
        x = self.stem(x)
        for i in range(len(self.channels)):
            x = self.get_submodule(f"block{i + 1}")(x)
            levels.append(x)
        return tuple(levels)

    def stages(self) -> tuple[Stage, ...]:
        """Return the stem and one stage per block, with the transition before it."""
        blocks = (Stage(f"stage{i + 1}", (f"block{i + 1}",)) for i in range(len(self.channels)))
        return (Stage("stem", ("stem",)), *blocks)


class SeparableConv(nn.Sequential):
    """One kernel per channel, then a pointwise convolution that mixes channels; no bias.

    Args:
        dims: 2 or 3.
        channels: in and out.
        kernel: odd size along every axis.
    """

    def __init__(self, dims: int, channels: tuple[int, int], kernel: int = 3) -> None:
        inside = channels[0]
        depthwise = conv(dims, (inside, inside), kernel, groups=inside)
        super().__init__(depthwise, conv(dims, channels, 1))


class DenseLayer(nn.Module):
    """Bottleneck to 4 g channels, separable convolution to g, joined to the input.

    Args:
        dims: 2 or 3.
        inside: channels of the input.
        growth: g.
    """

    def __init__(self, dims: int, inside: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(dims, inside), conv(dims, (inside, 4 * growth), 1)
        self.norm2, self.conv2 = norm(dims, 4 * growth), SeparableConv(dims, (4 * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, inside + growth, *S)."""
        out = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(out)))], dim=1)


class Transition(nn.Sequential):
    """Batch norm, ReLU, convolution 1, average pooling of 2.

    Args:
        dims: 2 or 3.
        channels: in and out.
    """

    def __init__(self, dims: int, channels: tuple[int, int]) -> None:
        super().__init__(norm(dims, channels[0]), nn.ReLU(), conv(dims, channels, 1), AVG_POOL[dims](2))


def convolutions(net: nn.Module, *, separable: bool = True) -> int:
    """Return the number of convolution layers, transposed ones included.

    Args:
        net: any module.
        separable: whether a separable convolution counts as its two layers; else it counts once.
    """
    kinds = (*CONV.values(), *UP_CONV.values())
    single = sum(isinstance(module, kinds) for module in net.modules())
    return single if separable else single - sum(isinstance(module, SeparableConv) for module in net.modules())
