"""Voxel features: what a classifier of single voxels is told of each one's surroundings; fixed, without tensors.

For each channel the intensity, and at every scale the intensity smoothed by a Gaussian, the magnitude of its gradient
and the absolute value of its Laplacian; with positions also where the voxel lies in the image. With three scales and
one channel these are 10 features, 13 with the positions of a volume: the voxel classification of van Opbroek and others
(IEEE Transactions on Medical Imaging 2015, doi:10.1109/TMI.2014.2366792). The paper's own list was not verified, the
scales are ours. Filters are cut off at 4 deviations and the image is continued by its outermost elements, as
`scipy.ndimage.gaussian_filter(mode="nearest")` does.

Positions are those in what the network is shown: they are the image's own only where one window holds it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from allograft.core.errors import ConfigError
from allograft.nets.network import Stage

__all__ = ["SCALES", "VoxelFeatures", "gaussian_taps", "voxel_scales"]

SCALES = (1.0, 2.0, 4.0)
"""Deviations of the Gaussians, in elements (ours)."""

TRUNCATE = 4.0
"""Where filters end, in deviations."""


class VoxelFeatures(nn.Module):
    """The encoder; its one level has stride 1.

    Args:
        dims: 2 or 3.
        in_channels: channels of the image.
        width: must be 1.
        drop_path: must be 0.
        scales: deviations of the Gaussians, > 0, in elements, or in mm where `spacing` is given.
        spacing: distance between elements along each axis in mm, slowest first; () for 1.
        position: whether the position along each axis, in (-1, 1), is a feature.

    Raises:
        ConfigError: width or drop_path is set, or scales and spacing cannot be used.
    """

    def __init__(
        self,
        *,
        dims: int = 3,
        in_channels: int = 1,
        width: float = 1.0,
        drop_path: float = 0.0,
        scales: Sequence[float] = SCALES,
        spacing: Sequence[float] = (),
        position: bool = False,
    ) -> None:
        super().__init__()
        if width != 1 or drop_path:
            msg = f"voxel_features are fixed: width must be 1 and drop_path 0, got {width:g} and {drop_path:g}."
            raise ConfigError(msg)
        self.spacing = tuple(spacing) or (1.0,) * dims
        if not scales or min(scales) <= 0 or len(self.spacing) != dims or min(self.spacing) <= 0:
            msg = (
                f"voxel_features: scales {tuple(scales)} and spacing {self.spacing} of {dims}-D images. Expected at "
                "least one scale, and a spacing for each axis, all above 0."
            )
            raise ConfigError(msg)
        self.dims, self.in_channels, self.scales, self.position = dims, in_channels, tuple(scales), position
        self.channels: tuple[int, ...] = (in_channels * (1 + 3 * len(self.scales)) + (dims if position else 0),)
        self.strides: tuple[int | tuple[int, ...], ...] = (1,)
        for name, taps in self._filters():
            self.register_buffer(name, torch.tensor(taps, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one level (B, F, *S) for images (B, C, *S): by channel, then positions."""
        flat = x.reshape(-1, 1, *x.shape[2:])
        found = [flat, *(one for scale in range(len(self.scales)) for one in self._at(flat, scale))]
        out = torch.cat(found, dim=1).reshape(x.shape[0], self.in_channels * (1 + 3 * len(self.scales)), *x.shape[2:])
        return (torch.cat([out, self._places(x)], dim=1) if self.position else out,)

    def stages(self) -> tuple[Stage, ...]:
        """Return none: there is no tensor."""
        return ()

    def _at(self, flat: Tensor, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return smoothed intensity, gradient magnitude and absolute Laplacian of (N, 1, *S)."""
        parts: dict[tuple[int, ...], Tensor] = {(): flat}
        for axis in range(self.dims):
            parts = {
                (*orders, order): self._along(part, axis, scale, order)
                for orders, part in parts.items()
                for order in ((0, 1, 2) if not any(orders) else (0,))
            }
        single = [tuple(int(i == axis) for i in range(self.dims)) for axis in range(self.dims)]
        squares = torch.stack([parts[orders] for orders in single]).square().sum(0)
        curved = torch.stack([parts[tuple(2 * n for n in orders)] for orders in single]).sum(0)
        return parts[(0,) * self.dims], squares.sqrt(), curved.abs()

    def _along(self, x: Tensor, axis: int, scale: int, order: int) -> Tensor:
        taps: Tensor = self.get_buffer(_name(scale, axis, order))
        radius, shape = len(taps) // 2, [1] * (self.dims + 2)
        shape[axis + 2] = len(taps)
        padding = [0] * (2 * self.dims)
        padding[2 * (self.dims - 1 - axis)] = padding[2 * (self.dims - 1 - axis) + 1] = radius
        padded = functional.pad(x, padding, mode="replicate")
        layer = functional.conv2d if self.dims == 2 else functional.conv3d
        return layer(padded, taps.reshape(shape).to(x.dtype))

    def _places(self, x: Tensor) -> Tensor:
        """Return (B, dims, *S), in (-1, 1) along each axis."""
        along = [(2 * torch.arange(n, device=x.device, dtype=x.dtype) + 1) / n - 1 for n in x.shape[2:]]
        grid = torch.stack(torch.meshgrid(*along, indexing="ij"))
        return grid.expand(x.shape[0], *grid.shape)

    def _filters(self) -> list[tuple[str, npt.NDArray[Any]]]:
        return [
            (_name(i, axis, order), gaussian_taps(scale / step, order) / step**order)
            for i, scale in enumerate(self.scales)
            for axis, step in enumerate(self.spacing)
            for order in (0, 1, 2)
        ]


def voxel_scales(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scales and spacing of a name's settings, "1,2,4" or "1,2,4@3,1,1".

    >>> voxel_scales("1,2@3,1,1")
    ((1.0, 2.0), (3.0, 1.0, 1.0))

    Raises:
        ConfigError: they are no numbers.
    """
    try:
        parts = [tuple(float(number) for number in part.split(",")) for part in text.split("@")]
        scales, spacing = parts if len(parts) > 1 else (*parts, ())
    except ValueError as error:
        msg = f'net.encoder: voxel_features takes scales like "1,2,4", or "1,2,4@3,1,1" with the spacing; got "{text}".'
        raise ConfigError(msg) from error
    return scales, spacing


def gaussian_taps(sigma: float, order: int) -> npt.NDArray[np.float64]:
    """Return a Gaussian, or its derivative of order 1 or 2, sampled up to 4 deviations; the Gaussian sums to 1."""
    radius = int(TRUNCATE * sigma + 0.5)
    t = np.arange(-radius, radius + 1, dtype=np.float64)
    bell = np.exp(-0.5 * (t / sigma) ** 2)
    bell /= bell.sum()
    if order == 1:
        return np.asarray(t / sigma**2 * bell)
    return np.asarray((t**2 / sigma**4 - 1 / sigma**2) * bell if order == 2 else bell)


def _name(scale: int, axis: int, order: int) -> str:
    return f"taps_{scale}_{axis}_{order}"
