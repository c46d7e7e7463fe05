"""Affine: rotation, scale, shear and translation about the image's centre."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.sampling import Padding, affine_points, sample_at
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Affine", "matrix_of"]


class Affine(Transform):
    """Rotate, scale, shear and shift; each drawn uniformly up to its limit, scale in its logarithm.

    Angles are those of the array: on volumes with unequal spacing resample to equal spacing first.

    Args:
        rotate: largest angle in each plane of two axes, degrees, in [0, 180].
        scale: largest relative magnification or its inverse, in [0, 1): 0.1 is 1/1.1 to 1.1.
        shear: largest shear of one axis along another, in pixels per pixel.
        translate: largest shift along each axis as a share of its length.
        padding: what comes in at the border; the same for image and mask.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = True
    kind: Literal["affine"] = "affine"
    rotate: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    shear: float = Field(default=0.0, ge=0, le=1)
    translate: float = Field(default=0.05, ge=0, le=1)
    padding: Padding = "reflection"

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw angles (one a plane), magnification, shears (one a plane) and shifts (one an axis)."""
        dims = len(shape) - 1
        planes = dims * (dims - 1) // 2
        unit = rng.uniform(-1, 1, size=2 * planes + dims + 1)
        return {
            "rotate": (self.rotate * unit[:planes]).tolist(),
            "shear": (self.shear * unit[planes : 2 * planes]).tolist(),
            "translate": (self.translate * unit[2 * planes : -1]).tolist(),
            "scale": float((1 + self.scale) ** unit[-1]),
        }

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """No angle, no shear, no shift, magnification 1."""
        dims = len(shape) - 1
        planes = [0.0] * (dims * (dims - 1) // 2)
        return {"rotate": planes, "shear": planes, "translate": [0.0] * dims, "scale": 1.0}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Resample each image."""
        shape = tuple(images.shape[2:])
        matrices = np.stack([matrix_of(draw, len(shape)) for draw in draws])
        shifts = np.asarray([draw["translate"] for draw in draws]) * np.asarray(shape)
        points = affine_points(torch.from_numpy(matrices).float(), torch.from_numpy(shifts).float(), shape)
        return sample_at(images, points, padding=self.padding, mask=mask)


def matrix_of(draw: Draw, dims: int) -> npt.NDArray[np.float64]:
    """Return the (dims, dims) matrix from output to input position: scale, then shear and turn in each plane."""
    scale = float(draw["scale"])
    rows = [[float(i == j) / scale for j in range(dims)] for i in range(dims)]
    # Plain numbers: for matrices of this size NumPy's calls cost more than the arithmetic.
    for (i, j), angle, shear in zip(combinations(range(dims), 2), draw["rotate"], draw["shear"], strict=True):
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        slanted = [a + shear * b for a, b in zip(rows[i], rows[j], strict=True)]
        rows[i], rows[j] = (
            [cos * a - sin * b for a, b in zip(slanted, rows[j], strict=True)],
            [sin * a + cos * b for a, b in zip(slanted, rows[j], strict=True)],
        )
    return np.asarray(rows)
