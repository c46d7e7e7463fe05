"""Masks as class indices on their image's grid: label files, folders of masks, DICOM SEG and RTSTRUCT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.case import ImageRef
from allograft.data.io.format import ENDINGS, ending_of, format_of, is_image_name
from allograft.data.io.grid import Grid, grid_of
from allograft.data.io.image import Image, read_image

__all__ = [
    "SAME_GRID", "MaskGridError", "MaskValueError", "mask_files", "mask_values", "propose_classes", "read_mask",
]  # fmt: skip

SAME_GRID = 0.02
"""A mask's corners may lie this share of a voxel off its image's (headers hold single precision)."""

MANY_VALUES = 300
"""More different values than this are no labels."""

Labels = npt.NDArray[Any]


class MaskGridError(DataError):
    """A mask lies on another grid than its image: resample it there."""


class MaskValueError(DataError):
    """A mask holds a value that is no class: correct it, or say what the values mean.

    Args:
        message: for the reader.
        values: all different values of the mask, sorted.
    """

    def __init__(self, message: str, values: tuple[int, ...]) -> None:
        super().__init__(message)
        self.values = values


def read_mask(ref: ImageRef, *, onto: ImageRef | Grid | None = None, dims: int | None = None) -> Image:
    """Read a mask as class indices.

    Args:
        ref: the mask; `classes` says what its values, segments, structures or files mean.
        onto: the image that it belongs to; DICOM SEG and RTSTRUCT need it, for others the grids are
            compared where both say where they lie.
        dims: 2 or 3 where the study fixes it.

    Returns:
        (1, *S) int16, canonical.

    Raises:
        DataError: the mask cannot be read, lies on another grid, or holds a value that has no class.
    """
    if not ref.path.exists():
        msg = f"{ref.path}: no such mask. Correct its path, or leave the case out."
        raise DataError(msg)
    files = mask_files(ref.path) if ref.path.is_dir() else {}
    if not ref.path.is_dir() and format_of(ref.path) == "dicom" and (drawn := _drawn(ref, onto)) is not None:
        return drawn.flattened() if dims == 2 else drawn
    image = _of_folder(ref, files, dims) if files else _of_file(ref, read_image(ref, dims=dims))
    if onto is not None:
        _same_grid(ref, image, grid_of(onto, dims=dims) if isinstance(onto, ImageRef) else onto)
    return image


def mask_files(folder: Path) -> dict[str, Path]:
    """Return the mask of each class in a folder, by name without ending; empty for other folders."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and is_image_name(path)]
    return {path.name[: -len(ending_of(path))]: path for path in files if ENDINGS[ending_of(path)] != "dicom"}


def mask_values(ref: ImageRef, *, dims: int | None = None) -> tuple[int, ...]:
    """Return the different values of a mask file, sorted.

    Raises:
        DataError: the file cannot be read, or holds too many or other values than whole numbers.
    """
    return tuple(int(value) for value in np.unique(_whole(ref, read_image(ref, dims=dims).array)))


