"""Write label volumes as DICOM SEG on exactly the grid of the series that they were made from.

The file carries the patient's and the study's identity, copied from the series: without it no
archive could file it. It is the one output that does.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from pydicom.valuerep import DSfloat

from allograft.core.atomic import write_bytes
from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.data.io.dicom_series import Placed, placed_slices, read_dataset
from allograft.data.io.image import Image
from allograft.infer.segment_codes import OWN_SCHEME, code_of, own_code
from allograft.infer.write_nifti import on_stored_grid

__all__ = ["Algorithm", "plain_message", "require_grid", "series_number", "write_seg"]


class Algorithm(Config):
    """Who made the segmentation.

    Args:
        name: of the model or study.
        version: of the run (its id).
        software: version of this package.
        label: short description in the file's list of contents.
    """

    name: str
    version: str
    software: str
    label: str = "SEGMENTATION"


def write_seg(
    path: Path,
    labels: npt.NDArray[Any],
    image: Image,
    *,
    source: Path,
    classes: Sequence[str],
    algorithm: Algorithm,
    omit_empty_frames: bool = False,
) -> Path:
    """Write a BINARY segmentation with a segment for every class but the first (background).

    Args:
        path: ends in .dcm.
        labels: (D, H, W) class indices on the grid of `image`.
        image: the series as it was read, before any resampling.
        source: the folder, or the multi-frame file, that `image` was read from.
        classes: class names; number k is segment k, whether it occurs or not.
        algorithm: who made it.
        omit_empty_frames: leave out frames without a pixel; smaller, but some viewers and converters
            then lose slices. A file without any pixel keeps all its frames: it must have some.

    Returns:
        The path.

    Raises:
        DataError: the source is no series with positions, its headers lack what a segmentation must
            carry, or the labels lie on another grid or beyond the classes.
    """
    stored, placed = _fitting(path, on_stored_grid(labels, image), source, len(classes))
    datasets = [_read_source(file) for file in placed.files]
    pixels = np.ascontiguousarray(_in_file_order(stored, placed), np.uint8 if len(classes) <= 256 else np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom and pydicom quote values of the source's header
        try:
            file = _segmentation(
                datasets,
                pixels,
                classes,
                algorithm,
                omit_empty_frames=omit_empty_frames and bool(pixels.any()),
            )
            _correct_step(file, placed)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            reason = f"{type(error).__name__}: {plain_message(error)}"
            msg = (
                f"{source}: its headers do not allow a DICOM segmentation ({reason}). "
                "Write NIfTI instead, or export the series again with its full headers."
            )
            raise DataError(msg) from error
        buffer = io.BytesIO()
        file.save_as(buffer, enforce_file_format=True)
    write_bytes(path, buffer.getvalue())
    return path


def require_grid(source: Path) -> None:
    """Refuse a source that no segmentation can lie on; only headers are read.

    Raises:
        DataError: its slices say no position, or lie on no regular grid.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes offending values, which may identify a patient
        try:
            placed_slices(source)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            msg = f"{source}: its header holds a value of the wrong kind ({type(error).__name__}). Export it again."
            raise DataError(msg) from None


def _fitting(path: Path, stored: npt.NDArray[Any], source: Path, classes: int) -> tuple[npt.NDArray[Any], Placed]:
    """Return the labels and where the source's slices lie, once both fit."""
    if stored.ndim != 3 or (stored.size and int(stored.max()) >= classes) or stored.min() < 0:
        msg = (
            f"{path}: labels of shape {stored.shape}, {stored.min()} to {stored.max()}, do not fit a volume of "
            f"{classes} classes."
        )
        raise DataError(msg)
    placed = placed_slices(source)
    if placed.shape != stored.shape:
        msg = (
            f"{source}: its grid {placed.shape} is not that of the labels {stored.shape}. Give the image's own series."
        )
        raise DataError(msg)
    return stored, placed


def _segmentation(
    datasets: list[Any],
    pixels: npt.NDArray[Any],
    classes: Sequence[str],
    algorithm: Algorithm,
    **options: Any,
) -> Any:
    """Build the object; the standard's wording of each field is highdicom's."""
    made_by = hd.AlgorithmIdentificationSequence(
        name=algorithm.name, version=algorithm.version, family=codes.DCM.ArtificialIntelligence
    )
    file = hd.seg.Segmentation(
        source_images=datasets,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, name, made_by) for number, name in enumerate(classes[1:], start=1)],
        series_instance_uid=generate_uid(prefix=None),
        series_number=series_number(datasets[0]),
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="allograft developers",
        manufacturer_model_name="allograft",
        software_versions=algorithm.software,
        device_serial_number="0",
        content_label=re.sub(r"[^A-Z0-9_ ]", "_", algorithm.label.upper())[:16],
        content_description=f"{algorithm.name} {algorithm.version}"[:64],
        **options,
    )
    file.SeriesDescription = f"{algorithm.name} segmentation"[:64]
    return file


def _correct_step(file: Any, placed: Placed) -> None:
    """Set the step that the positions give: highdicom copies the source's, which is often wrong and is trusted."""
    holders = [*file.SharedFunctionalGroupsSequence, *file.PerFrameFunctionalGroupsSequence]
    for holder in holders:
        for measures in holder.get("PixelMeasuresSequence") or []:
            measures.SpacingBetweenSlices = DSfloat(float(np.linalg.norm(placed.affine[:3, 0])), auto_format=True)


def _description(number: int, name: str, made_by: Any) -> Any:
    found = code_of(name)
    own = hd.sr.CodedConcept(own_code(name), OWN_SCHEME, name[:64] or own_code(name))
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=getattr(codes.SCT, found.category),
        segmented_property_type=getattr(codes.SCT, found.type) if found.type else own,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=made_by,
    )
    if found.side:
        side = hd.sr.CodedConcept.from_code(getattr(codes.SCT, found.side))
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def _read_source(file: Path) -> Any:
    """Read a source's header; the pixels are not needed, but how they were stored is."""
    return read_dataset(file, stop_before_pixels=True)


def _in_file_order(stored: npt.NDArray[Any], placed: Placed) -> npt.NDArray[Any]:
    """Return planes in the order of the source's files, or of the frames of its one file."""
    if not placed.frames:
        return stored
    out = np.empty_like(stored)
    out[list(placed.frames)] = stored
    return out


def series_number(source: Any) -> int:
    """Return a number that sorts behind the source's."""
    return min(int(source.get("SeriesNumber") or 0) + 1000, 2**31 - 1)


def plain_message(error: Exception) -> str:
    """Return the message where it names an attribute, not where it may quote a patient's values."""
    text = str(error).splitlines()[0] if str(error) else ""
    return text if isinstance(error, AttributeError) else re.sub(r"'[^']*'|\"[^\"]*\"", "...", text)
