"""Write NIfTI: an array with its place, each file whole or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from allograft.core.atomic import write_bytes
from allograft.core.errors import DataError

__all__ = ["label_type", "save_nifti"]


def save_nifti(path: Path, array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]) -> Path:
    """Write an array (n0, n1[, n2[, C]]) with the map from its index to RAS+ world in mm; return the path.

    The same values give the same bytes: no time stamp is written.

    Raises:
        DataError: the ending is neither .nii nor .nii.gz.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        msg = f"{path}: NIfTI files end in .nii or .nii.gz. Choose such a name."
        raise DataError(msg)
    untyped: Any = nibabel
    image = untyped.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    data = image.to_bytes()
    write_bytes(path, gzip.compress(data, compresslevel=6, mtime=0) if path.suffix.lower() == ".gz" else data)
    return path


def label_type(highest: int) -> type[np.uint8] | type[np.int16]:
    """Return the smallest integer type that NIfTI readers agree on for labels up to `highest`."""
    return np.uint8 if highest <= np.iinfo(np.uint8).max else np.int16
