"""DICOM RTSTRUCT: closed planar contours filled on the slices of the series that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError, did_you_mean
from allograft.data.io.dicom_series import read_dataset
from allograft.data.io.grid import Grid
from allograft.data.io.image import Image

__all__ = ["fill", "is_rtstruct", "read_rtstruct", "structures_of"]

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
OFF_PLANE = 0.1
"""A contour may lie this share of a slice's step off its plane (rounding of positions as text)."""

CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}

Points = npt.NDArray[np.float64]


class _Structure(NamedTuple):
    number: int
    name: str
    contours: tuple[tuple[str, Points], ...]  # kind, (N, 3) in DICOM's patient coordinates


def is_rtstruct(path: Path) -> bool:
    """Tell whether a DICOM file is a structure set."""
    return str(read_dataset(path, specific_tags=["SOPClassUID"]).get("SOPClassUID")) == SOP_CLASS


def structures_of(path: Path) -> dict[str, int]:
    """Return the structures (ROIs) of a file with the number of their contours, in its order.

    Raises:
        DataError: the file is no structure set.
    """
    return {item.name: len(item.contours) for item in _structures(path)}


def read_rtstruct(
    path: Path,
    onto: Grid,
    *,
    classes: Mapping[str, int] | None = None,
    overlap: Literal["refuse", "later"] = "refuse",
) -> Image:
    """Read structures as labels on the grid of the series that they were drawn on.

    A pixel belongs to a structure where its centre lies inside an odd number of the structure's
    contours on its slice, so that a contour within another is a hole.

    Args:
        path: structure set.
        onto: the series' grid.
        classes: class index by structure name; others are left out. None numbers them 1, 2, ...
        overlap: what is done where two structures claim a voxel; "later" lets the higher class win.

    Returns:
        (1, D, H, W) int16, canonical; absent structures are named in its warnings.

    Raises:
        DataError: none of the wanted structures, a structure of points or open lines, contours off
            the slices or outside the grid (names structure and slice), structures that overlap.
    """
    wanted, absent = _wanted(_structures(path), classes, path)
    out = onto.empty()
    for item, value in sorted(wanted, key=lambda pair: pair[1]):
        mask = _filled(item, onto, path)
        taken = mask & (out != 0) & (out != value)
        if taken.any() and overlap == "refuse":
            msg = (
                f"{path}: structure {item.name!r} shares {int(taken.sum())} voxels with class "
                f"{int(out[taken][0])}. Choose structures that do not overlap."
            )
            raise DataError(msg)
        out[mask] = value
    return onto.image(out, tuple(f"{path.name}: has no structure {name!r}" for name in absent))


def _structures(path: Path) -> list[_Structure]:
    data = read_dataset(path)
    if str(data.get("SOPClassUID")) != SOP_CLASS:
        msg = f"{path}: is no structure set (modality {data.get('Modality', '?')}). Give an RTSTRUCT file."
        raise DataError(msg)
    try:
        drawn = {int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or []}
        return [
            _Structure(int(item.ROINumber), str(item.get("ROIName", "")), _contours(drawn.get(int(item.ROINumber))))
            for item in data.get("StructureSetROISequence") or []
        ]
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"{path}: a structure's contour holds values of the wrong kind ({type(error).__name__}). Export it again."
        raise DataError(msg) from None


def _contours(item: Any) -> tuple[tuple[str, Points], ...]:
    if item is None:
        return ()
    return tuple(
        (str(contour.get("ContourGeometricType", "")), np.asarray(contour.ContourData, np.float64).reshape(-1, 3))
        for contour in item.get("ContourSequence") or []
    )


def _wanted(
    found: list[_Structure], classes: Mapping[str, int] | None, path: Path
) -> tuple[list[tuple[_Structure, int]], list[str]]:
    """Return the structures that count with their classes, and the names that the file lacks."""
    if classes is None:
        return [(item, i) for i, item in enumerate(found, start=1)], []
    names = {name.casefold(): index for name, index in classes.items()}
    out = [(item, names[item.name.casefold()]) for item in found if item.name.casefold() in names]
    if not out:
        known = [item.name for item in found]
        msg = f"{path}: has no structure {', '.join(classes)}. {did_you_mean(next(iter(classes), ''), known)}"
        raise DataError(msg)
    have = {item.name.casefold() for item in found}
    return out, [name for name, index in classes.items() if name.casefold() not in have and index != 0]


def _filled(item: _Structure, onto: Grid, path: Path) -> npt.NDArray[np.bool_]:
    """Return the structure's mask in the file's own order."""
    mask = np.zeros(onto.volume().shape, bool)
    for axis, place, outline in _placed(item, onto, path):
        plane = np.moveaxis(mask, axis, 0)[place]
        plane ^= fill(outline, plane.shape)
    return mask


def _placed(item: _Structure, onto: Grid, path: Path) -> Iterator[tuple[int, int, Points]]:
    """Yield the axis across each contour, its slice there, and its outline (N, 2) in pixels of that slice."""
    to_index = np.linalg.inv(np.asarray(onto.volume().affine))
    shape = np.asarray(onto.volume().shape)
    for number, (kind, points) in enumerate(item.contours):
        where = f"{path}: structure {item.name!r}, contour {number}"
        if kind not in CLOSED:
            msg = f"{where}: is of kind {kind or '?'}, which encloses nothing. Choose structures of closed contours."
            raise DataError(msg)
        world = points * np.array([-1.0, -1.0, 1.0])
        index = world @ to_index[:3, :3].T + to_index[:3, 3]
        axis = int(np.argmin(np.ptp(index, axis=0)))
        depth = index[:, axis]
        place = round(float(depth.mean()))
        if np.abs(depth - place).max() > OFF_PLANE:
            msg = (
                f"{where}: lies between slices of {onto.name} (at {depth.min():.2f} to {depth.max():.2f} of axis "
                f"{axis}, z = {points[0, 2]:.2f} mm). It was drawn on another series, or across slices."
            )
            raise DataError(msg)
        flat = np.delete(index, axis, axis=1)
        outside = not 0 <= place < shape[axis] or (flat < -0.5).any() or (flat > np.delete(shape, axis) - 0.5).any()
        if outside:
            msg = (
                f"{where}: lies outside the grid of {onto.name} (slice {place} of {shape[axis]}, "
                f"z = {points[0, 2]:.2f} mm). It was drawn on another series; give that one."
            )
            raise DataError(msg)
        yield axis, place, flat


def fill(outline: Points, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return which pixel centres lie inside a closed outline, by the even-odd rule.

    Args:
        outline: (N, 2) corners as (row, column); the last joins the first.
        shape: rows, columns.
    """
    toggles = np.zeros((shape[0], shape[1] + 1), np.int64)
    for (row0, col0), (row1, col1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        # Half-open in rows: a corner that two edges share is counted once.
        first, last = np.ceil(min(row0, row1)), np.ceil(max(row0, row1))
        rows = np.arange(max(0, first), min(shape[0], last)).astype(int)
        if not len(rows):
            continue
        crossing = col0 + (rows - row0) / (row1 - row0) * (col1 - col0)
        columns = np.clip(np.ceil(crossing), 0, shape[1]).astype(int)
        toggles[rows, columns] += 1
    inside: npt.NDArray[np.bool_] = np.cumsum(toggles[:, :-1], axis=1) % 2 == 1
    return inside
