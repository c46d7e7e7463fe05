"""Write label volumes as NIfTI on exactly the input's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.io.image import Image, Stored
from allograft.data.io.nifti_write import label_type, save_nifti
from allograft.data.io.orient import to_stored

__all__ = ["on_stored_grid", "write_nifti"]


def write_nifti(path: Path, result: npt.NDArray[Any], image: Image, *, reverse_axes: bool = False) -> Path:
    """Write a result with the axes, directions and affine that the input's file had.

    Args:
        path: ends in .nii or .nii.gz.
        result: (*S) on the grid of `image`: whole numbers are written as uint8 or int16, others as float32.
        image: the input as it was read, before any resampling.
        reverse_axes: write (column, row, slice) for DICOM inputs, whose own order is (slice, row,
            column); other converters do so. The place of each voxel is the same.

    Returns:
        The path.

    Raises:
        DataError: the result lies on another grid, or has values that NIfTI labels cannot hold.
    """
    array = on_stored_grid(result, image)
    if array.dtype.kind in "bui":
        if array.size and (int(array.max()) > np.iinfo(np.int16).max or int(array.min()) < 0):
            msg = f"{path}: labels run from {array.min()} to {array.max()}, expected 0 to 32767."
            raise DataError(msg)
        array = array.astype(label_type(int(array.max()) if array.size else 0))
    else:
        array = array.astype(np.float32)
    affine = np.asarray(image.stored.affine) if image.stored is not None else _of_picture(image)
    if image.stored is None:
        array = array.T if array.ndim == 3 else array.T[..., None]  # NIfTI counts columns first, and has three axes
    elif reverse_axes:
        array, affine = array.transpose(2, 1, 0), affine[:, [2, 1, 0, 3]]
    return save_nifti(path, array, affine)


def on_stored_grid(result: npt.NDArray[Any], image: Image) -> npt.NDArray[Any]:
    """Return a result (*S) in the axis order of the input's file; a picture's as it is.

    Raises:
        DataError: the result lies on another grid.
    """
    if result.shape != image.geometry.shape:
        msg = f"a result of shape {result.shape} does not lie on the input's grid {image.geometry.shape}. Resample it."
        raise DataError(msg)
    if image.stored is None:
        return result
    return to_stored(result if result.ndim == 3 else _with_slice(result, image.stored), image.stored)


def _with_slice(result: npt.NDArray[Any], stored: Stored) -> npt.NDArray[Any]:
    """Put back the axis of one slice that reading as a picture took away: the first that is 1."""
    axis = [stored.shape[k] for k in stored.order].index(1)
    return np.expand_dims(result, axis)


def _of_picture(image: Image) -> npt.NDArray[np.float64]:
    """Return an affine for (column, row, slice): rows run down, to posterior, as pictures are looked at."""
    *slices, rows, columns = image.geometry.spacing
    return np.diag([-columns, -rows, *(slices or [1.0]), 1.0])
