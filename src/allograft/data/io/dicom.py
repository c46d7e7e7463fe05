"""DICOM: single pictures, multi-frame files and folders that hold one series.

Identity stays here: nothing but pixels, geometry and units leaves the reader. `dicom_group` alone
returns the patient's identifier, for grouping.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.case import ImageRef
from allograft.data.io.dicom_series import dicom_files, header_of, is_dicom, read_dataset, series_headers
from allograft.data.io.frames import frame_slices, rescales, slice_of
from allograft.data.io.image import MAX_VALUES, Image, too_large
from allograft.data.io.orient import to_canonical
from allograft.data.io.series import Slice, stack_affine

__all__ = ["dicom_files", "dicom_group", "is_dicom", "read_dicom"]


def dicom_group(path: Path) -> str:
    """Return the PatientID of a file, or of a folder's first file; "" where it is empty.

    Raises:
        DataError: the file is not DICOM.
    """
    files = dicom_files(path) if path.is_dir() else [path]
    if not files:
        msg = f"{path}: the folder holds no DICOM files."
        raise DataError(msg)
    header = header_of(files[0], ["PatientID"])
    return str(header.get("PatientID", "") or "").strip()


def read_dicom(ref: ImageRef, *, dims: int | None = None) -> Image:
    """Read a file or the folder of one series.

    Values are those of the modality (Hounsfield units for CT); MONOCHROME1 is turned so that
    larger is brighter; colours are RGB. Volumes are canonical as in `to_canonical`.

    Args:
        ref: file or folder; `row` picks one frame of a multi-frame file.
        dims: 2 or 3, None for what the file says.

    Raises:
        DataError: no pixels, an unknown compression, several series in the folder, slices that
            are missing, doubled or of different grids, or a cine loop read as one picture.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes offending values, which may identify a patient
        try:
            return _read_series(ref.path, dims) if ref.path.is_dir() else _read_file(ref, dims)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            msg = f"{ref}: its header holds a value of the wrong kind ({type(error).__name__}). Export the file again."
            raise DataError(msg) from None


def _read_file(ref: ImageRef, dims: int | None) -> Image:
    data = _open(ref.path)
    pixels = _values(data, ref.path)
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if frames == 1:
        return _single(data, pixels, ref.path, dims)
    if ref.row is not None:
        if not 0 <= ref.row < frames:
            msg = f"{ref}: the file has frames 0 to {frames - 1}. Correct the row."
            raise DataError(msg)
        return _single(data, pixels[ref.row], ref.path, 2)
    slices = frame_slices(data, ref.path, frames)
    if slices:
        return _volume(data, pixels, slices, ref.path)
    if dims == 3:
        array = np.moveaxis(pixels, -1, 0) if _is_colour(pixels, 3) else pixels[None]
        return _image(data, array, Geometry.of_pixels(array.shape[1:]))
    msg = f"{ref}: holds {frames} frames without positions (a loop in time). Choose one frame with a row."
    raise DataError(msg)


def _read_series(folder: Path, dims: int | None) -> Image:
    images = series_headers(folder)
    if len(images) == 1:
        return _read_file(ImageRef(images[0][0]), dims)
    first = images[0][1]
    if len(images) * int(first.Rows) * int(first.Columns) > MAX_VALUES:
        raise too_large(folder, (len(images), int(first.Rows), int(first.Columns)))
    slices = [slice_of(header, path.name, folder) for path, header in images]
    stack_affine(sorted(slices, key=lambda item: item.depth), folder)  # refuse before decoding
    pixels = np.stack([_values(_open(path), path) for path, _ in images])
    return _volume(first, pixels, slices, folder)


def _volume(data: Any, pixels: npt.NDArray[Any], slices: list[Slice], path: Path) -> Image:
    """Return (F, R, C) or (F, R, C, 3) frames as a canonical volume; frames may come in any order."""
    order = np.argsort([item.depth for item in slices], kind="stable")
    affine = stack_affine([slices[i] for i in order], path)
    pixels = pixels[order]
    array = np.moveaxis(pixels, -1, 0) if _is_colour(pixels, 3) else pixels[None]
    array, geometry, stored = to_canonical(array, affine, path)
    image = _image(data, array, geometry)
    return Image(**{**_fields(image), "stored": stored})


