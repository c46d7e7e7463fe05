"""DICOM headers: which files make one series, where they lie, and nothing of their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pydicom
import pydicom.errors

from allograft.core.errors import DataError
from allograft.data.io.frames import frame_slices, slice_of
from allograft.data.io.series import Slice, stack_affine

__all__ = [
    "Placed", "dicom_files", "header_of", "is_dicom", "placed_slices", "read_dataset", "series_headers",
]  # fmt: skip

SHORTEST = 132
"""Bytes of a DICOM file before its header begins."""

_SERIES_TAGS = [
    "SeriesInstanceUID", "SeriesNumber", "Modality", "Rows", "Columns", "NumberOfFrames", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "BurnedInAnnotation",
]  # fmt: skip


def is_dicom(path: Path) -> bool:
    """Tell whether a file carries the DICOM mark (a preamble and "DICM")."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files directly in `folder`, by name; the medium's index (DICOMDIR) is none."""
    return sorted(
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith("DICOMDIR") and is_dicom(path)
    )


def series_headers(folder: Path) -> list[tuple[Path, Any]]:
    """Return the images of the one series in a folder, by file name, with the headers that place them.

    Raises:
        DataError: no images, or several series.
    """
    _no_stumps(folder)
    headers = [(path, header_of(path, _SERIES_TAGS)) for path in dicom_files(folder)]
    images = [(path, header) for path, header in headers if "Rows" in header]
    kinds = {_kind(header) for _, header in images}
    for path, header in headers:
        if "Rows" not in header and _kind(header) in kinds:
            msg = f"{path}: is cut short: it says to be an image like the others and has no pixels. Copy it again."
            raise DataError(msg)
    if not images:
        msg = f"{folder}: the folder holds no DICOM images directly. Give the folder of one series."
        raise DataError(msg)
    _one_series(images, folder)
    return images


def _no_stumps(folder: Path) -> None:
    """Refuse files named as DICOM that are too short to be it: a slice must not be lost without a word."""
    for path in sorted(folder.glob("*.dcm")):
        size = path.stat().st_size
        if path.is_file() and not path.name.startswith(".") and size < SHORTEST:
            msg = f"{path}: is cut short: {size} bytes hold no DICOM header. Copy it again or leave it out."
            raise DataError(msg)


def _kind(header: Any) -> str:
    """Return what an object says to be before its content begins."""
    return str(getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID", ""))


def _one_series(images: list[tuple[Path, Any]], folder: Path) -> None:
    """Refuse a folder that mixes series, naming each by number, modality and a file."""
    series: dict[str, list[tuple[Path, Any]]] = {}
    for path, header in images:
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    if len(series) == 1:
        return
    parts = [
        f"series {items[0][1].get('SeriesNumber', '?')} ({items[0][1].get('Modality', '?')}, "
        f"{len(items)} files, first {items[0][0].name})"
        for items in series.values()
    ]
    msg = f"{folder}: holds {len(series)} series: {'; '.join(parts[:6])}. Put each series into a folder of its own."
    raise DataError(msg)


class Placed(NamedTuple):
    """A series' slices in the order of their depth.

    Attributes:
        files: the file of each slice; a multi-frame file once.
        frames: for a multi-frame file, the frame that each slice is; else empty.
        slices: where they lie.
        affine: (4, 4) from (slice, row, column) to RAS+ world, in mm.
    """

    files: tuple[Path, ...]
    frames: tuple[int, ...]
    slices: tuple[Slice, ...]
    affine: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return (len(self.slices), *self.slices[0].size)


def placed_slices(path: Path) -> Placed:
    """Return where the slices of a series' folder, or of one file, lie; no pixel is read.

    Raises:
        DataError: as `read_dicom`, for a series without one regular grid.
    """
    found = series_headers(path) if path.is_dir() else [(path, read_dataset(path, stop_before_pixels=True))]
    if len(found) == 1:
        file, header = found[0][0], read_dataset(found[0][0], stop_before_pixels=True)
        count = int(header.get("NumberOfFrames", 1) or 1)
        slices = frame_slices(header, file, count) if count > 1 else [slice_of(header, file.name, file.parent)]
        if not slices:
            msg = f"{file}: its {count} frames say no position, so they are no volume."
            raise DataError(msg)
        order = sorted(range(len(slices)), key=lambda i: slices[i].depth)
        placed = tuple(slices[i] for i in order)
        return Placed((file,), tuple(order) if count > 1 else (), placed, stack_affine(placed, file))
    slices = [slice_of(header, file.name, path) for file, header in found]
    order = sorted(range(len(slices)), key=lambda i: slices[i].depth)
    placed = tuple(slices[i] for i in order)
    return Placed(tuple(found[i][0] for i in order), (), placed, stack_affine(placed, path))


def header_of(path: Path, tags: list[str]) -> Any:
    """Read only `tags`."""
    return read_dataset(path, stop_before_pixels=True, specific_tags=list(tags))


def read_dataset(path: Path, **options: Any) -> Any:
    """Read a DICOM file with pydicom's options.

    Raises:
        DataError: it is not DICOM, or damaged.
    """
    try:
        return pydicom.dcmread(path, **options)
    except Exception as error:  # pydicom raises many kinds, and their texts may quote the header
        what = "is not a DICOM file" if isinstance(error, pydicom.errors.InvalidDicomError) else "cannot be read"
        msg = f"{path}: {what} ({type(error).__name__}). Copy it again or leave it out."
        raise DataError(msg) from None
