"""Plates: images that belong together, each a row, what was made of it side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from allograft.report.figures.contours import embedded

__all__ = ["greys", "plate"]

WIDTH = 120.0
"""Width of a drawing in its own units."""
SMALL = 112
"""Longest side of the embedded pixels: enough to see, and a report stays small (ours)."""
CLIPPED = 1.0
"""Per cent of an image's pixels that are shown as black, and as white (ours)."""

Plane = npt.NDArray[np.float32]


def greys(row: Mapping[str, Plane]) -> dict[str, npt.NDArray[np.uint8]]:
    """Return planes (H, W) with values 0 to 255, all on the grey scale of the first so that they can be compared."""
    low, high = np.percentile(next(iter(row.values())), (CLIPPED, 100 - CLIPPED))
    width = high - low if high > low else 1.0
    scaled = {name: (plane - low) / width for name, plane in row.items()}
    return {name: np.rint(255 * np.clip(np.nan_to_num(x), 0, 1)).astype(np.uint8) for name, x in scaled.items()}


def plate(plane: npt.NDArray[np.uint8], *, what: str) -> Markup:
    """Draw one grey plane (H, W); a large one is shrunk."""
    rows, columns = plane.shape
    shrink = min(1.0, SMALL / max(rows, columns))
    size = (max(1, round(columns * shrink)), max(1, round(rows * shrink)))
    shown = Image.fromarray(plane, mode="L").resize(size, Image.Resampling.BOX) if shrink < 1 else _plain(plane)
    height = round(WIDTH * rows / columns, 1)
    begin = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}">').format(what, WIDTH, height)
    return begin + embedded(shown, WIDTH, height, Markup()) + Markup("</svg>")


def _plain(plane: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(plane), mode="L")
