"""Grids: volumes brought to one box in the world, and cut into blocks that do not touch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from allograft.core.config import Config
from allograft.core.geometry import Geometry

__all__ = ["Block", "Box", "blocks", "onto"]

Volume = npt.NDArray[np.float32]


class Box(Config):
    """A box in the world with axes to superior, anterior, right.

    Args:
        low: world position (superior, anterior, right) of the first element's centre, in mm.
        extent: lengths in mm.
        spacing: distance of elements in mm, > 0.
    """

    low: tuple[float, float, float]
    extent: tuple[float, float, float]
    spacing: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Elements along each axis."""
        d, h, w = (math.floor(length / self.spacing + 1e-6) for length in self.extent)
        return d, h, w

    def affine(self, start: Sequence[int] = (0, 0, 0)) -> npt.NDArray[np.float64]:
        """Return the map from (right, anterior, superior) index to world, for a part that begins at `start`."""
        out = np.diag([self.spacing] * 3 + [1.0])
        out[:3, 3] = [at + first * self.spacing for at, first in zip(self.low, start, strict=True)][::-1]
        return out


class Block(NamedTuple):
    """A part of a grid: its name ("block010") and its place."""

    name: str
    place: tuple[slice, ...]


def onto(volume: npt.NDArray[Any], geometry: Geometry, box: Box) -> Volume:
    """Return a canonical volume (D, H, W) resampled to a box: linear, smoothed first where it gets coarser.

    Outside the volume there is 0. A volume that lies on the box's grid keeps its values.
    """
    steps = [box.spacing / own for own in geometry.spacing]
    blur = [0.4 * step if step > 1 else 0.0 for step in steps]
    smooth = volume.astype(np.float32)
    if any(blur):
        smooth = ndimage.gaussian_filter(smooth, blur, truncate=3)
    # Rows of a canonical geometry are world axes (right, anterior, superior); ours run the other way.
    target = np.eye(4)
    target[:3, :3] = np.diag([box.spacing] * 3)[::-1]
    target[:3, 3] = box.low[::-1]
    index = np.linalg.inv(geometry.affine()) @ target
    out: Volume = ndimage.affine_transform(
        smooth, index[:3, :3], index[:3, 3], output_shape=box.shape, order=1, mode="constant", cval=0.0
    )
    return out


def blocks(shape: Sequence[int], cuts: Sequence[int], gap: int) -> Iterator[Block]:
    """Cut a grid into `cuts` parts along each axis with `gap` unused elements between them.

    >>> [b.place for b in blocks((10,), (2,), 2)]
    [(slice(0, 4, None),), (slice(6, 10, None),)]
    """
    along = []
    for n, cut in zip(shape, cuts, strict=True):
        size = (n - gap * (cut - 1)) // cut
        along.append([slice(i * (size + gap), i * (size + gap) + size) for i in range(cut)])
    for numbers in product(*(range(len(parts)) for parts in along)):
        place = tuple(parts[i] for parts, i in zip(along, numbers, strict=True))
        yield Block("block" + "".join(map(str, numbers)), place)
