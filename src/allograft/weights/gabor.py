"""Gabor: a bank of synthetic first-layer filters (Raghu et al. 2019 report gains; the bank is ours).

    g(x, y) = exp(-(x'^2 + aspect^2 y'^2) / (2 sigma^2)) cos(2 pi x' / wavelength + phase)
    x' = x cos(angle) + y sin(angle),   y' = -x sin(angle) + y cos(angle)

x runs along the last axis and y along the one before, both measured from the kernel's centre.
"""

from __future__ import annotations

from math import cos, pi, sin

import torch
from torch import Tensor

__all__ = ["bank", "gabor"]

WAVELENGTHS = (3.0, 4.5, 7.0)
ANGLES = tuple(i * pi / 8 for i in range(8))
PHASES = (0.0, pi / 2)
SIGMA_PER_WAVELENGTH = 0.56
ASPECT = 0.5
_OPPONENTS = ((1.0, -1.0, 0.0), (-0.5, -0.5, 1.0))


def gabor(
    size: tuple[int, int], *, wavelength: float, angle: float, sigma: float, aspect: float = ASPECT, phase: float = 0.0
) -> Tensor:
    """Return one Gabor filter of `size` (H, W); the plain formula, neither centred nor scaled.

    Args:
        size: height and width in pixels.
        wavelength: of the wave in pixels, > 0.
        angle: direction of the wave in radians, from x towards y.
        sigma: width of the envelope in pixels, > 0.
        aspect: ratio of the envelope's widths along and across the wave.
        phase: phase of the wave in radians.

    >>> round(float(gabor((7, 7), wavelength=4, angle=pi / 4, sigma=2)[0, 0]), 6)
    0.097836
    """
    y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size], indexing="ij")
    along, across = x * cos(angle) + y * sin(angle), -x * sin(angle) + y * cos(angle)
    envelope = torch.exp(-(along**2 + (aspect * across) ** 2) / (2 * sigma**2))
    return (envelope * torch.cos(2 * pi * along / wavelength + phase)).float()


def bank(shape: tuple[int, ...], norm: float) -> Tensor:
    """Return Gabor filters for a first convolution.

    48 filters (3 wavelengths, 8 orientations, 2 phases) are spread over the output channels. With
    3 input channels every second filter is a pair of opponent colours (red-green, blue-yellow), the
    others see all channels alike; with another number of channels all do. Each filter has mean 0
    over space and the L2 norm `norm`. In 3-D the filter lies in the middle slice.

    Args:
        shape: (O, C, H, W) or (O, C, D, H, W); H and W at least 3, D odd.
        norm: L2 norm of each filter, > 0.

    Raises:
        ValueError: the kernel is too small or its depth even.
    """
    outputs, channels, *kernel = shape
    if len(kernel) not in {2, 3} or min(kernel[-2:]) < 3 or (len(kernel) == 3 and kernel[0] % 2 == 0):
        msg = f"Gabor filters need kernels of at least 3 x 3 and odd depth, got {tuple(kernel)}."
        raise ValueError(msg)
    plain = _plain((kernel[-2], kernel[-1]))
    out = torch.zeros(shape)
    flat = out if len(kernel) == 2 else out[:, :, kernel[0] // 2]
    coloured = channels == 3
    each = (outputs + 1) // 2 if coloured else outputs
    for i in range(outputs):
        nth = i // 2 if coloured else i
        # Fewer filters than the bank has: take them evenly, so that all wavelengths occur.
        filter_ = plain[nth * len(plain) // each if each < len(plain) else nth % len(plain)]
        colour = _OPPONENTS[nth % 2] if coloured and i % 2 else (1.0 / channels,) * channels
        kernel_i = torch.tensor(colour).reshape(-1, 1, 1) * filter_
        flat[i] = kernel_i * (norm / kernel_i.norm())
    return out


def _plain(size: tuple[int, int]) -> list[Tensor]:
    """Return the 48 filters with mean 0."""
    found = []
    for wavelength in WAVELENGTHS:
        for angle in ANGLES:
            for phase in PHASES:
                sigma = SIGMA_PER_WAVELENGTH * wavelength
                each = gabor(size, wavelength=wavelength, angle=angle, sigma=sigma, phase=phase)
                found.append(each - each.mean())
    return found
