"""Landmarks: percentiles of an image's values, and the piecewise linear map from some to others.

Source: Nyul, Udupa. On standardizing the MR image intensity scale. Magnetic Resonance in Medicine 42, 1999.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["landmarks", "onto_scale"]


def landmarks(image: Tensor, percents: Sequence[float], *, foreground: bool = False) -> Tensor:
    """Return (C, K): each channel's values at K percentiles, interpolated linearly between values.

    Args:
        image: (C, *S).
        percents: rising, in [0, 100].
        foreground: count values above the channel's mean only; all where there are none.
    """
    shares = torch.tensor([p / 100 for p in percents], dtype=torch.float64, device=image.device)
    rows = []
    for channel in image.flatten(1).double():
        above = channel[channel > channel.mean()] if foreground else channel
        rows.append(_quantile(above if len(above) else channel, shares))
    return torch.stack(rows).to(image.dtype)


def onto_scale(image: Tensor, own: Tensor, standard: Tensor) -> Tensor:
    """Return an image (C, *S) mapped piecewise linearly so that its landmarks fall on the standard ones.

    Beyond the outer landmarks the outer pieces go on. A value on which several landmarks lie (a background) goes to the
    mean of where these belong. The map follows any scale (> 0) and shift of the image, and of the standard scale.

    Args:
        image: (C, *S).
        own: (C, K) its landmarks, K >= 2, not falling.
        standard: (C, K) where they are to lie.
    """
    out = [_piecewise(x, a, b) for x, a, b in zip(image, own, standard, strict=True)]
    return torch.stack(out).to(image.dtype)


def _piecewise(x: Tensor, own: Tensor, standard: Tensor) -> Tensor:
    """Return one channel mapped."""
    wide = x.double().contiguous()
    lies, group, counts = torch.unique(own.double(), return_inverse=True, return_counts=True)
    belongs: Tensor = torch.zeros_like(lies).index_add_(0, group, standard.double()) / counts
    if len(lies) == 1:
        only: Tensor = wide - lies + belongs
        return only
    slope = belongs.diff() / lies.diff()
    piece = (torch.searchsorted(lies, wide, right=True) - 1).clamp(0, len(slope) - 1)
    found: Tensor = belongs[piece] + slope[piece] * (wide - lies[piece])
    return found


def _quantile(values: Tensor, shares: Tensor) -> Tensor:
    """Return quantiles of (N,) values; torch's own refuses more than 2**24."""
    ordered = values.sort().values
    place = shares * (len(ordered) - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], place - below)
