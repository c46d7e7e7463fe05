"""Outlines: shapes drawn by people, read from napari's CSV form and filled."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError

__all__ = ["fill", "read_napari_shapes"]

_COLUMNS = ("index", "axis-0", "axis-1")


def read_napari_shapes(path: Path) -> Mapping[str, npt.NDArray[np.float64]]:
    """Return the vertices (V, 2) of each shape as (row, column), by the shape's index.

    Raises:
        DataError: the file has other columns or a vertex is no number.
    """
    shapes: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                index, y, x = (row[column] for column in _COLUMNS)
                shapes.setdefault(index, []).append((float(y), float(x)))
            except (KeyError, ValueError, TypeError) as error:
                msg = f"{path}, line {number}: expected columns {', '.join(_COLUMNS)} with numbers ({error!r})."
                raise DataError(msg) from error
    return {index: np.array(vertices) for index, vertices in shapes.items()}


def fill(polygon: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the pixels of `shape` (H, W) whose centres lie inside a polygon, by the even-odd rule.

    Args:
        polygon: (V, 2) vertices as (row, column); the last is joined to the first.
        shape: (H, W).
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, dtype=bool)
    for (y0, x0), (y1, x1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue  # no row of centres is crossed
        crossed = (y0 > rows) != (y1 > rows)
        inside ^= crossed & (columns < (x1 - x0) * (rows - y0) / (y1 - y0) + x0)
    return inside
