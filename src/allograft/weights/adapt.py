"""Adapt: pure functions from a source tensor to the tensor a network needs.

Kernels have shape (O, I, *K) with the depth axis first in K, as volumes have (D, H, W).
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["collapse", "fan_in_ratio", "inflate", "resample_grid", "rescale_channels", "sample_mean_var", "select"]


def rescale_channels(weight: Tensor, channels: int, how: Literal["sum", "mean", "cycle"]) -> Tensor:
    """Change the input channels of a kernel so that its response keeps its size.

    With k source channels and c new ones,

        sum    W'[:, 0] = sum_i W[:, i]                      (c = 1)
        mean   W'[:, j] = k / c * mean_i W[:, i]             = 1 / c * sum_i W[:, i]
        cycle  W'[:, j] = k / c * W[:, j mod k]

    For `sum` and `mean`, c equal channels give what k equal channels gave. For `cycle` that holds
    where c is a multiple of k.

    Args:
        weight: (O, k, *K).
        channels: c, >= 1.
        how: the rule.

    Returns:
        (O, c, *K).

    Raises:
        ValueError: `sum` with more than one channel.
    """
    known = weight.shape[1]
    if how == "sum" and channels != 1:
        msg = f'channels "sum" makes one input channel, got {channels}; use "mean" or "cycle".'
        raise ValueError(msg)
    if how == "cycle":
        index = torch.arange(channels) % known
        return weight[:, index] * (known / channels)
    total = weight.sum(1, keepdim=True)
    return total if how == "sum" else (total / channels).repeat(1, channels, *[1] * (weight.ndim - 2))


def inflate(weight: Tensor, depth: int, fill: Literal["average", "centre", "slice"]) -> Tensor:
    """Turn a 2-D kernel into a 3-D one.

        average  W'[..., d, :, :] = W / depth for every d    equal response where the volume is constant in depth
        centre   W' = W at the middle tap, 0 elsewhere       equal response, slice by slice, for every volume
        slice    depth 1: the kernel itself                  equal response, slice by slice, for every volume

    Args:
        weight: (O, I, H, W).
        depth: taps along the new first axis, >= 1; odd for `centre`, 1 for `slice`.
        fill: the rule.

    Returns:
        (O, I, depth, H, W).

    Raises:
        ValueError: `depth` does not suit `fill`.
    """
    if fill == "slice" and depth != 1:
        msg = f'fill "slice" makes kernels of depth 1, the network has depth {depth}; use "centre" or "average".'
        raise ValueError(msg)
    if fill == "centre" and depth % 2 == 0:
        msg = f'fill "centre" needs an odd depth, the network has {depth}; use "average".'
        raise ValueError(msg)
    if fill == "average":
        return (weight / depth).unsqueeze(2).repeat(1, 1, depth, 1, 1)
    out = weight.new_zeros(*weight.shape[:2], depth, *weight.shape[2:])
    out[:, :, depth // 2] = weight
    return out


def collapse(weight: Tensor) -> Tensor:
    """Turn a 3-D kernel into a 2-D one by summing over depth: W' = sum_d W[..., d, :, :].

    The response equals that to a volume that repeats the image along depth.

    Args:
        weight: (O, I, D, H, W).

    Returns:
        (O, I, H, W).
    """
    return weight.sum(2)


def resample_grid(positions: Tensor, old: tuple[int, ...], new: tuple[int, ...], prefix: int = 0) -> Tensor:
    """Interpolate learned positions from one grid to another; prefix tokens stay as they are.

    Bicubic in 2-D, trilinear in 3-D. A constant stays constant; an equal grid changes nothing.

    Args:
        positions: (1, prefix + prod(old), F).
        old: grid of the source.
        new: grid of the network.
        prefix: leading tokens without a place (class token, registers).

    Returns:
        (1, prefix + prod(new), F).
    """
    if old == new:
        return positions
    head, grid = positions[:, :prefix], positions[:, prefix:]
    image = grid.reshape(1, *old, -1).movedim(-1, 1).float()
    mode = "bicubic" if len(old) == 2 else "trilinear"
    moved = F.interpolate(image, size=new, mode=mode, align_corners=False)
    return torch.cat([head, moved.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)


def fan_in_ratio(source: tuple[int, ...], target: tuple[int, ...]) -> float:
    """Return fan-in of the target over fan-in of the source; 1 for vectors.

    >>> fan_in_ratio((8, 3, 3, 3), (8, 1, 3, 3, 3))
    1.0
    """
    if len(target) < 2 or len(source) < 2:
        return 1.0
    return prod(target[1:]) / prod(source[1:])


def sample_mean_var(source: Tensor, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw a tensor that keeps a source tensor's mean and its variance per fan-in.

        W' ~ Normal(mean(W), var(W) / r), independent entries, r = fan-in of W' / fan-in of W

    Mean and (population) variance are taken over all entries.

    Args:
        source: any shape.
        shape: shape of the result.
        generator: CPU generator of the draw.

    Returns:
        Float32 tensor of `shape`.
    """
    values = source.double()
    ratio = fan_in_ratio(tuple(source.shape), shape)
    std = (values.var(correction=0) / ratio).sqrt()
    return torch.empty(shape).normal_(float(values.mean()), float(std), generator=generator)


def select(source: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the leading rows and columns: W' = W[:n_0, :n_1, ...] for `shape` (n_0, n_1, ...)."""
    return source[tuple(slice(0, n) for n in shape)]
