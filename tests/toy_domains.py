"""The toy generator of the reference: deterministic samples of two domains, the same in every language."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["SOURCE", "TARGET", "plain_rbf", "toy"]


def toy(n: int, d: int, a: float, b: float, *, shift: float = 0.0, scale: float = 1.0) -> npt.NDArray[np.float64]:
    """Return scale sin(a i + b j + 0.1 i j) + shift for i = 1..n, j = 1..d."""
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, d + 1)[None]
    return np.asarray(scale * np.sin(a * i + b * j + 0.1 * i * j) + shift)


def plain_rbf(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], gamma: float) -> npt.NDArray[np.float64]:
    """Return the Gaussian kernel, pair by pair."""
    return np.array([[np.exp(-gamma * ((x - y) ** 2).sum()) for y in b] for x in a])


SOURCE = toy(12, 3, 1.0, 2.0)
TARGET = toy(10, 3, 0.7, 1.3, shift=0.5, scale=1.5)
