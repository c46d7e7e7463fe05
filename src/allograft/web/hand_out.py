"""Handing images out: copies of the images of a table of questions, to be drawn on in another program."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from allograft.data.drawn_masks import file_name
from allograft.data.io.format import ending_of
from allograft.data.io.image import Image, read_image
from allograft.infer.write_nifti import write_nifti
from allograft.web.journal import Row
from allograft.web.take_masks import image_of

__all__ = ["hand_out"]

ALONE = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".nii", ".nii.gz", ".nrrd", ".mha"})
"""Endings of files that other programs open and that hold one whole image."""


def hand_out(questions: Sequence[Row], folder: Path) -> list[Path]:
    """Copy the images into a folder, each named after its case; `allograft label --masks` finds masks by these names.

    Files that other programs open are copied as they are. Of entries of array files, DICOM series and what else there
    is the first channel is written: pictures as PNG or TIFF, volumes as NIfTI on the image's own grid.

    Args:
        questions: rows with case, path, and key and row where the image lies in an array file.
        folder: made where it is missing; files of the same name are written over.

    Raises:
        DataError: an image cannot be read; names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for row in questions:
        ref, name = image_of(row), file_name(row["case"])
        if ref.row is None and not ref.key and ref.path.is_file() and ending_of(ref.path) in ALONE:
            made.append(Path(shutil.copyfile(ref.path, folder / f"{name}{ending_of(ref.path)}")))
            continue
        made.append(_decoded(read_image(ref), folder, name))
    return made


def _decoded(image: Image, folder: Path, name: str) -> Path:
    """Write the first channel: a picture as PNG or TIFF, whose rows every program counts from the top."""
    first = image.array[0]
    if image.stored is not None or image.dims == 3:
        return write_nifti(folder / f"{name}.nii.gz", first.astype(np.float32), image)
    path = folder / f"{name}{'.png' if first.dtype == np.uint8 else '.tif'}"
    PIL.Image.fromarray(first if first.dtype == np.uint8 else first.astype(np.float32)).save(path)
    return path
