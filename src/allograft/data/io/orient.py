"""Orientation: bring any volume to axes that run to superior, anterior, right; and exactly back.

NIfTI and DICOM go through the same code, so the same scan in either format is the same array.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.io.image import Stored

__all__ = ["canonical_grid", "geometry_of", "to_canonical", "to_stored"]

SHEAR = 1e-2
"""Largest cosine between two axes that still counts as a right angle."""


def to_canonical(
    array: npt.NDArray[Any], affine: npt.NDArray[np.float64], path: Path
) -> tuple[npt.NDArray[Any], Geometry, Stored]:
    """Return the volume as (C, D, H, W) with axes nearest to superior, anterior, right.

    Args:
        array: (C, n0, n1, n2) in the file's axis order.
        affine: (4, 4) from the file's array index to RAS+ world, in mm.
        path: for messages.

    Raises:
        DataError: the affine has no inverse or its axes are not at right angles.
    """
    geometry, stored = canonical_grid(array.shape[1:], affine, path)
    out = array.transpose(0, *(axis + 1 for axis in stored.order))
    out = out[(slice(None), *(slice(None, None, -1 if f else 1) for f in stored.flipped))]
    return np.ascontiguousarray(out), geometry, stored


def canonical_grid(shape: Sequence[int], affine: npt.NDArray[np.float64], path: Path) -> tuple[Geometry, Stored]:
    """Return what `to_canonical` says of the grid, for a file whose pixels are not read.

    Raises:
        DataError: as `to_canonical`.
    """
    order, flipped = _nearest(affine, path)
    shape = tuple(int(n) for n in shape)
    stored = Stored(shape=shape, affine=tuple(map(tuple, affine.tolist())), order=tuple(order), flipped=flipped)
    columns = [affine[:3, axis] * (-1 if f else 1) for axis, f in zip(order, flipped, strict=True)]
    corner = sum((affine[:3, axis] * (shape[axis] - 1) for axis, f in zip(order, flipped, strict=True) if f), 0.0)
    turned = [shape[axis] for axis in order]
    return geometry_of(np.stack(columns, axis=1), affine[:3, 3] + corner, turned, path), stored


def to_stored(array: npt.NDArray[Any], stored: Stored) -> npt.NDArray[Any]:
    """Return a (D, H, W) result in the file's own axis order, the inverse of `to_canonical`."""
    flipped = array[tuple(slice(None, None, -1 if f else 1) for f in stored.flipped)]
    out = flipped.transpose(np.argsort(stored.order))
    if out.shape != stored.shape:
        msg = f"result of shape {array.shape} does not lie on the file's grid {stored.shape}. Resample it back first."
        raise DataError(msg)
    return np.ascontiguousarray(out)


def geometry_of(
    columns: npt.NDArray[np.float64], origin: npt.NDArray[np.float64], shape: Sequence[int], path: Path
) -> Geometry:
    """Return the geometry whose array axes step along `columns` (3, 3) from `origin` (3,), in mm.

    Raises:
        DataError: a step is zero or not finite, or the axes are not at right angles.
    """
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or spacing.min() <= 0:
        msg = f"{path}: the header's affine has no inverse (spacing {spacing.tolist()}). Export the file again."
        raise DataError(msg)
    direction = columns / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR:
        msg = f"{path}: the axes are not at right angles (a tilted gantry or a shear). Resample it to a straight grid."
        raise DataError(msg)
    return Geometry(
        shape=tuple(int(n) for n in shape),
        spacing=tuple(spacing.tolist()),
        origin=tuple(float(x) for x in origin),
        direction=tuple(map(tuple, direction.tolist())),
        unit="mm",
    )


def _nearest(affine: npt.NDArray[np.float64], path: Path) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return which file axis lies nearest to S, A, R in turn, and whether it runs the other way."""
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or norms.min() <= 0:
        msg = f"{path}: the header's affine has no inverse (spacing {norms.tolist()}). Export the file again."
        raise DataError(msg)
    cosines = affine[:3, :3] / norms  # rows R, A, S; columns file axes
    world = (2, 1, 0)
    order = max(
        permutations(range(3)), key=lambda axes: sum(abs(cosines[w, a]) for w, a in zip(world, axes, strict=True))
    )
    return order, tuple(bool(cosines[w, a] < 0) for w, a in zip(world, order, strict=True))
