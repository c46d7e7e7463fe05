"""Grid: where an image's pixels lie, known from its header where the format allows it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.case import ImageRef
from allograft.data.io.format import format_of
from allograft.data.io.image import Image, Stored, read_image
from allograft.data.io.orient import canonical_grid, to_canonical

__all__ = ["Grid", "grid_of"]


class Grid(NamedTuple):
    """A grid in the world, and how its file holds it.

    Attributes:
        name: file or folder, for messages.
        geometry: canonical, as the image that `read_image` returns.
        stored: the file's own order, None for pictures.
    """

    name: str
    geometry: Geometry
    stored: Stored | None

    def volume(self) -> Stored:
        """Return how the file holds its volume.

        Raises:
            DataError: the image is a picture and says nothing of the world.
        """
        if self.stored is None:
            msg = f"{self.name}: has no place in the world, so nothing can be laid onto it. Give the volume it is of."
            raise DataError(msg)
        return self.stored

    def empty(self) -> npt.NDArray[np.int16]:
        """Return zeros in the file's own order."""
        return np.zeros(self.volume().shape, np.int16)

    def image(self, labels: npt.NDArray[np.int16], warnings: tuple[str, ...] = ()) -> Image:
        """Return labels in the file's own order as a canonical image (1, D, H, W)."""
        affine = np.asarray(self.volume().affine)
        array, geometry, stored = to_canonical(labels[None], affine, Path(self.name))
        return Image(array=array, geometry=geometry, channels=("grey",), stored=stored, warnings=warnings)


def grid_of(ref: ImageRef, *, dims: int | None = None) -> Grid:
    """Return the grid of an image; of NIfTI and DICOM volumes from the headers alone.

    Raises:
        DataError: as `read_image`.
    """
    if not ref.path.exists():
        msg = f"{ref.path}: no such file or folder. Check the path, or the folder that relative paths start from."
        raise DataError(msg)
    kind = format_of(ref.path)
    if dims != 2 and ref.row is None and kind in {"dicom", "zip"}:
        from allograft.data.io.dicom_series import placed_slices
        from allograft.data.io.zipped import unpacked_series

        placed = placed_slices(unpacked_series(ref.path) if kind == "zip" else ref.path)
        return Grid(str(ref), *canonical_grid(placed.shape, placed.affine, ref.path))
    if kind == "nifti" and ref.row is None:
        from allograft.data.io.nifti import nifti_grid

        return Grid(str(ref), *nifti_grid(ref.path, dims=dims))
    image = read_image(ref, dims=dims)
    return Grid(str(ref), image.geometry, image.stored)
