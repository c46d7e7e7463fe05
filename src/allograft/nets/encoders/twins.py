"""Twins: layers of timm's that torch has no 3-D form of; `inflated` puts them in place of the 2-D ones."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Conv3dSame", "FullyConnected", "NormAct", "SqueezeExcite"]


class Conv3dSame(nn.Conv3d):
    """Convolution padded with zeros as TensorFlow's SAME: ceil(n / stride) positions, odd ones at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, *ceil(S / stride))."""
        pads: list[int] = []
        sizes = zip(x.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        for n, k, s, d in reversed(list(sizes)):  # F.pad begins with the last axis
            total = max((ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
            pads += [total // 2, total - total // 2]
        return F.conv3d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class NormAct(nn.BatchNorm3d):
    """Batch normalisation followed by its children `drop` and `act`."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised and activated features, (B, C, *S)."""
        return cast("Tensor", self.act(self.drop(super().forward(x))))


class SqueezeExcite(nn.Module):
    """Channel attention: x * gate(chain(mean of x over `axes`)).

    Args:
        layers: by name, those of the 2-D layer; "gate" is the last.
        axes: what is averaged: (3, 4) slice by slice, (2, 3, 4) over the volume.
    """

    def __init__(self, layers: Mapping[str, nn.Module], axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, *S)."""
        scale = x.mean(self.axes, keepdim=True)
        for layer in self.children():
            scale = layer(scale)
        return x * scale


class FullyConnected(nn.Module):
    """VGG's part behind the convolutions, acting on the mean over depth.

    Args:
        layers: fc1, act1, drop, fc2 and act2; fc1's kernel is (1, k, k).
        kernel: k; smaller images are interpolated to it, as timm does.
    """

    def __init__(self, layers: Mapping[str, nn.Module], kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, 1, *S') for features (B, C, D, *S)."""
        x = x.mean(2, keepdim=True)
        if min(x.shape[3:]) < self.kernel:
            x = F.adaptive_avg_pool3d(x, (1, max(self.kernel, x.shape[3]), max(self.kernel, x.shape[4])))
        for layer in self.children():
            x = layer(x)
        return x