def propose_classes(values: tuple[int, ...], classes: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Return what values may mean where they are not 0, 1, 2, ...: in ascending order; empty where unclear.

    >>> propose_classes((0, 255), ("background", "lesion"))
    (('0', 0), ('255', 1))
    """
    if not values or len(values) > len(classes) or (0 not in values and len(values) >= len(classes)):
        return ()
    full = values if 0 in values else (0, *values)
    return tuple((str(value), index) for index, value in enumerate(full))


def _drawn(ref: ImageRef, onto: ImageRef | Grid | None) -> Image | None:
    """Read a DICOM segmentation or structure set; None for other DICOM files."""
    from allograft.data.io.dicom_seg import is_seg, read_seg
    from allograft.data.io.rtstruct import is_rtstruct, read_rtstruct

    reader = read_seg if is_seg(ref.path) else read_rtstruct if is_rtstruct(ref.path) else None
    if reader is None:
        return None
    if onto is None:
        msg = f"{ref.path}: is drawn on a series; read it together with the series that it is of."
        raise DataError(msg)
    grid = grid_of(onto, dims=3) if isinstance(onto, ImageRef) else onto
    return reader(ref.path, grid, classes=dict(ref.classes) or None)


def _of_file(ref: ImageRef, image: Image) -> Image:
    if len(image.array) != 1:
        alike = all((channel == image.array[0]).all() for channel in image.array[1:])
        if not alike:
            msg = f"{ref.path}: has {len(image.array)} channels, a mask has one. Save labels as whole numbers in one."
            raise DataError(msg)
    whole = _whole(ref, image.array[:1])
    return _as_mask(image, _to_classes(ref, whole) if ref.classes else whole.astype(np.int16))


def _whole(ref: ImageRef, array: Labels) -> Labels:
    """Return values that are whole numbers in the range of labels."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        msg = f"{ref.path}: holds values that are not finite, a mask holds whole numbers. Export the mask again."
        raise DataError(msg)
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > np.iinfo(np.int16).max or (array.dtype.kind == "f" and (array != np.rint(array)).any()):
        msg = (
            f"{ref.path}: holds values from {low:g} to {high:g}, a mask holds whole numbers in [0, 32767]. "
            "This may be a probability map or an image; export labels."
        )
        raise DataError(msg)
    return array.astype(np.int16)


def _to_classes(ref: ImageRef, array: Labels) -> Labels:
    """Return class indices; every value must have one."""
    meaning = {int(name): index for name, index in ref.classes}
    values = np.unique(array)
    unknown = [int(value) for value in values if int(value) not in meaning]
    if unknown:
        raise _unknown(ref, unknown, tuple(map(int, values)), meaning)
    table = np.zeros(max(meaning) + 1, np.int16)
    table[list(meaning)] = list(meaning.values())
    return np.asarray(table[array])


def _unknown(ref: ImageRef, unknown: list[int], values: tuple[int, ...], meaning: Mapping[int, int]) -> MaskValueError:
    some = ", ".join(map(str, unknown[:6]))
    hint = "Correct the mask, or add the value to the classes."
    fits = propose_classes(values, tuple(map(str, meaning))) if len(values) <= MANY_VALUES else ()
    if fits:
        hint = f"Set mask_values to {', '.join(value for value, _ in fits)} if these are the classes in order."
    known = ", ".join(map(str, sorted(meaning)))
    msg = f"{ref.path}: holds the value {some}, which is no class (known: {known}). {hint}"
    return MaskValueError(msg, values)


def _of_folder(ref: ImageRef, files: Mapping[str, Path], dims: int | None) -> Image:
    """Lay the masks of several classes into one; a pixel above 0 belongs to its file's class."""
    wanted = dict(ref.classes) or {name: index for index, name in enumerate(files, start=1)}
    first: tuple[Path, Image] | None = None
    out: Labels = np.zeros(0)
    for name, index in sorted(((n, i) for n, i in wanted.items() if i != 0), key=lambda pair: pair[1]):
        if name not in files:
            msg = f"{ref.path}: has no mask of {name!r}. Add the file (all zero where the class is absent)."
            raise DataError(msg)
        image = read_image(ImageRef(files[name]), dims=dims)
        if first is None:
            first, out = (files[name], image), np.zeros(image.geometry.shape, np.int16)
        elif not image.geometry.same_grid(first[1].geometry, SAME_GRID):
            msg = f"{files[name]}: lies on another grid than {first[0].name}. Resample the masks to the image's grid."
            raise DataError(msg)
        mask = image.array[0] > 0
        if (taken := mask & (out != 0)).any():
            other = next(n for n, i in wanted.items() if i == int(out[taken][0]))
            msg = f"{files[name]}: shares {int(taken.sum())} pixels with {other!r}; a pixel has one class. Correct one."
            raise DataError(msg)
        out[mask] = index
    assert first is not None, "a folder of masks has a class"
    return _as_mask(first[1], out[None])


def _as_mask(image: Image, labels: Labels) -> Image:
    return Image(
        array=labels, geometry=image.geometry, channels=("grey",), stored=image.stored, warnings=image.warnings
    )


def _same_grid(ref: ImageRef, mask: Image, grid: Grid) -> None:
    """Refuse a mask of another shape, or one that lies elsewhere where both know their place."""
    ours, theirs = mask.geometry, grid.geometry
    placed = ours.unit == theirs.unit == "mm"
    if ours.shape == theirs.shape and (not placed or ours.same_grid(theirs, SAME_GRID)):
        return
    what = _difference(ours, theirs)
    values = {
        "shape": (ours.shape, theirs.shape),
        "spacing": (_short(ours.spacing), _short(theirs.spacing)),
        "orientation": tuple(tuple(map(_short, grid.direction)) for grid in (ours, theirs)),
        "position": (_short(ours.origin), _short(theirs.origin)),
    }[what]
    msg = (
        f"{ref.path}: mask grid {ours.shape} differs from image grid {theirs.shape} of {grid.name} in {what}: "
        f"{values[0]} instead of {values[1]}. "
        "Resample the mask onto the image's grid (nearest neighbours), or leave the case out."
    )
    raise MaskGridError(msg)


def _difference(ours: Geometry, theirs: Geometry) -> str:
    """Return the first thing in which two grids differ."""
    if ours.shape != theirs.shape:
        return "shape"
    if not np.allclose(ours.spacing, theirs.spacing, rtol=1e-3):
        return "spacing"
    return "position" if np.allclose(ours.direction, theirs.direction, atol=1e-3) else "orientation"


def _short(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)
