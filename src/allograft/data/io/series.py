"""Slices of one volume: in order, evenly spaced, none missing, none twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError

__all__ = ["Slice", "stack_affine"]

GAP = 0.1
"""A step may differ from the usual step by this share before a slice counts as missing."""


@dataclass(frozen=True)
class Slice:
    """Where a slice lies, in DICOM's patient coordinates (left, posterior, superior), in mm.

    Args:
        name: the file or frame, for messages.
        position: (3,) centre of the first pixel.
        along_rows: (3,) unit step to the next column.
        along_columns: (3,) unit step to the next row.
        spacing: distance between rows, between columns.
        size: rows, columns.
    """

    name: str
    position: tuple[float, ...]
    along_rows: tuple[float, ...]
    along_columns: tuple[float, ...]
    spacing: tuple[float, float]
    size: tuple[int, int]

    @classmethod
    def of(
        cls, name: str, position: Sequence[Any], turn: Sequence[Any], spacing: Sequence[Any], size: tuple[int, int]
    ) -> Self:
        """Return the slice from DICOM's position (3), orientation (6) and pixel spacing (2)."""
        values = [float(x) for x in turn]
        return cls(
            name,
            tuple(float(x) for x in position),
            tuple(values[:3]),
            tuple(values[3:]),
            (float(spacing[0]), float(spacing[1])),
            size,
        )

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(np.asarray(self.along_rows), np.asarray(self.along_columns))

    @property
    def depth(self) -> float:
        """Position along the normal, in mm."""
        return float(np.dot(np.asarray(self.position), self.normal))

    def moved(self, name: str, depth: float) -> Slice:
        """Return the slice shifted along its normal by `depth` mm."""
        return replace(self, name=name, position=tuple((np.asarray(self.position) + depth * self.normal).tolist()))


def stack_affine(slices: Sequence[Slice], path: Path) -> npt.NDArray[np.float64]:
    """Return the (4, 4) map from (slice, row, column) to RAS+ world, in mm.

    Args:
        slices: in the order of their depth.
        path: the series, for messages.

    Raises:
        DataError: slices differ in size, spacing or orientation, lie at the same place, leave a
            gap, or are shifted against each other.
    """
    first = slices[0]
    _same_plane(slices, path)
    step = _even_step(slices, path)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = np.asarray(first.along_columns) * first.spacing[0]
    affine[:3, 2] = np.asarray(first.along_rows) * first.spacing[1]
    affine[:3, 3] = first.position
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _same_plane(slices: Sequence[Slice], path: Path) -> None:
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size:
            what, got, expected = "size", str(other.size), str(first.size)
        elif not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            what, got, expected = "pixel spacing", str(other.spacing), str(first.spacing)
        elif np.dot(other.normal, first.normal) < 1 - 1e-4 or np.dot(other.along_rows, first.along_rows) < 1 - 1e-4:
            what, got, expected = "orientation", str(other.along_rows), str(first.along_rows)
        else:
            continue
        msg = (
            f"{path}: {other.name} differs in {what} from {first.name}: {got} instead of {expected}. "
            "The folder mixes a scout or a second series; keep one series in it."
        )
        raise DataError(msg)


def _even_step(slices: Sequence[Slice], path: Path) -> npt.NDArray[np.float64]:
    """Return the (3,) step from slice to slice; the normal where there is one slice."""
    first = slices[0]
    if len(slices) == 1:
        return first.normal
    positions = np.array([item.position for item in slices])
    depths = np.array([item.depth for item in slices])
    steps = np.diff(depths)
    usual = float(np.median(steps))
    for i, step in enumerate(steps):
        if step < max(1e-3, 0.01 * usual):
            msg = (
                f"{path}: {slices[i].name} and {slices[i + 1].name} lie at the same place ({depths[i]:.2f} mm). "
                "The folder holds slices twice or several phases; keep one."
            )
            raise DataError(msg)
        if abs(step - usual) > GAP * usual:
            msg = (
                f"{path}: {step:.2f} mm lie between {slices[i].name} and {slices[i + 1].name}, the usual step is "
                f"{usual:.2f} mm ({max(1, round(step / usual) - 1)} slices missing?). Export the series again."
            )
            raise DataError(msg)
    mean = (positions[-1] - positions[0]) / (len(slices) - 1)
    even = positions[0] + np.arange(len(slices))[:, None] * mean
    sideways = np.abs(positions - even) @ np.ones(3)
    if sideways.max() > 0.5 * usual:
        worst = slices[int(sideways.argmax())].name
        msg = f"{path}: {worst} is shifted against the other slices. Export the series again."
        raise DataError(msg)
    return np.asarray(mean)
