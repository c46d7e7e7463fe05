"""Histogram: give the values of an image the distribution of another's, rank by rank."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["match_histogram", "match_histograms"]


def match_histogram(source: Tensor, target: Tensor) -> Tensor:
    """Return `source` with each value replaced by the value of the same quantile in `target`.

    Between the quantiles that occur in `target`, values are interpolated linearly. Ranks alone decide, so that any
    common scale (> 0) and shift of both images goes through to the result.

    Args:
        source: of any shape.
        target: of any shape, at least one value.

    Returns:
        The shape and number type of `source`.

    >>> match_histogram(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([10.0, 30.0, 20.0]))
    tensor([30., 10., 20.])
    """
    _, rank, counts = torch.unique(source, return_inverse=True, return_counts=True)
    values, others = torch.unique(target, return_counts=True)
    asked = counts.cumsum(0).double() / source.numel()
    known = others.cumsum(0).double() / target.numel()
    return _interpolate(asked, known, values.double())[rank].to(source.dtype)


def match_histograms(source: Tensor, target: Tensor) -> Tensor:
    """Return (B, C, *S) images whose channels each have the histogram of the same channel of `target` (B, C, *T)."""
    pairs = zip(source.flatten(0, 1), target.flatten(0, 1), strict=True)
    return torch.stack([match_histogram(one, other) for one, other in pairs]).reshape(source.shape)


def _interpolate(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Return the piecewise linear function through (at, values), at rising; constant beyond the ends."""
    right = torch.searchsorted(at, x).clamp(0, len(at) - 1)
    left = (right - 1).clamp(min=0)
    width = at[right] - at[left]
    share = torch.where(width > 0, (x - at[left]) / torch.where(width > 0, width, 1.0), 1.0).clamp(0, 1)
    return values[left] + share * (values[right] - values[left])
