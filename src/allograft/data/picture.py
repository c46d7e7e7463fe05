"""Picture: an image, or a slice of a volume, as a PNG that a browser shows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from allograft.data.io.image import Image

__all__ = ["middle", "plane", "png", "slices"]

CLIPPED = 0.5
"""Per cent of the values that are shown as black, and as white (ours)."""

Array = npt.NDArray[Any]


def slices(image: Image) -> int:
    """Return how many slices there are along the slowest axis, 1 for a picture."""
    return image.geometry.shape[0] if image.dims == 3 else 1


def middle(image: Image) -> int:
    """Return the slice that is shown first."""
    return slices(image) // 2


def plane(image: Image, place: int | None = None) -> npt.NDArray[np.uint8]:
    """Return (H, W) grey or (H, W, 3) colours.

    Args:
        image: canonical; of several channels that are no colours the first is shown.
        place: slice of a volume, None for the middle; seen from the feet, the patient's right to the left.
    """
    if image.dims == 2 and len(image.array) == 3 and image.array.dtype == np.uint8:
        return np.ascontiguousarray(np.moveaxis(image.array, 0, -1))
    values = np.asarray(image.array[0])
    low, high = _window(values)
    flat = values if image.dims == 2 else values[middle(image) if place is None else place][::-1, ::-1]
    shown = np.clip((flat.astype(np.float64) - low) / (high - low), 0, 1)
    return np.ascontiguousarray(np.rint(255 * np.nan_to_num(shown)).astype(np.uint8))


def png(pixels: npt.NDArray[np.uint8], *, side: int = 0) -> bytes:
    """Return pixels as a PNG, shrunk to fit into a square of `side` where that is above 0; it bears no name or date."""
    picture = Pillow.fromarray(pixels)
    if side:
        picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def _window(values: Array) -> tuple[float, float]:
    sample = values.ravel()[:: max(1, values.size // 500_000)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (CLIPPED, 100 - CLIPPED)) if sample.size else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0
