"""NIfTI volumes: canonical on load, restored exactly on writing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.io.image import MAX_VALUES, Image, Stored, too_large
from allograft.data.io.orient import canonical_grid, to_canonical

__all__ = ["MAX_CHANNELS", "nifti_grid", "read_nifti"]

MAX_CHANNELS = 16
"""Most volumes of a 4-D file that count as channels; more are a time series."""


def read_nifti(path: Path, *, dims: int | None = None) -> Image:
    """Read .nii or .nii.gz as (C, D, H, W), or as (C, H, W) where one axis has a single slice.

    Integers stay integers unless the header scales them, then they become float32. A fourth
    axis is channels up to `MAX_CHANNELS`; RGB voxels are three channels.

    Raises:
        DataError: the file is damaged, cut short or too large, a time series, sheared, or of an
            unknown number type.
    """
    with _said(path):
        file: Any = nibabel.load(path)
        shape = tuple(int(n) for n in file.shape)
        array = np.asanyarray(file.dataobj) if np.prod(shape, dtype=np.float64) <= MAX_VALUES else None
        affine = np.asarray(file.affine, dtype=np.float64)
    if array is None:
        raise too_large(path, shape)
    array, colours = _channels_first(_numbers(array, path), path)
    single = array.shape[3] == 1
    array, geometry, stored = to_canonical(array, affine, path)
    image = Image(array=array, geometry=geometry, channels=_names(len(array), colours), stored=stored)
    return image.flattened() if dims == 2 or (dims is None and single) else image


def nifti_grid(path: Path, *, dims: int | None = None) -> tuple[Geometry, Stored | None]:
    """Return where the volume of `read_nifti` lies, from the header alone.

    Raises:
        DataError: the header is damaged or holds no volume, or the volume is sheared.
    """
    with _said(path):
        file: Any = nibabel.load(path)
        shape = tuple(int(n) for n in (*file.shape, 1)[:3])
        affine = np.asarray(file.affine, dtype=np.float64)
    geometry, stored = canonical_grid(shape, affine, path)
    blank = np.broadcast_to(np.zeros(1, np.uint8), (1, *geometry.shape))  # no memory
    image = Image(array=blank, geometry=geometry, channels=("grey",), stored=stored)
    image = image.flattened() if dims == 2 or (dims is None and shape[2] == 1) else image
    return image.geometry, image.stored


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn what nibabel raises into a message that names the file."""
    try:
        yield
    except AttributeError as error:
        msg = f"{path}: is a NIfTI file that holds no volume (a surface or a connectivity matrix). Leave it out."
        raise DataError(msg) from error
    except (OSError, ValueError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path}: cannot be read, it is damaged or cut short ({reason}). Copy it again or leave the case out."
        raise DataError(msg) from error


def _numbers(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Return plain numbers; RGB voxels become a trailing axis."""
    if array.dtype.names is not None and set(array.dtype.names) >= {"R", "G", "B"}:
        colours = np.stack([array[name] for name in "RGB"], axis=-1)
        return colours.reshape(*array.shape[:3], 1, 3) if array.ndim == 3 else colours
    if array.dtype.kind not in "buif" or array.size == 0:
        msg = f"{path}: voxels of type {array.dtype}, shape {array.shape}, are not an image. Save integers or floats."
        raise DataError(msg)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native.astype(np.float32) if native.dtype.kind == "f" else native


def _channels_first(array: npt.NDArray[Any], path: Path) -> tuple[npt.NDArray[Any], bool]:
    """Return (C, n0, n1, n2) and whether the channels are colours."""
    colours = array.ndim == 5 and array.shape[3:] == (1, 3) and array.dtype == np.uint8
    while array.ndim > 4 and 1 in array.shape[3:]:
        array = array.squeeze(axis=3 + array.shape[3:].index(1))
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3:
        return array[None], False
    if array.ndim != 4 or array.shape[3] > MAX_CHANNELS:
        msg = (
            f"{path}: shape {array.shape} is a series of volumes, expected one volume with at most "
            f"{MAX_CHANNELS} channels. Save the volume to be used (or their mean) as its own file."
        )
        raise DataError(msg)
    return np.moveaxis(array, 3, 0), colours


def _names(count: int, colours: bool) -> tuple[str, ...]:
    if colours:
        return ("red", "green", "blue")
    return ("grey",) if count == 1 else ("",) * count
