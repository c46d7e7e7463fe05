"""Placement: where a stored image lies on the grid of its file, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.core.geometry import Geometry

__all__ = ["Placement", "nearest"]

Labels = npt.NDArray[Any]


class Placement(Config):
    """A box of an image's canonical grid, resampled to another number of elements.

    Args:
        geometry: the canonical grid of the file.
        box: [first, end) along each axis, of what was kept.
        shape: elements of the stored image along each axis; the box's own lengths where nothing
            was resampled.
    """

    geometry: Geometry
    box: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]

    @classmethod
    def whole(cls, geometry: Geometry) -> Placement:
        """Return the placement of an image that is stored as it is."""
        return cls(geometry=geometry, box=tuple((0, n) for n in geometry.shape), shape=geometry.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index into the spatial axes of the canonical image."""
        return tuple(slice(first, end) for first, end in self.box)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between stored elements along each axis, in the geometry's unit.

        It is the box's extent over the number of elements, so a structure's volume is kept; a wish
        like 1.5 mm is met as closely as whole elements allow.
        """
        sides = (end - first for first, end in self.box)
        return tuple(own * side / n for own, side, n in zip(self.geometry.spacing, sides, self.shape, strict=True))

    def store(self, labels: Labels) -> Labels:
        """Return labels of the canonical grid on the stored grid, nearest neighbours.

        Nearest, and not an arg-max of linearly resampled classes: where an image shrinks, the
        arg-max is a vote that thin structures lose to what surrounds them, while nearest keeps each
        class's share; it costs the same for 2 and for 118 classes; and it is undone exactly by
        `restore` where the stored grid is the finer one.

        Args:
            labels: (*S) on the grid of `geometry`.

        Returns:
            (*shape), dtype of `labels`.

        Raises:
            DataError: the labels have another shape.
        """
        self._require(labels, self.geometry.shape, "canonical")
        return nearest(labels[self.slices], self.shape)

    def restore(self, labels: Labels, *, outside: int = 0) -> Labels:
        """Return labels of the stored grid on the canonical grid of the file, nearest neighbours.

        Args:
            labels: (*S) on the stored grid.
            outside: what stands where the image was cropped.

        Returns:
            (*geometry.shape), dtype of `labels`.

        Raises:
            DataError: the labels have another shape.
        """
        self._require(labels, self.shape, "stored")
        out = np.full(self.geometry.shape, outside, labels.dtype)
        out[self.slices] = nearest(labels, tuple(end - first for first, end in self.box))
        return out

    def _require(self, labels: Labels, shape: tuple[int, ...], name: str) -> None:
        if labels.shape != shape:
            msg = f"labels of shape {labels.shape} do not lie on the {name} grid {shape}. Give those of this image."
            raise DataError(msg)


def nearest(labels: Labels, shape: tuple[int, ...]) -> Labels:
    """Resample (*S) to `shape`: each element takes the value at its own centre."""
    out = labels
    for axis, size in enumerate(shape):
        if out.shape[axis] != size:
            place = (np.arange(size) + 0.5) * out.shape[axis] / size
            out = np.take(out, place.astype(int), axis=axis)
    return np.ascontiguousarray(out)
