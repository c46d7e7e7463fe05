"""MaskPair: prediction and truth of one structure on one grid, and the distances between their surfaces.

Surface   the elements of a mask that have a face neighbour outside it; what lies beyond the image is
          outside. An axis of one element has no neighbours, so a slice gives the same numbers as an
          image of (H, W) and as a volume of (1, H, W).
Distance  from the centre of each surface element to the nearest one of the other surface, in mm, by
          exact Euclidean distance transforms with the spacing as sampling. Elements count alike,
          whatever area they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from allograft.core.errors import DataError

__all__ = ["MaskPair", "Outcome", "SurfaceDistances", "check_spacing"]

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]

Outcome = Literal["both", "missed", "false_alarm", "absent"]
"""Both masks hold something; the prediction is empty; the truth is empty; both are empty."""


class SurfaceDistances(NamedTuple):
    """Distances between two surfaces in mm.

    Args:
        to_truth: (P,) from each predicted surface element to the true surface.
        to_prediction: (T,) from each true surface element to the predicted surface.
    """

    to_truth: Array
    to_prediction: Array


class MaskPair:
    """Two masks of one structure; everything outside the box that holds both may be cut away.

    Args:
        prediction: (*S) bool, 2-D or 3-D.
        truth: (*S) bool, the same shape.
        spacing_mm: distance between neighbours along each axis, > 0.
        shape: of the whole image where the masks are cut out of it, None where they are whole.
        offset: index of the masks' first element in the whole image, None for its first.

    Raises:
        DataError: the masks are not boolean, differ in shape, or the spacing does not fit them.
    """

    def __init__(
        self,
        prediction: Mask,
        truth: Mask,
        spacing_mm: Sequence[float],
        *,
        shape: tuple[int, ...] | None = None,
        offset: tuple[int, ...] | None = None,
    ) -> None:
        prediction, truth = np.asarray(prediction), np.asarray(truth)
        _check_masks(prediction, truth)
        self.prediction, self.truth = prediction, truth
        self.spacing_mm = check_spacing(spacing_mm, prediction.ndim)
        self.shape = prediction.shape if shape is None else shape
        self.offset = (0,) * prediction.ndim if offset is None else offset

    @cached_property
    def predicted_voxels(self) -> int:
        """Elements that are predicted."""
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def truth_voxels(self) -> int:
        """Elements that are true."""
        return int(np.count_nonzero(self.truth))

    @cached_property
    def shared_voxels(self) -> int:
        """Elements that are both."""
        return int(np.count_nonzero(self.prediction & self.truth))

    @property
    def outcome(self) -> Outcome:
        """What is there."""
        if self.truth_voxels:
            return "both" if self.predicted_voxels else "missed"
        return "false_alarm" if self.predicted_voxels else "absent"

    @property
    def voxel_mm(self) -> float:
        """Volume of an element in mm^3 (area in mm^2 of a 2-D image)."""
        return math.prod(self.spacing_mm)

    @property
    def image_mm(self) -> float:
        """Volume of the whole image in mm^3 (mm^2)."""
        return math.prod(self.shape) * self.voxel_mm

    @property
    def diagonal_mm(self) -> float:
        """Diagonal of the whole image, edge to edge: longer than any distance between two elements."""
        return math.hypot(*(n * s for n, s in zip(self.shape, self.spacing_mm, strict=True)))

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Distances between the surfaces; both masks must hold something."""
        assert self.outcome == "both", "a surface that is not there has no distance"
        box = _box(self.prediction | self.truth)
        prediction, truth = (_surface(mask[box], self.shape) for mask in (self.prediction, self.truth))
        return SurfaceDistances(
            to_truth=_distance_to(truth, self.spacing_mm)[prediction],
            to_prediction=_distance_to(prediction, self.spacing_mm)[truth],
        )


def check_spacing(spacing_mm: Sequence[float], dims: int) -> tuple[float, ...]:
    """Return the spacing as numbers, one per axis.

    Raises:
        DataError: another number of axes, or a spacing that is not positive and finite.
    """
    spacing = tuple(float(s) for s in spacing_mm)
    if len(spacing) != dims or not all(math.isfinite(s) and s > 0 for s in spacing):
        msg = f"spacing_mm: expected {dims} positive numbers, one per axis of the image, got {spacing}."
        raise DataError(msg)
    return spacing


def _check_masks(prediction: Mask, truth: Mask) -> None:
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        msg = f"masks: expected bool, got {prediction.dtype} and {truth.dtype}. Compare the labels with a class first."
        raise DataError(msg)
    if prediction.shape != truth.shape or prediction.ndim not in {2, 3}:
        msg = (
            f"masks: expected two of one 2-D or 3-D shape, got prediction {prediction.shape} and truth {truth.shape}. "
            "Bring the prediction back to the grid of the truth."
        )
        raise DataError(msg)


def _box(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box around a mask that holds something."""
    found = ndimage.find_objects(mask.view(np.uint8))[0]
    assert found is not None, "the mask holds something"
    return tuple(found)


def _surface(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Return the surface of a mask that was cut out of an image of `shape`."""
    axes = [axis for axis, length in enumerate(shape) if length > 1]
    inner = np.full(mask.shape, bool(axes))
    for axis in axes:
        inner &= ndimage.binary_erosion(mask, structure=_line(mask.ndim, axis))
    surface: Mask = mask & ~inner
    return surface


def _line(dims: int, axis: int) -> Mask:
    """Return an element and its two neighbours along an axis."""
    return np.ones([3 if each == axis else 1 for each in range(dims)], dtype=bool)


def _distance_to(surface: Mask, spacing_mm: tuple[float, ...]) -> Array:
    distance: Array = ndimage.distance_transform_edt(~surface, sampling=spacing_mm)
    return distance
