"""DICOM SEG: segments laid onto the grid of the series that they are of.

Writers leave out frames that are empty, so frames are placed by position, never by number, and
what is missing is background. A segment's plane may run in any order or direction along the grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom.pixels.utils import pixel_array

from allograft.core.errors import DataError, did_you_mean
from allograft.data.io.dicom_series import read_dataset
from allograft.data.io.frames import frame_slices, functional_groups, tag_of
from allograft.data.io.grid import Grid
from allograft.data.io.image import MAX_VALUES, Image, too_large
from allograft.data.io.series import Slice

__all__ = ["Segment", "is_seg", "read_seg", "segments_of"]

SEG_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
"""SOP classes: Segmentation Storage and Label Map Segmentation Storage."""

OFF = 0.05
"""A frame may lie this share of a voxel off the grid (rounding of positions as text)."""

Plane = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What a file says of one segment.

    Args:
        number: as frames refer to it, from 1.
        label: the writer's name.
        category: (value, scheme, meaning) of the property's category.
        type: the same of the property's type.
        algorithm: "MANUAL", "SEMIAUTOMATIC", "AUTOMATIC" or "".
    """

    number: int
    label: str
    category: tuple[str, str, str] = ("", "", "")
    type: tuple[str, str, str] = ("", "", "")
    algorithm: str = ""


def is_seg(path: Path) -> bool:
    """Tell whether a DICOM file is a segmentation."""
    return str(read_dataset(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).get("SOPClassUID")) in (
        SEG_CLASSES
    )


def segments_of(path: Path) -> tuple[Segment, ...]:
    """Return the segments that a file describes, by number.

    Raises:
        DataError: the file is no segmentation.
    """
    return _segments(_checked(read_dataset(path, stop_before_pixels=True), path))


