"""Resample: boxes and sizes of images, before their values are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from allograft.core.errors import ConfigError, DataError
from allograft.core.geometry import Geometry
from allograft.data.io.image import MAX_VALUES

__all__ = ["foreground_box", "resize", "shape_at"]

Array = npt.NDArray[np.float32]


def resize(array: Array, size: Sequence[int]) -> Array:
    """Resize (C, *S) to (C, *size): linear, with the filter widened where the image shrinks.

    One axis at a time, so that volumes get the same filter as pictures.
    """
    out = torch.from_numpy(np.ascontiguousarray(array))
    for axis, length in enumerate(size, start=1):
        if out.shape[axis] == length:
            continue
        lines = out.movedim(axis, -1)
        flat = lines.reshape(1, 1, -1, lines.shape[-1])
        new = F.interpolate(flat, size=(flat.shape[2], length), mode="bilinear", antialias=True, align_corners=False)
        out = new.reshape(*lines.shape[:-1], length).movedim(-1, axis)
    return np.ascontiguousarray(out.numpy())


def shape_at(geometry: Geometry, sides: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Return how many elements of `spacing` mm fill `sides` elements of a grid, at least 1 each.

    Raises:
        ConfigError: the spacing has another number of axes.
        DataError: the grid does not know its spacing in mm, or the result would be too large.
    """
    if len(spacing) != geometry.dims:
        msg = (
            f"the image {geometry.shape} is {geometry.dims}-D, preprocess.spacing has {len(spacing)} axes. "
            "Give one value an axis, slowest first."
        )
        raise ConfigError(msg)
    if geometry.unit != "mm":
        msg = (
            "the file does not say its spacing in mm, so preprocess.spacing cannot be met. "
            "Leave the spacing out, or save the image in a format that holds it."
        )
        raise DataError(msg)
    shape = tuple(max(1, round(n * old / new)) for n, old, new in zip(sides, geometry.spacing, spacing, strict=True))
    if np.prod(shape, dtype=np.float64) > MAX_VALUES:
        msg = f"spacing {tuple(spacing)} mm would make {shape} of the image {tuple(sides)}. Give a wider one."
        raise DataError(msg)
    return shape


def foreground_box(array: Array, low: float | None) -> tuple[tuple[int, int], ...]:
    """Return the smallest box, [first, end) along each axis, that holds every value above the background.

    Args:
        array: (C, *S).
        low: values up to it are background; None for values of exactly 0.

    Returns:
        The whole image where all is background.
    """
    seen: npt.NDArray[np.bool_] = np.asarray(((array != 0) if low is None else (array > low)).any(axis=0))
    box = []
    for axis, n in enumerate(seen.shape):
        filled = np.flatnonzero(seen.any(axis=tuple(k for k in range(seen.ndim) if k != axis)))
        # The end lies behind the last filled element: an end on it would lose a slice of every axis.
        box.append((int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, n))
    return tuple(box)
