"""Write label maps: every asked format of one image, and what the table says of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from allograft.core.atomic import write_bytes
from allograft.core.errors import DataError
from allograft.core.private import pseudonym
from allograft.core.task import Task
from allograft.data.io.image import Image, read_image
from allograft.data.io.orient import to_canonical
from allograft.data.io.zipped import unpacked_series
from allograft.infer.inputs import Input
from allograft.infer.outputs import is_dicom_input
from allograft.infer.predict_masks import Segmented
from allograft.infer.write import HIDDEN
from allograft.infer.write_nifti import write_nifti
from allograft.infer.write_seg import Algorithm, require_grid, write_seg

__all__ = ["mask_row", "require_series", "source_of", "write_label_map"]


def source_of(item: Input) -> Path:
    """Return the file or folder of an input's DICOM; of a zip where it is unpacked."""
    path = item.refs[0].path
    return unpacked_series(path) if path.is_file() and path.suffix.lower() == ".zip" else path


def require_series(item: Input) -> None:
    """Refuse an input whose headers say no place: before it is segmented, not after; readers say what is missing.

    Raises:
        DataError: the slices say no position, or lie on no regular grid.
    """
    if item.refs[0].path.exists():
        require_grid(source_of(item))


def write_label_map(
    found: Segmented,
    files: Mapping[str, Path],
    *,
    task: Task,
    algorithm: Algorithm,
    all_frames: bool = False,
) -> tuple[tuple[str, ...], str]:
    """Write the label map of one image in every asked format.

    Args:
        found: a label map.
        files: where to, by format.
        task: names the classes.
        algorithm: who made it.
        all_frames: whether a DICOM segmentation holds frames without a pixel too.

    Returns:
        Formats that were written, and what hindered the others ("" where nothing did).
    """
    image, labels = found.image, found.labels
    assert image is not None, "only label maps are written"
    assert labels is not None, "only label maps are written"
    written, errors = [], []
    for name, path in files.items():
        try:
            if name == "png":
                _write_png(path, labels)
            elif name == "nifti":
                _write_nifti(path, labels, image, found.item)
            else:
                labels3, image3 = _placed(labels, image, found.item)
                write_seg(
                    path,
                    labels3,
                    image3,
                    source=source_of(found.item),
                    classes=task.classes,
                    algorithm=algorithm,
                    omit_empty_frames=not all_frames,
                )
        except DataError as error:
            errors.append(f"{name}: {error}")
        else:
            written.append(name)
    return tuple(written), f"{found.item.name}: {' '.join(errors)}" if errors else ""


def mask_row(
    found: Segmented, task: Task, *, networks: int, files: Sequence[str], error: str, dims: int, salt: str | None = None
) -> dict[str, Any]:
    """Return the table's row of one image: elements and volumes of each class and region.

    Args:
        found: a label map, or an input's error.
        task: names the classes and regions.
        networks: how many were averaged.
        files: that were written for it.
        error: why something is missing.
        dims: 2 or 3: pixels and mm2, or voxels, mm3 and ml.
        salt: hides the name behind a salted hash; None shows it.
    """
    item = found.item
    shown = error if salt is None or not error else HIDDEN
    row: dict[str, Any] = {"file": item.name if salt is None else pseudonym(item.name, salt)}
    counts = None if found.labels is None else np.bincount(found.labels.ravel(), minlength=len(task.classes))
    element = _element(found.image)
    for name, values in _counted(task).items():
        number = None if counts is None else int(counts[list(values)].sum())
        size = None if number is None or element is None else float(f"{number * element:.9g}")
        row[f"{'pixels' if dims == 2 else 'voxels'}_{name}"] = number
        row[f"mm{dims}_{name}"] = size
        if dims == 3:
            row[f"ml_{name}"] = None if size is None else float(f"{size / 1000:.9g}")
    return {**row, "written": ";".join(files), "networks": networks, "error": shown}


def _counted(task: Task) -> dict[str, tuple[int, ...]]:
    """Return label values by class and by region; a region called as a class stands for itself."""
    single = {name: (value,) for value, name in enumerate(task.classes) if value}
    return {**single, **task.scored}


def _element(image: Image | None) -> float | None:
    """Return the size of an element in mm^dims; None where the file says none."""
    if image is None or image.geometry.unit != "mm":
        return None
    return float(np.prod(image.geometry.spacing))


def _write_png(path: Path, labels: npt.NDArray[Any]) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(labels.astype(np.uint8 if labels.max() < 256 else np.uint16)).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())


def _write_nifti(path: Path, labels: npt.NDArray[Any], image: Image, item: Input) -> None:
    dicom = is_dicom_input(item)
    if dicom:
        try:
            labels, image = _placed(labels, image, item)
        except DataError:
            dicom = False  # a radiograph says no place in the patient: it is written as a picture
    write_nifti(path, labels, image, reverse_axes=dicom and image.stored is not None)


def _placed(labels: npt.NDArray[Any], image: Image, item: Input) -> tuple[npt.NDArray[Any], Image]:
    """Return a DICOM picture and its labels (rows, columns) as the volume of one slice that it is; volumes as they are.

    Raises:
        DataError: the file says no position.
    """
    if image.dims == 3:
        return labels, image
    volume = read_image(item.refs[0], dims=3)
    assert volume.stored is not None, "DICOM volumes say how they lie in their files"
    turned, _, _ = to_canonical(labels[None, None], np.asarray(volume.stored.affine), item.refs[0].path)
    return turned[0], volume
