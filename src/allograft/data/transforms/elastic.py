"""Elastic: a smooth random deformation that never folds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.sampling import Padding, affine_points, sample_at
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Elastic", "displacement"]


class Elastic(Transform):
    """Move pixels by a cubic B-spline through random vectors on a coarse grid.

    Below 0.4 grid spacings such a deformation cannot fold (0.48 in 2-D, 0.40 in 3-D), so a mask
    keeps its topology; larger magnitudes are refused.

    Args:
        magnitude: largest displacement of a grid point, in grid spacings, in [0, 0.4].
        cells: grid cells along each axis.
        padding: what comes in at the border; the same for image and mask.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = True
    kind: Literal["elastic"] = "elastic"
    magnitude: float = Field(default=0.25, ge=0, le=0.4)
    cells: int = Field(default=4, ge=1, le=64)
    padding: Padding = "reflection"

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw the seed of the grid's vectors."""
        return {"magnitude": self.magnitude, "seed": int(rng.integers(2**53))}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Vectors of length 0."""
        return {"magnitude": 0.0, "seed": 0}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Resample each image."""
        shape = tuple(images.shape[2:])
        dims = len(shape)
        moved = torch.stack([displacement(draw, shape, self.cells) for draw in draws])
        still = affine_points(torch.eye(dims)[None], torch.zeros(1, dims), shape)
        points = [still[i] + moved[:, i] for i in range(dims)]
        return sample_at(images, points, padding=self.padding, mask=mask)


def displacement(draw: Draw, shape: tuple[int, ...], cells: int) -> Tensor:
    """Return (d, *S): how far each pixel reads from its own place, in pixels."""
    dims = len(shape)
    rng = np.random.default_rng(draw["seed"])
    field = torch.from_numpy(rng.uniform(-1, 1, size=(dims, *[cells + 3] * dims)).astype(np.float32))
    field = field * float(draw["magnitude"])
    for axis, length in enumerate(shape):
        field = torch.tensordot(field, _basis(length, cells), dims=([1], [0]))  # consumes the first, appends at the end
        field[axis] *= length / cells
    return field


@lru_cache(maxsize=64)
def _basis(length: int, cells: int) -> Tensor:
    """Return (cells + 3, length): weight of each grid point at each pixel; columns sum to 1."""
    place = (np.arange(length) + 0.5) / length * cells
    cell = np.minimum(place.astype(int), cells - 1)
    t = place - cell
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    out = np.zeros((cells + 3, length), dtype=np.float32)
    for k, weight in enumerate(weights):
        out[cell + k, np.arange(length)] = weight / 6
    return torch.from_numpy(out)
