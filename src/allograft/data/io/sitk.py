"""NRRD and MetaImage volumes, through SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.io.image import MAX_VALUES, Image, too_large
from allograft.data.io.orient import to_canonical

__all__ = ["read_sitk"]


def read_sitk(path: Path, *, dims: int | None = None) -> Image:
    """Read .nrrd, .nhdr, .mha or .mhd as (C, D, H, W), or (C, H, W) for pictures and single slices.

    Positions are turned from ITK's LPS to RAS+; a file without a place has ITK's unit grid.

    Raises:
        DataError: the file is damaged, cut short or too large, a time series, sheared, or of
            complex numbers.
    """
    itk: Any = SimpleITK
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        shape = tuple(int(n) for n in reader.GetSize())
        if int(np.prod(shape, dtype=np.float64)) * reader.GetNumberOfComponents() > MAX_VALUES:
            raise too_large(path, shape)
        file: Any = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        msg = f"{path}: cannot be read, it is damaged or cut short ({reason}). Copy it again or leave the case out."
        raise DataError(msg) from error
    count = file.GetDimension()
    array = itk.GetArrayFromImage(file)
    if array.dtype.kind not in "buif" or count not in {2, 3}:
        msg = f"{path}: a {count}-D image of {array.dtype}, expected a picture or one volume of numbers. Save it so."
        raise DataError(msg)
    array = np.moveaxis(array, -1, 0) if array.ndim == count + 1 else array[None]
    channels = ("grey",) if len(array) == 1 else ("",) * len(array)
    if count == 2:
        spacing = tuple(float(x) for x in reversed(file.GetSpacing()))
        geometry = Geometry.of_pixels(array.shape[1:]).model_copy(update={"spacing": spacing, "unit": "mm"})
        return Image(array=np.ascontiguousarray(array), geometry=geometry, channels=channels)
    lps = np.eye(4)
    lps[:3, :3] = np.asarray(file.GetDirection()).reshape(3, 3) * np.asarray(file.GetSpacing())
    lps[:3, 3] = file.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    # ITK counts columns first; so does the file, and results go back in its order.
    array, geometry, stored = to_canonical(array.transpose(0, 3, 2, 1), affine, path)
    image = Image(array=array, geometry=geometry, channels=channels, stored=stored)
    return image.flattened() if dims == 2 or (dims is None and 1 in shape) else image
