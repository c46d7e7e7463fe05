"""Image: decoded pixels with their place in the world, and the one way to read any file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.case import ImageRef
from allograft.data.io.format import format_of

__all__ = ["MAX_VALUES", "Image", "Stored", "read_channels", "read_image", "too_large"]

MAX_VALUES = 2**31
"""Most values that one image may decode to; larger files are refused before they are unpacked."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How a volume lay in its file, to write results on exactly that grid.

    Args:
        shape: the file's array shape.
        affine: the file's (4, 4) map from its array index to RAS+ world.
        order: axis k of our array is axis order[k] of the file's.
        flipped: whether our axis k runs against the file's.
    """

    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    order: tuple[int, ...]
    flipped: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Image:
    """Decoded pixels.

    Args:
        array: (C, *S), the file's own number type; volumes lie slowest axis first with axes
            running to superior, anterior, right.
        geometry: where S lies in the world.
        channels: meaning of each channel ("grey", "red", "green", "blue"), "" where unknown.
        units: of the values ("HU"), "" where unknown.
        full_range: darkest and brightest value that the file's format can hold where that
            means something (8- and 16-bit pictures), else None.
        stored: how the file held a volume, also one of a single slice; None for pictures.
        warnings: what a reader should know of this file ("burned-in annotation declared").
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    channels: tuple[str, ...]
    units: str = ""
    full_range: tuple[float, float] | None = None
    stored: Stored | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.array.shape == (len(self.channels), *self.geometry.shape), "a reader broke the Image contract"

    @property
    def dims(self) -> int:
        """2 or 3."""
        return self.geometry.dims

    def flattened(self) -> Image:
        """Return a volume of one slice as a picture with the spacing within the slice; others as they are."""
        single = [axis for axis, n in enumerate(self.geometry.shape) if n == 1]
        if self.dims == 2 or not single:
            return self
        spacing = tuple(value for axis, value in enumerate(self.geometry.spacing) if axis != single[0])
        array = self.array.squeeze(axis=single[0] + 1)
        flat = Geometry.of_pixels(array.shape[1:]).model_copy(update={"spacing": spacing, "unit": "mm"})
        return replace(self, array=array, geometry=flat)


def read_image(ref: ImageRef, *, dims: int | None = None) -> Image:
    """Read one image by its file's ending and content.

    Args:
        ref: the file, the row of an array file, the frame (`row`) of a multi-frame DICOM file,
            or the folder of one DICOM series.
        dims: 2 or 3 where the study fixes it, None for what the file says.

    Raises:
        DataError: the file is missing, truncated, of another kind than its name says, too
            large, or has not `dims` axes.
    """
    if not ref.path.exists():
        msg = f"{ref.path}: no such file or folder. Check the path, or the folder that relative paths start from."
        raise DataError(msg)
    image = _decode(ref, dims)
    if dims is not None and image.dims != dims:
        msg = (
            f"{ref}: the image is {image.dims}-D (shape {image.geometry.shape}), expected {dims}-D. "
            f"Set dims to {image.dims}, or leave the case out."
        )
        raise DataError(msg)
    return image


def _decode(ref: ImageRef, dims: int | None) -> Image:
    """Hand over to the reader; each lives in its own file with its own dependency."""
    kind = format_of(ref.path)
    if kind == "array":
        from allograft.data.io.array import read_array

        return read_array(ref, dims=dims)
    if kind == "nifti":
        from allograft.data.io.nifti import read_nifti

        return read_nifti(ref.path, dims=dims)
    if kind == "dicom":
        from allograft.data.io.dicom import read_dicom

        return read_dicom(ref, dims=dims)
    if kind == "zip":
        from allograft.data.io.dicom import read_dicom
        from allograft.data.io.zipped import unpacked_series

        return read_dicom(ref._replace(path=unpacked_series(ref.path)), dims=dims)
    if kind == "sitk":
        from allograft.data.io.sitk import read_sitk

        return read_sitk(ref.path, dims=dims)
    from allograft.data.io.raster import read_raster, read_tiff

    return read_tiff(ref.path, dims=dims) if kind == "tiff" else read_raster(ref.path)


def read_channels(refs: Sequence[ImageRef], *, dims: int | None = None) -> Image:
    """Read a case: one file, or one file for each channel, stacked along the channel axis.

    Raises:
        DataError: a file cannot be read, or two files lie on different grids.
    """
    images = [read_image(ref, dims=dims) for ref in refs]
    first = images[0]
    if len(images) == 1:
        return first
    for ref, image in zip(refs[1:], images[1:], strict=True):
        if not image.geometry.same_grid(first.geometry):
            msg = (
                f"{ref}: its grid {image.geometry.shape}, spacing {_short(image)} differs from that of "
                f"{refs[0]}: {first.geometry.shape}, spacing {_short(first)}. Register and resample the "
                "channels to one grid, or leave the case out."
            )
            raise DataError(msg)
    return Image(
        array=np.concatenate([image.array for image in images]),
        geometry=first.geometry,
        channels=tuple(name for image in images for name in image.channels),
        units=first.units if len({image.units for image in images}) == 1 else "",
        full_range=first.full_range if len({image.full_range for image in images}) == 1 else None,
        stored=first.stored,
        warnings=tuple(dict.fromkeys(text for image in images for text in image.warnings)),
    )


def _short(image: Image) -> str:
    return "x".join(f"{value:.4g}" for value in image.geometry.spacing)


def too_large(ref: object, shape: Sequence[int]) -> DataError:
    """Return the error for a file that would unpack to more than `MAX_VALUES`."""
    size = "x".join(map(str, shape))
    return DataError(
        f"{ref}: would decode to {size} values, more than the {MAX_VALUES:.1e} that are allowed. "
        "Cut it into parts or reduce its size."
    )
