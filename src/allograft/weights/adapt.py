"""Adapt: pure functions from a source tensor to the tensor a network needs.

Kernels have shape (O, I, *K) with the depth axis first in K, as volumes have (D, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = [
    "collapse",
    "fan_in_ratio",
    "inflate",
    "named_channels",
    "resample_grid",
    "resample_table",
    "rescale_channels",
    "resize_kernel",
    "sample_mean_var",
    "select",
]


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


def named_channels(weight: Tensor, origin: Sequence[int | None], new: Literal["mean", "zero", "fresh"]) -> Tensor:
    """Give each channel of the data the kernel of the source's channel of the same meaning.

    With m channels matched and n new ones, M the matched channels of the source,

        all matched  W'[:, j] = W[:, origin_j]                         nothing is scaled, order follows the data
        zero, fresh  the same; a new channel has 0                     new channels change nothing at first (zero),
                                                                       or the caller fills them in (fresh)
        mean         W'[:, j] = s W[:, origin_j], new: s mean_M W      s = m / (m + n)

    With `mean`, equal channels give what the source gave for these channels equal and those that are not used at
    zero. That is also what the others give when a matched image is shown and new channels are zero.

    Args:
        weight: (O, k, *K).
        origin: for each channel of the data, the index of the source's, None for a new one; one at least is none.
        new: the rule for new channels.

    Returns:
        (O, c, *K).
    """
    known = [index for index in origin if index is not None]
    scale = len(known) / len(origin) if new == "mean" else 1.0
    fill = weight[:, known].mean(1) if new == "mean" else torch.zeros_like(weight[:, 0])
    parts = torch.stack([fill if index is None else weight[:, index] for index in origin], dim=1)
    return parts * scale if scale != 1 else parts


def resize_kernel(weight: Tensor, size: tuple[int, ...], how: Literal["centre", "average"]) -> Tensor:
    """Change the size of a kernel; an equal size changes nothing.

        centre   cropped around its middle, or padded with zeros   padding keeps the response to every image
        average  area resampling of each axis, W' = A W with A_ij  the sum of the kernel is kept, and with it the
                 the length that cells i and j share               response to constant images

    Args:
        weight: (O, I, *K).
        size: the new K; for `centre` each differs from the old one by an even number.
        how: the rule.

    Returns:
        (O, I, *size).

    Raises:
        ValueError: `centre` between an even and an odd size.
    """
    for axis, wanted in enumerate(size, start=2):
        known = weight.shape[axis]
        if wanted == known:
            continue
        if how == "average":
            weight = torch.tensordot(weight, _shared(known, wanted).to(weight), dims=([axis], [1])).movedim(-1, axis)
        elif (wanted - known) % 2:
            msg = f'kernel "centre" needs sizes that are both odd or both even, got {known} and {wanted}.'
            raise ValueError(msg)
        elif wanted < known:
            weight = weight.narrow(axis, (known - wanted) // 2, wanted)
        else:
            side = (wanted - known) // 2
            around = [0] * 2 * (weight.ndim - axis - 1)
            weight = F.pad(weight, [*around, side, side])
    return weight


def _shared(known: int, wanted: int) -> Tensor:
    """Return (wanted, known): the part of each old cell that lies in each new cell; columns sum to 1."""
    edges = [torch.arange(n + 1, dtype=torch.float64) / n for n in (wanted, known)]
    upper = torch.minimum(edges[0][1:, None], edges[1][None, 1:])
    lower = torch.maximum(edges[0][:-1, None], edges[1][None, :-1])
    return (upper - lower).clamp(min=0) * known


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

    Bicubic with antialiasing in 2-D (as timm does it), trilinear in 3-D. A constant stays constant; an equal grid
    changes nothing.

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
    moved = _interpolated(image, new, antialias=True)
    return torch.cat([head, moved.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)


def resample_table(table: Tensor, old: tuple[int, ...], new: tuple[int, ...], extra: int = 0) -> Tensor:
    """Interpolate a table of relative position biases from one window to another; extra rows at its end stay.

    A window of w elements has offsets -(w - 1) ... w - 1, so an axis of the table has 2 w - 1. Bicubic in 2-D,
    trilinear in 3-D. A constant stays constant; an equal window changes nothing.

    Args:
        table: (prod(old) + extra, heads).
        old: sizes of the source's table along each axis, each 2 w - 1.
        new: sizes of the network's.
        extra: rows without an offset (to and from a class token), at the end.

    Returns:
        (prod(new) + extra, heads).
    """
    if old == new:
        return table
    body, rest = table[: prod(old)], table[prod(old) :]
    assert len(rest) == extra, "the plan judged the shapes"
    image = body.transpose(0, 1).reshape(1, -1, *old).float()
    moved = _interpolated(image, new, antialias=False)[0].flatten(1).transpose(0, 1)
    return torch.cat([moved.to(table.dtype), rest])


def _interpolated(image: Tensor, size: tuple[int, ...], *, antialias: bool) -> Tensor:
    """Return (B, C, *S) at another size."""
    if len(size) == 2:
        return F.interpolate(image, size=size, mode="bicubic", align_corners=False, antialias=antialias)
    return F.interpolate(image, size=size, mode="trilinear", align_corners=False)


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