def _single(data: Any, pixels: npt.NDArray[Any], path: Path, dims: int | None) -> Image:
    """Return one frame as a picture, or as a volume of one slice where dims is 3."""
    colour = _is_colour(pixels, 2)
    array = np.moveaxis(pixels, -1, 0) if colour else pixels[None]
    if dims == 3:
        slices = [slice_of(data, path.name, path.parent)]
        return _volume(data, pixels[None], slices, path)
    geometry = Geometry.of_pixels(array.shape[1:])
    spacing = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    if spacing and min(map(float, spacing)) > 0:
        size = (float(spacing[0]), float(spacing[1]))
        geometry = geometry.model_copy(update={"spacing": size, "unit": "mm"})
    return _image(data, array, geometry)


def _is_colour(pixels: npt.NDArray[Any], spatial: int) -> bool:
    return pixels.ndim == spatial + 1


def _image(data: Any, array: npt.NDArray[Any], geometry: Geometry) -> Image:
    colour = len(array) == 3
    units = "HU" if data.get("Modality") == "CT" and not colour else ""
    burned = str(data.get("BurnedInAnnotation", "")).upper() == "YES"
    return Image(
        array=np.ascontiguousarray(array),
        geometry=geometry,
        channels=("red", "green", "blue") if colour else ("grey",),
        units=units,
        full_range=(0.0, 255.0) if array.dtype == np.uint8 else None,
        warnings=("the file declares burned-in annotation: text in the picture may identify a patient",)
        if burned
        else (),
    )


def _fields(image: Image) -> dict[str, Any]:
    return {name: getattr(image, name) for name in image.__dataclass_fields__}


def _open(path: Path) -> Any:
    """Read a whole file and check that it holds an image of a size that may be decoded."""
    data = read_dataset(path)
    if not any(tag in data for tag in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        msg = f"{path}: a DICOM file without pixels (modality {data.get('Modality', '?')}). Leave it out."
        raise DataError(msg)
    shape = (int(data.get("NumberOfFrames", 1) or 1), data.get("Rows", 0), data.get("Columns", 0))
    if int(np.prod(shape, dtype=np.float64)) * int(data.get("SamplesPerPixel", 1)) > MAX_VALUES:
        raise too_large(path, shape)
    return data


def _values(data: Any, path: Path) -> npt.NDArray[Any]:
    """Return pixels ([F,] R, C[, 3]) in the modality's units, larger is brighter."""
    try:
        pixels = np.asarray(pixel_array(data, raw=False))
        if data.PhotometricInterpretation == "PALETTE COLOR":
            colours = apply_color_lut(pixels, data)
            return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        if data.PhotometricInterpretation == "MONOCHROME1":
            pixels = _turned(data, pixels)
        return _rescaled(data, pixels)
    except Exception as error:  # each decoder raises its own kinds
        raise _undecodable(data, path, error) from None


def _turned(data: Any, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn MONOCHROME1 (larger is darker); what pads the picture becomes black."""
    top = 2 ** int(data.BitsStored) - 1 if int(data.PixelRepresentation) == 0 else -1
    out = (top - pixels.astype(np.int64)).astype(pixels.dtype)
    padding = data.get("PixelPaddingValue")
    if padding is not None:
        out[pixels == int(padding)] = 0 if top > 0 else -(2 ** (int(data.BitsStored) - 1))
    return out


def _rescaled(data: Any, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Apply the modality's look-up table or slope and intercept, per frame where they differ."""
    if int(data.get("SamplesPerPixel", 1)) != 1:
        return pixels
    frames = rescales(data)
    if "ModalityLUTSequence" in data or "RescaleSlope" in data:
        pixels = np.asarray(apply_modality_lut(pixels, data), dtype=np.float32)
    elif frames and pixels.ndim == 3:
        slope, intercept = np.asarray(frames, dtype=np.float64).T[..., None, None]
        pixels = (pixels * slope + intercept).astype(np.float32)
    if "DoseGridScaling" in data:
        pixels = (pixels * float(data.DoseGridScaling)).astype(np.float32)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _undecodable(data: Any, path: Path, error: Exception) -> DataError:
    syntax = data.file_meta.TransferSyntaxUID if "TransferSyntaxUID" in data.file_meta else None
    if syntax is not None and syntax.is_compressed and isinstance(error, (RuntimeError, NotImplementedError)):
        return DataError(
            f"{path}: is compressed as {syntax.name}, and no installed decoder reads that. Install the "
            "decoders (pip install 'allograft[dicom]'), or decompress the files first."
        )
    return DataError(
        f"{path}: its pixels cannot be decoded, the file is damaged or cut short ({type(error).__name__}). "
        "Copy it again or leave it out."
    )
