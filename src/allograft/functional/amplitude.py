"""Amplitude: give an image the low frequencies' strength of another, and keep where its structures lie.

Source: Yang, Soatto. FDA: Fourier domain adaptation for semantic segmentation. CVPR 2020. arXiv:2004.05498
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from allograft.core.errors import DataError

__all__ = ["band_radius", "swap_amplitude"]


def band_radius(beta: float, shape: tuple[int, ...]) -> int:
    """Return the half-width of the band, in frequencies: floor(beta * the shortest side).

    >>> band_radius(0.05, (64, 48))
    2
    """
    return math.floor(beta * min(shape) + 1e-9)


def swap_amplitude(source: Tensor, target: Tensor, beta: float) -> Tensor:
    """Return `source` with the amplitudes of `target` at low frequencies, and its own phases everywhere.

    The band is the centred cube of frequencies |k| <= floor(beta * shortest side) along every axis; with 0 < beta too
    small for that it holds the mean alone. Of the mean, the value is taken, sign included: for images of non-negative
    values that is the amplitude, and it makes the result follow any common scale (> 0) and shift of both images, so
    that it does not matter how they were normalised.

    Args:
        source: (..., C, *S), real; every channel by itself.
        target: of the same shape.
        beta: share of the shortest side, in [0, 0.5]; 0 gives the source itself.

    Returns:
        The shape and number type of `source`.

    Raises:
        DataError: the shapes differ.
    """
    if source.shape != target.shape:
        msg = f"amplitude swap: source {tuple(source.shape)} and target {tuple(target.shape)} must have one shape."
        raise DataError(msg)
    if beta == 0:
        return source
    shape = tuple(source.shape[2:])
    axes = tuple(range(2, source.ndim))
    wide = source if source.dtype == torch.float64 else source.float()
    own, other = torch.fft.rfftn(wide, dim=axes), torch.fft.rfftn(target.to(wide), dim=axes)
    band, mean = (_band(radius, shape, wide.device) for radius in (band_radius(beta, shape), 0))
    # A frequency that the source does not have has no phase either: it takes angle 0.
    mixed = torch.where(band, torch.polar(other.abs(), own.angle()), own)
    mixed = torch.where(mean, other, mixed)
    found: Tensor = torch.fft.irfftn(mixed, s=shape, dim=axes)
    return found.to(source.dtype)


def _band(radius: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return where |k| <= radius along every axis, in the layout of `rfftn`."""
    inside = torch.ones((), dtype=torch.bool, device=device)
    for axis, length in enumerate(shape):
        last = axis == len(shape) - 1
        count = length // 2 + 1 if last else length
        place = torch.arange(count, device=device)
        frequency = place if last else torch.minimum(place, length - place)
        inside = inside & (frequency <= radius).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return inside