def read_seg(
    path: Path,
    onto: Grid,
    *,
    classes: Mapping[str, int] | None = None,
    threshold: float | None = None,
    overlap: Literal["refuse", "later"] = "refuse",
) -> Image:
    """Read a segmentation as labels on the grid of its series.

    Args:
        path: BINARY, LABELMAP, or FRACTIONAL with a threshold.
        onto: the series' grid.
        classes: class index by segment label or number ("Liver" or "3"); others are left out.
            None takes every segment with its number.
        threshold: share of 1 from which on a FRACTIONAL pixel counts.
        overlap: what is done where two segments claim a voxel; "later" lets the higher number win.

    Returns:
        (1, D, H, W) int16, canonical; absent segments are named in its warnings.

    Raises:
        DataError: FRACTIONAL without a threshold, none of the wanted segments, segments that overlap,
            or frames that do not lie on the grid.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes offending values
        data = _checked(read_dataset(path), path)
        frames = int(data.get("NumberOfFrames", 1) or 1)
        if frames * int(data.Rows) * int(data.Columns) > MAX_VALUES:
            raise too_large(path, (frames, data.Rows, data.Columns))
        wanted, absent = _wanted(_segments(data), classes, path)
        planes = _pixels(data, path, threshold)
        out = onto.empty()
        places = frame_slices(data, path, frames)
        if not places:
            msg = f"{path}: its frames say no position (a segmentation of pictures), so they lie on no volume."
            raise DataError(msg)
        for number, plane, place in sorted(_by_segment(data, planes, places), key=lambda item: item[0]):
            if number in wanted and plane.any():
                _lay(out, plane, _index(place, onto, path), wanted[number], (path, place, overlap))
    return onto.image(out, tuple(f"{path.name}: has no segment {name!r}" for name in absent))


def _checked(data: Any, path: Path) -> Any:
    if str(data.get("SOPClassUID")) not in SEG_CLASSES or not data.get("SegmentSequence"):
        msg = f"{path}: is no DICOM segmentation (modality {data.get('Modality', '?')}). Give a SEG file."
        raise DataError(msg)
    return data


def _segments(data: Any) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            number=int(item.get("SegmentNumber", 0)),
            label=str(item.get("SegmentLabel", "")),
            category=_code(item, "SegmentedPropertyCategoryCodeSequence"),
            type=_code(item, "SegmentedPropertyTypeCodeSequence"),
            algorithm=str(item.get("SegmentAlgorithmType", "")),
        )
        for item in sorted(data.SegmentSequence, key=lambda item: int(item.get("SegmentNumber", 0)))
    )


def _code(item: Any, name: str) -> tuple[str, str, str]:
    code = (item.get(name) or [{}])[0]
    value, scheme, meaning = (str(code.get(key, "")) for key in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))
    return value, scheme, meaning


def _wanted(
    segments: Sequence[Segment], classes: Mapping[str, int] | None, path: Path
) -> tuple[dict[int, int], list[str]]:
    """Return the class of each segment number that counts, and the names that are not in the file."""
    if classes is None:
        return {item.number: item.number for item in segments}, []
    names = {name.casefold(): index for name, index in classes.items()}
    found = {}
    for item in segments:
        for name in (item.label.casefold(), str(item.number)):
            if name in names:
                found[item.number] = names[name]
                break
    if not found:
        known = [item.label for item in segments]
        msg = f"{path}: has no segment {', '.join(classes)}. {did_you_mean(next(iter(classes), ''), known)}"
        raise DataError(msg)
    known_names = {text for item in segments for text in (item.label.casefold(), str(item.number))}
    return found, [name for name in classes if name.casefold() not in known_names and classes[name] != 0]


def _pixels(data: Any, path: Path, threshold: float | None) -> Plane:
    """Return (F, R, C): 0 and 1, or segment numbers of a label map."""
    kind = str(data.get("SegmentationType", "BINARY"))
    if kind == "FRACTIONAL" and threshold is None:
        msg = f"{path}: holds fractions ({data.get('SegmentationFractionalType', '?')}), not labels. Set a threshold."
        raise DataError(msg)
    try:
        pixels = np.asarray(pixel_array(data, raw=True))
    except Exception as error:  # each decoder raises its own kinds
        msg = f"{path}: its pixels cannot be decoded, the file is damaged or cut short ({type(error).__name__})."
        raise DataError(msg) from None
    pixels = pixels.reshape(-1, int(data.Rows), int(data.Columns))
    if kind == "FRACTIONAL" and threshold is not None:
        return pixels >= threshold * float(data.get("MaximumFractionalValue", 255))
    return pixels


def _by_segment(data: Any, planes: Plane, places: Sequence[Slice]) -> Iterator[tuple[int, Plane, Slice]]:
    """Yield each segment's mask and place; a label map's frame holds several segments."""
    label_map = str(data.get("SegmentationType", "")) == "LABELMAP"
    for plane, place, groups in zip(planes, places, functional_groups(data), strict=True):
        if label_map:
            background = data.get("PixelPaddingValue", 0)
            yield from ((int(n), plane == n, place) for n in np.unique(plane) if n != background)
        else:
            number = tag_of(groups, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
            yield int(number), plane != 0, place


def _index(place: Slice, onto: Grid, path: Path) -> npt.NDArray[np.int64]:
    """Return (3, 3): the grid index of a frame's first pixel, and its steps per row and per column."""
    to_index = np.linalg.inv(np.asarray(onto.volume().affine))
    flip = np.diag([-1.0, -1.0, 1.0])
    down = np.asarray(place.along_columns) * place.spacing[0]
    right = np.asarray(place.along_rows) * place.spacing[1]
    exact = np.stack(
        [
            to_index[:3, :3] @ flip @ np.asarray(place.position) + to_index[:3, 3],
            to_index[:3, :3] @ flip @ down,
            to_index[:3, :3] @ flip @ right,
        ]
    )
    whole = np.rint(exact)
    reach = np.array([[1.0], [max(1, place.size[0] - 1)], [max(1, place.size[1] - 1)]])
    gap = float(np.abs((exact - whole) * reach).max())
    steps = np.abs(whole[1:]).sum(axis=1)
    if gap > OFF or (steps != 1).any():
        msg = (
            f"{path}: {place.name} does not lie on the grid of {onto.name} (off by {gap:.2f} voxels, pixel spacing "
            f"{place.spacing[0]:g}x{place.spacing[1]:g}). It is of another series, or was resampled; give its own."
        )
        raise DataError(msg)
    return np.asarray(whole, np.int64)


def _lay(
    out: npt.NDArray[np.int16],
    plane: Plane,
    index: npt.NDArray[np.int64],
    value: int,
    about: tuple[Path, Slice, str],
) -> None:
    """Write one frame's mask into the volume."""
    path, place, overlap = about
    rows, columns = np.nonzero(plane)
    where = index[0][:, None] + index[1][:, None] * rows + index[2][:, None] * columns
    outside = ((where < 0) | (where >= np.asarray(out.shape)[:, None])).any(axis=0)
    if outside.any():
        msg = (
            f"{path}: {place.name} marks {int(outside.sum())} pixels outside the series' grid {out.shape}. "
            "It is of a longer or larger series; give that one."
        )
        raise DataError(msg)
    spot = tuple(where)
    taken = (out[spot] != 0) & (out[spot] != value)
    if taken.any() and overlap == "refuse":
        msg = (
            f"{path}: on {place.name}, {int(taken.sum())} voxels belong to two segments (classes "
            f"{int(out[spot][taken][0])} and {value}). Choose segments that do not overlap."
        )
        raise DataError(msg)
    out[spot] = value
