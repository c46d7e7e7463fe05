"""Kernels: the Gaussian one, its width from the data, and the distance of means that it gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from allograft.shallow.domains import Array

__all__ = ["median_gamma", "mmd_squared", "rbf", "some"]

SEEN = 1000
"""Samples that a width or a distance is estimated from (ours)."""


def rbf(a: Array, b: Array, gamma: float) -> Array:
    """Return exp(-gamma ||a_i - b_j||^2), (n, m)."""
    return np.asarray(rbf_kernel(a, b, gamma=gamma))


def rows(n: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Return at most `most` of n rows, drawn without replacement, in their order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def some(x: Array, most: int, seed: int) -> Array:
    """Return at most `most` samples, drawn without replacement, in their order."""
    return np.asarray(x[rows(len(x), most, seed)])


def median_gamma(x: Array, *, seed: int = 0) -> float:
    """Return 1 / median of the squared distances between different samples (at most 1000 drawn); 1 where all agree."""
    seen = some(x, SEEN, seed)
    squares = euclidean_distances(seen, squared=True)[np.triu_indices(len(seen), 1)]
    middle = float(np.median(squares)) if len(squares) else 0.0
    if middle <= 0:  # more than half of the pairs are copies
        middle = float(squares.mean()) if len(squares) else 0.0
    return 1 / middle if middle > 0 else 1.0


def mmd_squared(
    source: Array, target: Array, gamma: float, weights: npt.ArrayLike | None = None, *, most: int = 2000
) -> float:
    """Return the squared maximum mean discrepancy, the biased form, >= 0.

    Args:
        source: (n_s, d).
        target: (n_t, d).
        gamma: of the Gaussian kernel.
        weights: (n_s,) of the source samples, None for equal ones; only their ratios count.
        most: samples of each domain that are looked at, drawn with seed 0 where there are more.
    """
    w = np.ones(len(source)) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = rows(len(source), most, 0)
    xs, xt, w = source[kept], some(target, most, 0), w[kept] / w[kept].sum()
    inside, between = w @ rbf(xs, xs, gamma) @ w, (w @ rbf(xs, xt, gamma)).mean()
    return max(0.0, float(inside + rbf(xt, xt, gamma).mean() - 2 * between))
