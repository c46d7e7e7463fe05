"""Geometry: where an image lies in the world, apart from its pixels; 2-D and 3-D alike."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from allograft.core.config import Config

__all__ = ["Geometry"]


class Geometry(Config):
    """A grid in world coordinates.

    Args:
        shape: (H, W) or (D, H, W), slowest axis first.
        spacing: distance between neighbours along each axis, in `unit`, > 0.
        origin: world position of the first element's centre (RAS+ for volumes), in `unit`.
        direction: rows are world axes, columns array axes; orthonormal.
        unit: "mm" where the file says so, else "pixel".
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]
    unit: Literal["mm", "pixel"] = "pixel"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        dims = len(self.shape)
        if dims not in {2, 3}:
            msg = f"a geometry has 2 or 3 axes, got shape {self.shape}"
            raise ValueError(msg)
        lengths = {len(self.spacing), len(self.origin), len(self.direction), *map(len, self.direction)}
        if lengths != {dims}:
            msg = f"spacing, origin and direction must have {dims} axes like shape {self.shape}"
            raise ValueError(msg)
        if min(self.spacing) <= 0:
            msg = f"spacing must be positive, got {self.spacing}"
            raise ValueError(msg)
        return self

    @classmethod
    def of_pixels(cls, shape: tuple[int, ...]) -> Self:
        """Return the geometry of an image that says nothing of the world: unit spacing at 0."""
        dims = len(shape)
        direction = tuple(tuple(float(i == j) for j in range(dims)) for i in range(dims))
        return cls(shape=shape, spacing=(1.0,) * dims, origin=(0.0,) * dims, direction=direction)

    @property
    def dims(self) -> int:
        """2 or 3."""
        return len(self.shape)

    def affine(self) -> npt.NDArray[np.float64]:
        """Return the (dims + 1, dims + 1) map from array index to world."""
        out = np.eye(self.dims + 1)
        out[: self.dims, : self.dims] = np.asarray(self.direction) * np.asarray(self.spacing)
        out[: self.dims, self.dims] = self.origin
        return out

    def same_grid(self, other: Geometry, tol: float = 1e-3) -> bool:
        """Tell whether two grids coincide: equal shape, and corners within `tol` spacings."""
        if self.shape != other.shape or self.unit != other.unit:
            return False
        corners = np.array(np.meshgrid(*[[0, n - 1] for n in self.shape])).reshape(self.dims, -1)
        points = np.vstack([corners, np.ones(corners.shape[1])])
        gap = np.abs((self.affine() - other.affine()) @ points)
        return bool(gap.max() <= tol * min(self.spacing))
