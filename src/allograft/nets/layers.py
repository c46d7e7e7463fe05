"""Layers for 2 and 3 dimensions: the tables that make the rest of nets dims-free."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError

__all__ = [
    "DropPath",
    "Extent",
    "conv",
    "conv4",
    "dropout",
    "in_plane",
    "init_kaiming",
    "instance_norm",
    "max_pool",
    "norm",
    "reflect_conv",
    "scaled",
    "subsample",
    "up_conv",
    "up_conv4",
]

Extent = int | tuple[int, ...]
"""One number for every axis, or one for each, slowest first."""

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONV: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MAX_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
DROPOUT: dict[int, Any] = {2: nn.Dropout2d, 3: nn.Dropout3d}


def conv(
    dims: int,
    channels: tuple[int, int],
    kernel: Extent,
    *,
    stride: Extent = 1,
    dilation: Extent = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Module:
    """Return a convolution that keeps the size at stride 1 (odd kernels, zero padding).

    Args:
        dims: 2 or 3.
        channels: in and out.
        kernel: odd size.
        stride: step.
        dilation: distance between kernel points.
        groups: of channels that do not mix.
        bias: whether it has a bias.

    Raises:
        ConfigError: dims is neither 2 nor 3.
    """
    sizes, steps = _each(kernel, dims), _each(dilation, dims)
    assert all(size % 2 == 1 for size in sizes), "even kernels cannot keep the size"
    pad = tuple(step * (size // 2) for step, size in zip(steps, sizes, strict=True))
    layer = _of(CONV, dims)
    return _module(layer(*channels, sizes, stride=stride, padding=pad, dilation=steps, groups=groups, bias=bias))


def up_conv(
    dims: int, channels: tuple[int, int], factor: Extent, *, kernel: int | None = None, bias: bool = True
) -> nn.Module:
    """Return a transposed convolution that multiplies the size by `factor`, its stride.

    The kernel is `factor` too, or the odd `kernel`, padded by half of it.
    """
    if kernel is None:
        return _module(_of(UP_CONV, dims)(*channels, factor, stride=factor, bias=bias))
    assert kernel % 2 == 1, "even kernels cannot be centred"
    rest = tuple(step - 1 for step in _each(factor, dims))
    how = {"stride": factor, "padding": kernel // 2, "output_padding": rest, "bias": bias}
    return _module(_of(UP_CONV, dims)(*channels, kernel, **how))


def reflect_conv(dims: int, channels: tuple[int, int], kernel: int, *, stride: int = 1) -> nn.Module:
    """Return a convolution with a bias that keeps the size at stride 1 and reflects the image at its borders.

    Along each axis the image must have more than kernel // 2 elements.
    """
    assert kernel % 2 == 1, "even kernels cannot keep the size"
    how = {"stride": stride, "padding": kernel // 2, "padding_mode": "reflect"}
    return _module(_of(CONV, dims)(*channels, kernel, **how))


def conv4(dims: int, channels: tuple[int, int], *, stride: int) -> nn.Module:
    """Return a convolution of kernel 4, padded by 1, with a bias: stride 2 halves the size, stride 1 takes 1 off."""
    return _module(_of(CONV, dims)(*channels, 4, stride=stride, padding=1))


def up_conv4(dims: int, channels: tuple[int, int]) -> nn.Module:
    """Return the transposed convolution of kernel 4 that doubles the size, with a bias."""
    return _module(_of(UP_CONV, dims)(*channels, 4, stride=2, padding=1))


def in_plane(dims: int, extent: int) -> Extent:
    """Return `extent` along the last two axes and 1 along depth: what keeps the slices of a volume apart."""
    return extent if dims == 2 else (1, extent, extent)


def dropout(dims: int, rate: float) -> nn.Module:
    """Return dropout of whole channels of (B, C, *S)."""
    return _module(_of(DROPOUT, dims)(rate))


def norm(dims: int, channels: int) -> nn.Module:
    """Return batch normalisation for (B, channels, *S)."""
    return _module(_of(NORM, dims)(channels))


def instance_norm(dims: int, channels: int, *, affine: bool = True) -> nn.Module:
    """Return instance normalisation for (B, channels, *S), with scale and shift where `affine`."""
    return _module(_of(INSTANCE_NORM, dims)(channels, affine=affine))


def max_pool(dims: int, kernel: Extent, *, stride: Extent) -> nn.Module:
    """Return max pooling; odd kernels are padded by kernel // 2 so that an even size is divided by the stride."""
    pad = tuple(size // 2 if size % 2 else 0 for size in _each(kernel, dims))
    return _module(_of(MAX_POOL, dims)(kernel, stride=stride, padding=pad))


def subsample(x: Tensor, stride: Extent) -> Tensor:
    """Keep every `stride`-th position along each axis of (B, C, *S): average pooling of kernel 1."""
    kept = [slice(None, None, step) for step in _each(stride, x.ndim - 2)]
    return x[(slice(None), slice(None), *kept)]


def scaled(channels: int, width: float) -> int:
    """Return a channel count times the width factor, rounded, at least 1."""
    return max(1, round(channels * width))


def init_kaiming(module: nn.Module) -> None:
    """Draw every convolution from a normal law with variance 2 / fan-out; norms stay at identity.

    Transposed ones get 2 / fan-in, where an output sees in-channels * kernel / stride inputs.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
            seen = layer.in_channels * prod(layer.kernel_size) / prod(layer.stride)
            nn.init.normal_(layer.weight, std=(2 / seen) ** 0.5)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a residual branch for single cases and scale up the others.

    Args:
        rate: probability of dropping, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch (B, C, *S), zeroed for the cases that drop it; unchanged in evaluation."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)

    def extra_repr(self) -> str:
        """Name the rate where the network is printed."""
        return f"rate={self.rate:g}"


def _each(extent: Extent, dims: int) -> tuple[int, ...]:
    return (extent,) * dims if isinstance(extent, int) else extent


def _of(table: dict[int, Any], dims: int) -> Any:
    if dims not in table:
        msg = f"dims: expected 2 or 3, got {dims!r}. Set dims in the net's settings."
        raise ConfigError(msg)
    return table[dims]


def _module(layer: Any) -> nn.Module:
    assert isinstance(layer, nn.Module)
    return layer
