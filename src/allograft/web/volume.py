"""Volumes as pages carry them: compressed NIfTI in base64."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.data.io.image import Image
from allograft.data.io.nifti_write import label_type, save_nifti

__all__ = ["focus_of", "nifti_of", "window_of"]

CLIPPED = 0.5
"""Per cent of the elements that are shown as black, and as white (ours)."""
SAMPLES = 2_000_000

Array = npt.NDArray[Any]


def nifti_of(image: Image, labels: Array | None = None) -> str:
    """Return an image, or labels on its grid, as base64 of a .nii.gz; it bears no name and no date.

    Args:
        image: canonical.
        labels: (*S); None for the image itself.
    """
    flat = image.dims == 2
    if labels is None:
        array = _coloured(image) if _has_colours(image) else _small(image.array[0])
    else:
        kept = np.maximum(labels, 0)
        array = kept.astype(label_type(int(kept.max(initial=0))))
    turned = array.T[..., None] if flat else array.transpose(2, 1, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = save_nifti(Path(folder) / "volume.nii.gz", turned, _affine(image))
        return base64.b64encode(path.read_bytes()).decode()


def window_of(image: Image) -> tuple[float, float]:
    """Return the values that are shown as black and as white."""
    values = image.array[0].ravel()
    values = values[:: max(1, values.size // SAMPLES)].astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (CLIPPED, 100 - CLIPPED)) if values.size else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def focus_of(image: Image, maps: Sequence[Array]) -> list[float]:
    """Return where to look first, in RAS+ world: the middle of the largest label, else of the image."""
    at = [n // 2 for n in image.geometry.shape]
    for labels in reversed(maps):  # the truth, where there is one
        values, counts = np.unique(labels[labels > 0], return_counts=True)
        if len(values):
            places = np.argwhere(labels == values[counts.argmax()])
            at = places[np.abs(places - np.median(places, axis=0)).sum(axis=1).argmin()].tolist()
            break
    index = [*reversed(at), *([0] if image.dims == 2 else []), 1]
    return [round(float(value), 3) for value in (_affine(image) @ np.array(index))[:3]]


def _affine(image: Image) -> npt.NDArray[np.float64]:
    """Return the map from (column, row, slice) to RAS+; pictures lie with the top to anterior."""
    if image.dims == 2:
        rows, columns = image.geometry.spacing
        return np.diag([-columns, -rows, 1.0, 1.0])
    return image.geometry.affine()[:, [2, 1, 0, 3]]


def _has_colours(image: Image) -> bool:
    return image.dims == 2 and len(image.array) == 3 and image.array.dtype == np.uint8


def _coloured(image: Image) -> Array:
    red, green, blue = image.array
    out = np.empty(red.shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    out["R"], out["G"], out["B"] = red, green, blue
    return out


def _small(array: Array) -> Array:
    """Return values in a type that NIfTI has, the smallest that holds them exactly; else in single precision."""
    if array.dtype in (np.uint8, np.int16):
        return array
    whole = array.dtype.kind in "bui" or bool((array == np.rint(array)).all())
    within = bool(array.size) and array.min() >= np.iinfo(np.int16).min and array.max() <= np.iinfo(np.int16).max
    return array.astype(np.int16 if whole and within else np.float32)
