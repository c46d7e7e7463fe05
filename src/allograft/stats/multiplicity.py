"""Holm's correction: with many comparisons some would look real by chance.

Paper     Holm, Scandinavian Journal of Statistics 6(2), 1979.
Formula   sorted p_(1) <= ... <= p_(m):  p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["holm"]


def holm(p: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return Holm-adjusted p values in the given order; valid under any dependence.

    Args:
        p: (m,) in [0, 1]; NaN (no test was possible) stays NaN and does not count.

    Raises:
        ValueError: a value lies outside [0, 1].

    >>> [round(x, 3) for x in holm([0.01, 0.04, 0.03]).tolist()]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    has = ~np.isnan(values)
    known = values[has]
    if known.size and (known.min() < 0 or known.max() > 1):
        msg = f"p values lie in [0, 1], got {known.min()} to {known.max()}."
        raise ValueError(msg)
    order = np.argsort(known, kind="stable")
    steps = np.minimum(1.0, known[order] * np.arange(known.size, 0, -1))
    adjusted = np.empty_like(known)
    adjusted[order] = np.maximum.accumulate(steps)
    out = np.full_like(values, np.nan)
    out[has] = adjusted
    return out
