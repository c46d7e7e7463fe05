"""Layers for 2 and 3 dimensions: the tables that make the rest of nets dims-free."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError

__all__ = ["DropPath", "conv", "init_kaiming", "max_pool", "norm", "scaled", "subsample"]

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


def conv(
    dims: int, channels: tuple[int, int], kernel: int, *, stride: int = 1, dilation: int = 1, bias: bool = False
) -> nn.Module:
    """Return a convolution that keeps the size at stride 1 (odd kernels, zero padding).

    Args:
        dims: 2 or 3.
        channels: in and out.
        kernel: odd size along every axis.
        stride: step along every axis.
        dilation: distance between kernel points.
        bias: whether it has a bias.

    Raises:
        ConfigError: dims is neither 2 nor 3.
    """
    assert kernel % 2 == 1, "even kernels cannot keep the size"
    pad = dilation * (kernel // 2)
    layer = _of(CONV, dims)
    return _module(layer(*channels, kernel, stride=stride, padding=pad, dilation=dilation, bias=bias))


def norm(dims: int, channels: int) -> nn.Module:
    """Return batch normalisation for (B, channels, *S)."""
    return _module(_of(NORM, dims)(channels))


def max_pool(dims: int, kernel: int, *, stride: int) -> nn.Module:
    """Return max pooling, padded by kernel // 2 so that an even size is divided by the stride."""
    return _module(_of(MAX_POOL, dims)(kernel, stride=stride, padding=kernel // 2))


def subsample(x: Tensor, stride: int) -> Tensor:
    """Keep every `stride`-th position along each axis of (B, C, *S): average pooling of kernel 1."""
    kept = [slice(None, None, stride)] * (x.ndim - 2)
    return x[(slice(None), slice(None), *kept)]


def scaled(channels: int, width: float) -> int:
    """Return a channel count times the width factor, rounded, at least 1."""
    return max(1, round(channels * width))


def init_kaiming(module: nn.Module) -> None:
    """Draw every convolution from a normal law with variance 2 / fan-out; norms stay at identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
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


def _of(table: dict[int, Any], dims: int) -> Any:
    if dims not in table:
        msg = f"dims: expected 2 or 3, got {dims!r}. Set dims in the net's settings."
        raise ConfigError(msg)
    return table[dims]


def _module(layer: Any) -> nn.Module:
    assert isinstance(layer, nn.Module)
    return layer
