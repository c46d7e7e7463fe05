"""Image densities: how often each kind of voxel occurs in an image, on cells of the feature space or by Parzen windows.

In ten or more dimensions a grid of bins is empty nearly everywhere. Cells instead lie where voxels are: they are those
nearest to k-means centres of all images, and a histogram counts them. Parzen windows are evaluated at points of the
target, where the divergences from it are sums over its own voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans

from allograft.shallow.feature_map import MixedKernel

__all__ = ["chunks", "histograms", "parzen_ratios", "some_rows"]

Array = npt.NDArray[np.float64]
SEEN = 2000
"""Voxels of each image that the cells are made from (ours)."""
ROWS = 4096
"""Voxels in a block at most: what a processor's cache holds (measured)."""


def chunks(count: int, width: int, memory: float) -> Iterator[slice]:
    """Yield slices of `count` rows whose work of `width` float32 numbers a row fits into `memory` megabytes."""
    rows = min(ROWS, max(1, int(memory * 2**20 / (4 * max(1, width)))))
    for first in range(0, count, rows):
        yield slice(first, min(first + rows, count))


def some_rows(x: npt.NDArray[Any], most: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return at most `most` rows, equally spread over the order of a random start: cheap, and without replacement."""
    if len(x) <= most:
        return x
    return x[(int(rng.integers(len(x))) + np.arange(most) * len(x) // most) % len(x)]


def histograms(images: Sequence[npt.NDArray[Any]], cells: int, *, floor: float, memory: float, seed: int) -> Array:
    """Return (I, cells), the share of each image's voxels in each cell, rows summing to 1.

    Args:
        images: each (n, F); the last is the target. Without more different voxels than cells there are fewer cells.
        cells: how many.
        floor: added to each share before a row is normalised, so that no cell is impossible.
        memory: megabytes of distances at a time.
        seed: of the drawn voxels and the centres.
    """
    rng = np.random.default_rng(seed)
    seen = np.concatenate([np.asarray(some_rows(x, SEEN, rng), dtype=np.float32) for x in images])
    kinds = np.unique(seen, axis=0)
    if len(kinds) <= cells:
        centres = kinds
    else:
        means = MiniBatchKMeans(cells, random_state=seed, n_init=1, batch_size=4096, max_iter=20)
        centres = np.asarray(means.fit(seen).cluster_centers_, dtype=np.float32)
    half = (centres**2).sum(axis=1) / 2
    counts = np.zeros((len(images), len(centres)))
    for i, x in enumerate(images):
        for part in chunks(len(x), len(centres), memory):
            nearest = (np.asarray(x[part], dtype=np.float32) @ centres.T - half).argmax(axis=1)
            counts[i] += np.bincount(nearest, minlength=len(centres))
    out = counts / counts.sum(axis=1, keepdims=True) + floor
    return np.asarray(out / out.sum(axis=1, keepdims=True))


def parzen_ratios(images: Sequence[Array], target: Array, kernel: MixedKernel, floor: float) -> tuple[Array, Array]:
    """Return masses (I, J) of the images and (J,) of the target at the target's J points.

    Each point carries the target's mass 1 / J, and of an image that times the ratio of the Parzen densities: sums
    over the points are then the divergences' integrals, estimated on the target's voxels.

    Args:
        images: each (n, F).
        target: (J, F).
        kernel: the window.
        floor: added to densities, as a share of the target's mean.
    """
    own = kernel(target, target).mean(axis=1)
    least = floor * float(own.mean())
    ratios = np.stack([kernel(target, x).mean(axis=1) + least for x in images]) / (own + least)
    mass = 1 / len(target)
    return ratios * mass, np.full(len(target), mass)
