"""Sampling an image at moved points, for 2-D and 3-D alike and a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Padding", "affine_points", "sample_at"]

Padding = Literal["reflection", "border", "zeros"]


def sample_at(images: Tensor, points: Sequence[Tensor], *, padding: Padding, mask: bool) -> Tensor:
    """Read images at points given in array positions.

    Args:
        images: (n, C, *S); integer labels up to 2**24 when `mask`.
        points: one tensor (n, *S) for each axis of S, in array order: the position to read.
        padding: what lies outside the image.
        mask: nearest neighbours instead of linear interpolation.

    Returns:
        (n, C, *S), dtype of `images`.
    """
    shape = images.shape[2:]
    if padding == "reflection" and len(shape) == 3:  # PyTorch reflects each point of a volume by itself, slowly
        points, padding = [_reflected(p, n) for p, n in zip(points, shape, strict=True)], "border"
    # grid_sample wants the fastest axis first, and [-1, 1] from the first pixel's outer edge to the last's.
    grid = torch.empty((*points[0].shape, len(shape)))
    for k, (p, n) in enumerate(zip(reversed(points), reversed(shape), strict=True)):
        torch.sub((2 * p).add_(1).div_(n), 1, out=grid[..., k])
    floats = images if images.is_floating_point() else images.float()
    mode = "nearest" if mask else "bilinear"
    out = F.grid_sample(floats, grid.to(floats), mode=mode, padding_mode=padding, align_corners=False)
    return out.to(images.dtype)


def _reflected(places: Tensor, n: int) -> Tensor:
    """Return positions along an axis of length n, mirrored at its outer edges as often as needed."""
    turned = (places + 0.5).abs_()
    if float(turned.max()) > 2 * n:
        turned = turned.remainder_(2 * n)
    return turned.sub_(n).abs_().neg_().add_(n - 0.5)


def affine_points(matrices: Tensor, shifts: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Return where an affine map reads: matrix @ (x - centre) + centre + shift.

    Args:
        matrices: (n, d, d), from output to input, in pixels.
        shifts: (n, d) in pixels.
        shape: S, d axes.

    Returns:
        d tensors (n, *S): positions along each axis.
    """
    dims = len(shape)
    column = (-1,) + (1,) * dims
    # Written as multiplications and additions, not as a matrix product: a product may round
    # differently for a batch than for one element.
    axes = [
        (torch.arange(n) - (n - 1) / 2).reshape([-1 if j == i else 1 for j in range(dims)]) for i, n in enumerate(shape)
    ]
    out = []
    for i, n in enumerate(shape):
        place = (shifts[:, i] + (n - 1) / 2).reshape(column)
        for j in range(dims):
            place = place + matrices[:, i, j].reshape(column) * axes[j]
        out.append(place.expand(-1, *shape))
    return out
