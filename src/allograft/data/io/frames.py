"""What a DICOM header says of where its slices and frames lie, and of their values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allograft.core.errors import DataError
from allograft.data.io.series import Slice

__all__ = ["frame_slices", "functional_groups", "rescales", "slice_of", "tag_of"]


def slice_of(header: Any, name: str, folder: Path) -> Slice:
    """Return where one file's slice lies.

    Raises:
        DataError: the file says no position, or is itself multi-frame.
    """
    needed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    missing = [tag for tag in needed if not header.get(tag)]
    if missing or int(header.get("NumberOfFrames", 1) or 1) > 1:
        why = f"says no {missing[0]}" if missing else "holds several frames"
        msg = f"{folder}: {name} {why}, so the files are not slices of one volume. Give single files as cases."
        raise DataError(msg)
    size = (int(header.Rows), int(header.Columns))
    return Slice.of(name, header.ImagePositionPatient, header.ImageOrientationPatient, header.PixelSpacing, size)


def frame_slices(header: Any, path: Path, frames: int) -> list[Slice]:
    """Return where the frames of a multi-frame file lie, empty where it does not say.

    Raises:
        DataError: some frames say it and others do not.
    """
    size = (int(header.Rows), int(header.Columns))
    offsets, position = header.get("GridFrameOffsetVector"), header.get("ImagePositionPatient")
    if offsets and position and header.get("ImageOrientationPatient"):
        first = Slice.of("frame 0", position, header.ImageOrientationPatient, header.PixelSpacing, size)
        return [first.moved(f"frame {i}", float(z) - float(offsets[0])) for i, z in enumerate(offsets)]
    found = []
    for i, groups in enumerate(functional_groups(header)):
        place = tag_of(groups, "PlanePositionSequence", "ImagePositionPatient")
        turn = tag_of(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = tag_of(groups, "PixelMeasuresSequence", "PixelSpacing")
        if place and turn and spacing:
            found.append(Slice.of(f"frame {i}", place, turn, spacing, size))
    if found and len(found) != frames:
        msg = f"{path}: only {len(found)} of {frames} frames say where they lie. Export the file again."
        raise DataError(msg)
    return found


def rescales(header: Any) -> list[tuple[float, float]]:
    """Return slope and intercept of each frame of an enhanced file, empty where it has none."""
    name = "PixelValueTransformationSequence"
    pairs = [
        (tag_of(groups, name, "RescaleSlope"), tag_of(groups, name, "RescaleIntercept"))
        for groups in functional_groups(header)
    ]
    return [(float(a), float(b)) for a, b in pairs if a is not None and b is not None]


def functional_groups(header: Any) -> list[tuple[Any, Any]]:
    """Return for each frame its own functional groups and the shared ones, in that order of precedence."""
    empty: Mapping[str, Any] = {}
    shared = (header.get("SharedFunctionalGroupsSequence") or [empty])[0]
    return [(own, shared) for own in header.get("PerFrameFunctionalGroupsSequence") or []]


def tag_of(groups: tuple[Any, Any], sequence: str, tag: str) -> Any:
    """Return a value of a frame's functional groups, None where no group has it."""
    for holder in groups:
        items = holder.get(sequence)
        if items and items[0].get(tag) is not None:
            return items[0].get(tag)
    return None
